"""Objects of a few hundred bytes with the values of `studies`, sent by a raw client: mostly work for an index."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

from benchmark.processes import Failed, LeftOut
from benchmark.raw_association import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    C_STORE_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    PRIORITY,
    STATUS,
    Proposal,
    RawAssociation,
    associate_rq,
    command_set,
    data_tf,
    element,
)
from benchmark.servers import Server
from benchmark.studies import KINDS, rows_of_studies
from pacs_server.index.tables import instances, patients, series, studies

_SOP_CLASSES: Final = tuple(sop_class for _, sop_class, _ in KINDS)
_FILL_BATCH: Final = 2_000
_FILL_SENDERS: Final = 4
_MOST_FILL_S: Final = 600.0

_Row = dict[str, Any]


def messages(numbers: range, *, objects: int, seed: int) -> Iterator[bytes]:
    """A C-STORE request with its data set for each of so many objects of each of these studies."""
    for rows in rows_of_studies(numbers, objects=objects, seed=seed, of_copies={}):
        patient_of, study_of, series_of = (
            {row["id"]: row for row in rows[table]} for table in (patients, studies, series)
        )
        for instance in rows[instances]:
            one_series = series_of[instance["series_row"]]
            study = study_of[one_series["study_row"]]
            yield _message(patient_of[study["patient_row"]], study, one_series, instance)


def store_together(server: Server, shares: Sequence[Sequence[bytes]]) -> float:
    """Send messages, each share over an association of its own; answers the seconds from the first to the last answer.

    Raises: Failed when one is not answered with success.
    """
    rq = associate_rq(server.aet, "BENCH", [Proposal(sop_class) for sop_class in _SOP_CLASSES])
    associations = [RawAssociation.request(server.port, rq) for _ in shares]
    try:
        with ThreadPoolExecutor(len(shares)) as threads:
            started = time.monotonic()
            list(threads.map(_store, associations, shares))
            seconds = time.monotonic() - started
        for association in associations:
            association.release()
    finally:
        for association in associations:
            association.close()
    return seconds


def dealt(messages: Iterator[bytes], count: int, senders: int) -> list[list[bytes]]:
    """The next `count` messages in as many shares as there are senders; a study is shared out too."""
    taken = list(islice(messages, count))
    return [taken[number::senders] for number in range(senders) if taken[number::senders]]


def fill(server: Server, count: int, seed: int) -> None:
    """Send studies of one object each to a running server, which `Server.hold_studies` puts into an index otherwise.

    Raises: LeftOut as soon as it is so slow that all of them would take more than ten minutes.
    """
    waiting = messages(range(1, count + 1), objects=1, seed=seed)
    sent, seconds = 0, 0.0
    while shares := dealt(waiting, _FILL_BATCH, _FILL_SENDERS):
        batch_s = store_together(server, shares)
        batch = sum(map(len, shares))
        sent, seconds = sent + batch, seconds + batch_s
        whole_s = seconds + (count - sent) * batch_s / batch
        if whole_s > _MOST_FILL_S:
            raise LeftOut(
                f"is filled at {batch / batch_s:.0f} studies/s: {count:,} of them would take {whole_s / 60:.0f} minutes"
            )


def _store(association: RawAssociation, share: Sequence[bytes]) -> None:
    for message in share:
        association.socket.sendall(message)
        answer = association.command()
        if answer is None or answer[1][STATUS] != b"\0\0":
            status = "a release" if answer is None else f"status 0x{int.from_bytes(answer[1][STATUS], 'little'):04X}"
            raise Failed(f"a C-STORE was answered with {status}")


def _message(patient: _Row, study: _Row, one_series: _Row, instance: _Row) -> bytes:
    command = command_set(
        {
            AFFECTED_SOP_CLASS: instance["sop_class"],
            COMMAND_FIELD: C_STORE_RQ,
            MESSAGE_ID: 1,
            PRIORITY: 0,
            DATA_SET_TYPE: 1,
            AFFECTED_SOP_INSTANCE: instance["sop_uid"],
        }
    )
    context_id = 2 * _SOP_CLASSES.index(instance["sop_class"]) + 1
    return data_tf(context_id, command, _data_set(patient, study, one_series, instance))


def _data_set(patient: _Row, study: _Row, one_series: _Row, instance: _Row) -> bytes:
    """Implicit VR Little Endian in UTF-8, without pixels."""
    values = {
        0x00080005: "ISO_IR 192",
        0x00080016: instance["sop_class"],
        0x00080018: instance["sop_uid"],
        0x00080020: study["study_date"],
        0x00080021: one_series["series_date"],
        0x00080030: study["study_time"],
        0x00080050: study["accession_number"],
        0x00080060: one_series["modality"],
        0x00080090: study["referring_physician"],
        0x00081010: one_series["station_name"],
        0x00081030: study["study_description"],
        0x00100010: patient["patient_name"],
        0x00100020: patient["patient_id"],
        0x00100030: patient["birth_date"],
        0x00100040: patient["sex"],
        0x00101010: study["patient_age"],
        0x00180015: one_series["body_part"],
        0x0020000D: study["study_uid"],
        0x0020000E: one_series["series_uid"],
        0x00200010: study["study_id"],
        0x00200011: str(one_series["series_number"]),
        0x00200013: str(instance["instance_number"]),
    }
    uids = {0x00080016, 0x00080018, 0x0020000D, 0x0020000E}
    return b"".join(element(tag, text.encode(), b"\0" if tag in uids else b" ") for tag, text in values.items())
