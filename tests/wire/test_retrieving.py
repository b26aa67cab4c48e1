"""A C-MOVE to this archive itself, asked of archives that answer it each in their own way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support import rude
from support.small_archive import USUAL, Archive, accept_all, serving

from pacs_server.archive.fetching import fetch
from pacs_server.archive.retrieving import Arrivals, Fetched
from pacs_server.dicom.queries.identifier import read_identifier
from pacs_server.dimse.progress import failed_list
from pacs_server.errors import PeerAborted, PeerRejected, PeerTimedOut
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.asking import STUDY_ROOT_GET
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.net.message import Command, response
from pacs_server.net.negotiate import AssociationRequest, ContextAnswer, ContextResult, Rejection

SUCCESS, PENDING, FAILURES, NOT_UNDERSTOOD, CANNOT = 0x0000, 0xFF00, 0xB000, 0xA900, 0xA702
SOP_INSTANCE = 0x00080018
# What does not come is waited for so long.
LIMITS = replace(USUAL, response_timeout_s=8.0)

Answer = Mapping[str, Any]


def no_get(request: AssociationRequest) -> Rejection | list[ContextAnswer]:
    answers = accept_all(request)
    assert not isinstance(answers, Rejection)
    asked = {one.id: one.abstract_syntax for one in request.contexts}
    refused = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    return [replace(one, result=refused) if asked[one.id] == STUDY_ROOT_GET else one for one in answers]


@dataclass
class Mover(Archive):
    """An archive without C-GET that answers each C-MOVE with what its script says; what the script puts into `sent` has
    come here.
    """

    script: Callable[["Mover", Sequence[str]], Iterator[Answer]] = lambda *_: iter(())
    asked: list[tuple[str, ...]] = field(default_factory=list)
    sent: dict[str, str] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)

    def _operate(self, association: Association) -> None:
        while (command := association.receive()) is not None:
            self.commands.append(command)
            syntax = association.contexts[command.context_id].transfer_syntax
            uids = tuple(read_identifier(association.read_identifier(), syntax).text(SOP_INSTANCE).split("\\"))
            self.asked.append(uids)
            for answer in self.script(self, uids):
                self._tell(association, command, syntax, **answer)

    def _tell(self, association: Association, command: Command, syntax: str, *, status: int, **told: Any) -> None:
        failed = told.pop("named", ())
        listed = failed_list(failed, syntax) if failed else None
        answered = response(command, status, has_data_set=listed is not None, **told)
        association.respond(answered, command.context_id, listed)

    def fetch(self, *uids: str) -> dict[str, Fetched]:
        """What becomes of objects that are asked for."""
        return {one.item.sop_uid: one for one in self.fetching(*uids)}

    def fetching(self, *uids: str, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Fetched]:
        host, port = self.address
        return fetch(
            Destination(aet="FAR", host=host, port=port), [item(uid) for uid in uids], lambda *_: None,
            Arrivals(expect=lambda items: self.expected.extend(one.sop_uid for one in items), came=self._came),
            calling_aet="NEAR", limits=LIMITS, is_stopped=is_stopped,
        )  # fmt: skip

    def _came(self, items: Sequence[Deliverable]) -> dict[str, str]:
        return {one.sop_uid: self.sent[one.sop_uid] for one in items if one.sop_uid in self.sent}


def item(uid: str) -> Deliverable:
    return Deliverable(
        sop_class=rude.CT_STORAGE, sop_uid=uid, transfer_syntax=rude.EXPLICIT_LE, size_bytes=1, digest="d",
        study_uid="1.2", series_uid="1.2.3", copies=(),
    )  # fmt: skip


Moving = Callable[[Callable[[Mover, Sequence[str]], Iterator[Answer]]], Mover]


@pytest.fixture
def moving() -> Iterator[Moving]:
    """Starts an archive with a script."""
    running = []

    def start(script: Callable[[Mover, Sequence[str]], Iterator[Answer]]) -> Mover:
        running.append(serving(Mover(USUAL, decide=no_get, script=script)))
        return running[-1].__enter__()

    yield start
    for each in running:
        each.__exit__(None, None, None)


def problems(told: Mapping[str, Fetched]) -> dict[str, tuple[str, bool]]:
    return {uid: (one.problem, one.is_lost) for uid, one in told.items()}


def test_what_comes_is_believed_and_not_what_is_counted(moving: Moving) -> None:
    def counts_wrongly(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        yield {"status": PENDING, "remaining": 3, "completed": 0}
        archive.sent |= {uids[0]: "", uids[1]: "it came with other bytes"}
        yield {"status": SUCCESS, "completed": 3}

    told = moving(counts_wrongly).fetch("1.1", "1.2", "1.3")
    assert problems(told) == {
        "1.1": ("", False),
        "1.2": ("it came with other bytes", True),
        "1.3": ("FAR told of no trouble with 1.3, but it did not come", False),
    }


def test_all_unique_keys_are_given_and_the_destination_is_who_asks(moving: Moving) -> None:
    def sends(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        archive.sent |= dict.fromkeys(uids, "")
        yield {"status": SUCCESS, "completed": len(uids)}

    archive = moving(sends)
    assert set(problems(archive.fetch("1.1", "1.2")).values()) == {("", False)}
    assert archive.asked == [("1.1", "1.2")]
    assert archive.commands[0].move_destination == "NEAR"
    assert archive.expected == ["1.1", "1.2"], "what comes has to be awaited before it can come"


def test_what_comes_after_the_answer_is_waited_for_as_long_as_something_does(moving: Moving) -> None:
    def answers_at_once(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        yield {"status": SUCCESS, "completed": len(uids)}

    archive = moving(answers_at_once)
    uids = ["1.1", "1.2", "1.3"]
    looks: list[int] = []
    come = archive._came

    def one_with_each_look(items: Sequence[Deliverable]) -> dict[str, str]:
        looks.append(len(archive.sent))
        archive.sent |= dict.fromkeys(uids[: max(0, len(looks) - 2)], "")
        return come(items)

    archive._came = one_with_each_look  # type: ignore[method-assign]
    assert set(problems(archive.fetch(*uids)).values()) == {("", False)}


@pytest.mark.parametrize("status", [NOT_UNDERSTOOD, SUCCESS])
def test_one_that_takes_no_list_of_uids_is_asked_for_one_after_the_other(moving: Moving, status: int) -> None:
    def takes_no_list(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        if len(uids) > 1:
            yield {"status": status, "completed": 0}
        elif uids[0] == "1.2":
            yield {"status": SUCCESS, "completed": 0}
        else:
            archive.sent[uids[0]] = ""
            yield {"status": SUCCESS, "completed": 1}

    archive = moving(takes_no_list)
    told = archive.fetch("1.1", "1.2", "1.3")
    assert archive.asked == [("1.1", "1.2", "1.3"), ("1.1",), ("1.2",), ("1.3",)]
    assert problems(told) == {"1.1": ("", False), "1.2": ("FAR does not have 1.2", True), "1.3": ("", False)}


def test_what_fails_there_is_not_lost_and_what_is_not_even_named_is(moving: Moving) -> None:
    def names_one(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        archive.sent[uids[0]] = ""
        yield {"status": FAILURES, "completed": 1, "failed": 1, "named": [uids[1]]}

    told = moving(names_one).fetch("1.1", "1.2", "1.3")
    assert problems(told) == {
        "1.1": ("", False),
        "1.2": ("FAR did not send 1.2: status 0xB000", False),
        "1.3": ("FAR does not have 1.3", True),
    }


def test_one_that_cannot_reach_us_is_asked_once(moving: Moving) -> None:
    def cannot(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        yield {"status": CANNOT, "completed": 0, "failed": len(uids), "comment": "no association"}

    archive = moving(cannot)
    told = archive.fetch("1.1", "1.2")
    assert {one.problem for one in told.values()} == {
        "FAR did not send 1.1: status 0xA702: no association", "FAR did not send 1.2: status 0xA702: no association",
    }  # fmt: skip
    assert len(archive.asked) == 1


def test_what_went_astray_is_waited_for_once_and_not_called_lost(moving: Moving) -> None:
    def astray(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        yield {"status": SUCCESS, "completed": len(uids)}

    archive = moving(astray)
    with pytest.raises(PeerRejected, match="says that it sent 2 objects to NEAR, but none came here"):
        archive.fetch("1.1", "1.2")
    assert len(archive.asked) == 1


def test_one_that_says_nothing_more_is_given_up_and_what_came_by_then_has_come(moving: Moving) -> None:
    def falls_silent(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        archive.sent[uids[0]] = ""
        yield {"status": PENDING}

    archive = moving(falls_silent)
    fetching = archive.fetching("1.1", "1.2")
    assert problems({"first": next(fetching)}) == {"first": ("", False)}
    with pytest.raises(PeerTimedOut):
        next(fetching)


def test_nobody_who_has_gone_is_waited_for(moving: Moving) -> None:
    gone: list[bool] = []

    def never_ends(archive: Mover, uids: Sequence[str]) -> Iterator[Answer]:
        yield {"status": PENDING}
        gone.append(True)

    archive = moving(never_ends)
    assert list(archive.fetching("1.1", is_stopped=lambda: bool(gone))) == []
    assert isinstance(archive.ending(), PeerAborted)
