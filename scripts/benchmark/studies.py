"""Studies for the find and start rows: values from a fixed seed, recorded through the archive's own index."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import blake3

from benchmark.raw_association import IMPLICIT_LE, element
from pacs_server.dicom.describe import describe
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import Digest
from pacs_server.index.engine import Index
from pacs_server.index.instances import Arrival, CopyRow, Instances
from pacs_server.index.registry import Registry
from pacs_server.settings import load

UNKNOWN_PATIENT_ID: Final = "NOBODY"
NAME_PREFIX: Final = "SUZ"

# As many as one group commit may hold: each waits for its commit, so that many are needed to fill a group.
_THREADS: Final = 64
# 112 months of about 895 studies, and one study in 25 of the prefix, when there are 100,000.
_FIRST_YEAR: Final = 2016
_MONTHS: Final = 112
_FAMILY_NAMES: Final = (
    "SUZUKI", "SATO", "TAKAHASHI", "TANAKA", "WATANABE", "ITO", "YAMAMOTO", "NAKAMURA", "KOBAYASHI", "KATO", "YOSHIDA",
    "YAMADA", "MUELLER", "SCHMIDT", "WEBER", "MEYER", "WAGNER", "BECKER", "HOFFMANN", "KELLER", "ANDERSON", "BROWN",
    "CLARK", "EVANS", "GARCIA",
)  # fmt: skip
_GIVEN_NAMES: Final = ("TARO", "HANAKO", "JIRO", "YUKI", "ANNA", "PETER", "MARIE", "JOHN", "EMMA", "PAUL")
_MODALITIES: Final = (("CT", "1.2.840.10008.5.1.4.1.1.2"), ("MR", "1.2.840.10008.5.1.4.1.1.4"))
_DESCRIPTIONS: Final = ("CHEST", "ABDOMEN WITH CONTRAST", "BRAIN W/O CONTRAST", "LEFT KNEE", "FOLLOW-UP")


def record_studies(settings_path: Path, *, count: int, seed: int) -> None:
    """Record `count` studies of one instance each, as if their files had been written; the files do not exist."""
    index = Index.open(load(settings_path).database)
    try:
        volume_id = Registry(index).volumes()[0].id
        instances = Instances(index)
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(lambda data_set: _record(instances, volume_id, data_set), _data_sets(count, seed)):
                pass
    finally:
        index.close()


def _record(instances: Instances, volume_id: str, data_set: bytes) -> None:
    scanner = HeadScanner(IMPLICIT_LE)
    scanner.feed(data_set)
    now = datetime.now(UTC)
    digest = Digest(blake3.blake3(data_set).hexdigest())
    instances.record(
        Arrival(
            description=describe(scanner.finish()),
            digest=digest,
            transfer_syntax=IMPLICIT_LE,
            size_bytes=len(data_set),
            copies=(CopyRow(volume_id=volume_id, path=f"v1/bench/{digest}.dcm"),),
            received_at=now,
            day=now.date(),
            sender="BENCH",
        )
    )


def _data_sets(count: int, seed: int) -> Iterator[bytes]:
    chance = random.Random(f"studies-{seed}")
    for number in range(1, count + 1):
        year, month = divmod(chance.randrange(_MONTHS), 12)
        modality, sop_class = chance.choice(_MODALITIES)
        uid = f"2.25.{10**30 + seed % 10**6 * 10**20 + 9 * 10**18 + number * 10**3}"
        values = {
            0x00080016: sop_class,
            0x00080018: f"{uid}2",
            0x00080020: f"{_FIRST_YEAR + year}{month + 1:02d}{chance.randint(1, 28):02d}",
            0x00080030: f"{chance.randint(7, 19):02d}{chance.randint(0, 59):02d}00",
            0x00080050: f"A{number:08d}",
            0x00080060: modality,
            0x00080090: "REFERRING^RITA",
            0x00081030: chance.choice(_DESCRIPTIONS),
            0x00100010: f"{chance.choice(_FAMILY_NAMES)}^{chance.choice(_GIVEN_NAMES)}",
            0x00100020: f"P{number:07d}",
            0x00100030: f"19{chance.randint(20, 99)}0{chance.randint(1, 9)}15",
            0x00100040: chance.choice("MFO"),
            0x00101010: f"{chance.randint(1, 99):03d}Y",
            0x0020000D: uid,
            0x0020000E: f"{uid}1",
            0x00200010: str(number),
            0x00200011: "1",
            0x00200013: "1",
        }
        yield b"".join(
            element(tag, value.encode(), b"\0" if value.startswith(("1.2.", "2.25.")) else b" ")
            for tag, value in sorted(values.items())
        )
