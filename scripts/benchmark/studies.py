"""Realistic studies by the million, from a fixed seed, written straight into the tables; their files do not exist."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, insert, select

from pacs_server.dicom.attributes import BY_KEYWORD
from pacs_server.dicom.charset import decode
from pacs_server.dicom.describe import folded_columns, patient_identity
from pacs_server.dicom.names import grams_of_name
from pacs_server.index.contents import MASK, bucket_of, number_of
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.snapshot import continue_numbering
from pacs_server.index.site.registry import Registry, VolumeRow
from pacs_server.index.tables import copies, instances, name_grams, patients, series, studies

UNKNOWN_PATIENT_ID: Final = "NOBODY"
NAME_PREFIX: Final = "SUZ"
NAME_PART: Final = "*山田*"

_BATCH: Final = 2_000
_STUDIES_OF_A_PATIENT: Final = 2.5
_FIRST_YEAR: Final = 2016
_MONTHS: Final = 112
_EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
# Romaji, kanji, hiragana; as many patients have one as another, so that one in 25 begins with the prefix.
_FAMILIES: Final = (
    ("SUZUKI", "鈴木", "すずき"), ("SATO", "佐藤", "さとう"), ("TAKAHASHI", "高橋", "たかはし"),
    ("TANAKA", "田中", "たなか"), ("WATANABE", "渡邊", "わたなべ"), ("ITO", "伊藤", "いとう"),
    ("YAMAMOTO", "山本", "やまもと"), ("NAKAMURA", "中村", "なかむら"), ("KOBAYASHI", "小林", "こばやし"),
    ("KATO", "加藤", "かとう"), ("YOSHIDA", "吉田", "よしだ"), ("YAMADA", "山田", "やまだ"), ("AOKI", "青木", "あおき"),
    ("ONO", "大野", "おおの"), ("OTA", "太田", "おおた"),
    *((name, "", "") for name in (
        "MUELLER", "SCHMIDT", "WEBER", "MEYER", "WAGNER", "BECKER", "HOFFMANN", "KELLER", "ANDERSON", "BROWN",
    )),
)  # fmt: skip
_GIVEN: Final = (
    ("TARO", "太郎", "たろう"), ("ICHIRO", "一郎", "いちろう"), ("JIRO", "次郎", "じろう"), ("HANA", "花", "はな"),
    ("YUKI", "由紀", "ゆき"), ("AKIRA", "明", "あきら"), ("NAOMI", "直美", "なおみ"), ("KEN", "健", "けん"),
    ("MARI", "真理", "まり"), ("SHO", "翔", "しょう"),
)  # fmt: skip
KINDS: Final = (
    ("CT", "1.2.840.10008.5.1.4.1.1.2", 0.45), ("MR", "1.2.840.10008.5.1.4.1.1.4", 0.2),
    ("CR", "1.2.840.10008.5.1.4.1.1.1", 0.25), ("US", "1.2.840.10008.5.1.4.1.1.6.1", 0.1),
)  # fmt: skip
_DESCRIPTIONS: Final = ("CHEST", "ABDOMEN WITH CONTRAST", "BRAIN W/O CONTRAST", "LEFT KNEE", "胸部単純", "頭部造影")
_PARTS: Final = ("CHEST", "ABDOMEN", "HEAD", "KNEE")


def volume_away(index: Index, folder: Path) -> str:
    """The id of a volume for copies that do not exist, which the site has from now on, and which is away: of one that
    is there the server would see that it lost them all, and store nothing on it any more.

    Raises: IndexUnavailable.
    """
    row = VolumeRow(id="away", name="away", path=str(folder.resolve() / "away"), tier="cold", domain="away")
    Registry(index).add_volume(row)
    return row.id


def record_studies(index: Index, volume_id: str, *, count: int, objects: int, seed: int) -> None:
    """Fill an empty index with `count` studies of `objects` instances each: one in three in two series.

    All copies are recorded as verified at this moment: a server that came to read them would find that none is there.

    Raises: IndexUnavailable; ValueError when the index is not empty.
    """
    with index.read() as connection:
        if connection.execute(select(studies.c.id).limit(1)).first() is not None:
            raise ValueError("the index holds studies already")
    of_copies = {"volume_id": volume_id, "verified_at": datetime.now(UTC).isoformat()}
    for rows in rows_of_studies(range(1, count + 1), objects=objects, seed=seed, of_copies=of_copies):
        with index.write() as connection:
            for table, values in rows.items():
                connection.execute(insert(table), values)
            continue_numbering(connection, rows)


def rows_of_studies(
    numbers: range, *, objects: int, seed: int, of_copies: Mapping[str, str]
) -> Iterator[dict[Table, list[dict[str, Any]]]]:
    """The rows of these studies, some thousand studies at a time, each table after those that it refers to.

    `of_copies` are the values that all copies share.
    """
    maker = _Maker(of_copies, objects, seed)
    for first in range(numbers.start, numbers.stop, _BATCH):
        yield maker.rows(range(first, min(first + _BATCH, numbers.stop)))


class _Maker:
    """Makes rows with ids of its own, table by table."""

    def __init__(self, of_copies: Mapping[str, str], objects: int, seed: int) -> None:
        self._of_copies = of_copies
        self._objects = objects
        self._chance = random.Random(f"studies-{seed}")
        self._root = 10**30 + seed % 10**6 * 10**20
        self._patient: dict[str, Any] = {}
        self._series_id = self._instance_id = 0
        self._rows: dict[Table, list[dict[str, Any]]] = {}

    def rows(self, numbers: range) -> dict[Table, list[dict[str, Any]]]:
        tables = (patients, name_grams, studies, series, instances, copies)
        self._rows = {table: [] for table in tables}
        for number in numbers:
            self._study(number)
        self._patient = {}  # the next batch begins with another patient, so that this one's counts are final
        return self._rows

    def _new_patient(self, number: int) -> dict[str, Any]:
        chance, patient_id = self._chance, f"P{number:08d}"
        name = name_of(*chance.choice(_FAMILIES), *chance.choice(_GIVEN))
        patient: dict[str, Any] = _empty(patients) | {
            "id": number,
            "identity": patient_identity(patient_id, None, ""),
            "patient_id": patient_id,
            "patient_name": name,
            "birth_date": f"{chance.randint(1925, 2020)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}",
            "sex": chance.choice("MF"),
            **folded_columns(BY_KEYWORD["PatientName"], name),
        }
        self._rows[patients].append(patient)
        found = grams_of_name(patient["patient_name_folded"])
        self._rows[name_grams] += ({"gram": gram, "patient_row": number} for gram in sorted(found))
        return patient

    def _study(self, number: int) -> None:
        chance = self._chance
        if not self._patient or chance.random() < 1 / _STUDIES_OF_A_PATIENT:
            self._patient = self._new_patient(number)
        year, month = divmod(chance.randrange(_MONTHS), 12)
        modality, sop_class = _kind(chance.random())
        day = f"{_FIRST_YEAR + year}-{month + 1:02d}-{chance.randint(1, 28):02d}"
        parts = 2 if self._objects > 1 and chance.random() < 1 / 3 else 1
        uid = f"2.25.{self._root + number * 10**6}"
        study = (
            _empty(studies) | {
                "id": number,
                "patient_row": self._patient["id"],
                "study_uid": uid,
                "study_id": str(number),
                "study_date": day.replace("-", ""),
                "study_time": f"{chance.randint(7, 19):02d}{chance.randint(0, 59):02d}00",
                "accession_number": f"A{number:08d}",
                "study_description": chance.choice(_DESCRIPTIONS),
                "referring_physician": "REFERRING^RITA",
                **folded_columns(BY_KEYWORD["ReferringPhysicianName"], "REFERRING^RITA"),
                "patient_age": f"{chance.randint(1, 99):03d}Y",
                "day": day,
                "modalities": modality,
                "sop_classes": sop_class,
                "series_count": parts,
                "instance_count": self._objects,
                "last_received_at": f"{day}T12:00:00+00:00",
                "bucket": bucket_of(uid),
                "content_sum": 0,
            }
        )  # fmt: skip
        self._rows[studies].append(study)
        self._patient["study_count"] += 1
        self._patient["series_count"] += parts
        self._patient["instance_count"] += self._objects
        for part in range(1, parts + 1):
            share = self._objects // parts + (self._objects % parts if part == 1 else 0)
            self._series(study, part, share, (modality, sop_class, day))

    def _series(self, study: dict[str, Any], number: int, objects: int, of: tuple[str, str, str]) -> None:
        (modality, sop_class, day), uid = of, study["study_uid"]
        self._series_id += 1
        self._rows[series].append(
            _empty(series) | {
                "id": self._series_id,
                "study_row": study["id"],
                "series_uid": f"{uid}{number}",
                "modality": modality,
                "series_number": number,
                "series_date": day.replace("-", ""),
                "body_part": self._chance.choice(_PARTS),
                "station_name": f"{modality}1",
                "instance_count": objects,
            }
        )  # fmt: skip
        for instance in range(1, objects + 1):
            self._instance_id += 1
            sop_uid, digest = f"{uid}{number}.{instance}", f"{self._instance_id:064x}"
            study["content_sum"] = study["content_sum"] + number_of(digest) & MASK
            self._rows[instances].append(
                _empty(instances) | {
                    "id": self._instance_id,
                    "series_row": self._series_id,
                    "sop_uid": sop_uid,
                    "sop_class": sop_class,
                    "instance_number": instance,
                    "rows": 512,
                    "columns": 512,
                    "digest": digest,
                    "role": "current",
                    "transfer_syntax": _EXPLICIT_LE,
                    "size_bytes": 527_000,
                    "received_at": f"{day}T12:00:00+00:00",
                    "sender": "BENCH",
                }
            )  # fmt: skip
            path = f"v1/{day.replace('-', '/')}/{uid}/{uid}{number}/{sop_uid}-{self._instance_id:016x}.dcm"
            copy = {"id": self._instance_id, "instance_row": self._instance_id, "path": path}
            self._rows[copies].append({**copy, **self._of_copies})


@cache
def name_of(*parts: str) -> str:
    """A name in romaji, kanji and hiragana, as it comes out of ISO 2022 IR 87, the character set of Japan's devices."""
    family, kanji, kana, given, given_kanji, given_kana = parts
    name = f"{family}^{given}"
    if kanji:
        name += f"={kanji}^{given_kanji}={kana}^{given_kana}"
    return decode(name.encode("iso2022_jp"), ("", "ISO 2022 IR 87"), vr="PN").text


def _empty(table: Table) -> dict[str, Any]:
    return {column.name: 0 if column.name.endswith("_count") else None for column in table.c}


def _kind(chance: float) -> tuple[str, str]:
    for modality, sop_class, share in KINDS:
        if chance < share:
            return modality, sop_class
        chance -= share
    return KINDS[0][:2]
