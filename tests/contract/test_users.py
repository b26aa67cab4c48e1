"""Users in either database: what is kept of a passcode, and attempts that are counted."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from pacs_server.archive.reception import Origin
from pacs_server.dimse.access import Caller
from pacs_server.dimse.identity import Attempts, Authenticator
from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.site.peers import Identity, Right
from pacs_server.index.site.users import NOBODYS, User, Users, digest_of, is_of
from pacs_server.index.site_tables import users
from pacs_server.net.negotiate import AssociationRequest, IdentityKind, UserIdentity
from pacs_server.settings import Settings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PASSCODE = "とても長い合言葉"


def test_a_user_is_kept_without_the_passcode_and_found_by_it(index: Index) -> None:
    known = Users(index)
    made = User(name="田中", passcode=digest_of(PASSCODE), peers=("VIEWER",), changed_at=NOW)
    known.add(made)
    assert known.find("田中") == made
    assert known.all() == [made]
    assert (made.may_use("VIEWER"), made.may_use("OTHER")) == (True, False)
    with index.read() as connection:
        (row,) = connection.execute(select(users)).mappings()
    assert PASSCODE not in str(dict(row))
    assert made.passcode not in repr(made)
    assert is_of(str(row["passcode"]), PASSCODE.encode())
    assert not is_of(str(row["passcode"]), PASSCODE.encode() + b"x")

    known.change("田中", passcode=digest_of("another one"))
    assert not is_of(known.one("田中").passcode, PASSCODE.encode())
    with pytest.raises(Refused, match="known already"):
        known.add(made)
    known.remove("田中")
    assert known.find("田中") is None
    for step in (lambda: known.one("田中"), lambda: known.change("田中", peers=()), lambda: known.remove("田中")):
        with pytest.raises(UnknownName):
            step()


def login(authenticator: Authenticator, name: str, passcode: str) -> bool:
    caller = Caller(
        aet="VIEWER", rights=frozenset(Right), charset="", origin=Origin(aet="VIEWER"), identity=Identity.PASSWORD
    )
    request = AssociationRequest(
        calling_aet="VIEWER", called_aet="PACS", peer_address="10.0.0.7", contexts=(), max_pdu_bytes=0,
        implementation_class_uid="", implementation_version="", extended={},
        identity=UserIdentity(
            kind=IdentityKind.NAME_AND_PASSCODE, primary=name.encode(), secondary=passcode.encode()
        ),
    )  # fmt: skip
    verdict = authenticator.admit(caller, request, is_over_tls=True, now=NOW)
    return isinstance(verdict, Caller) and verdict.person == name


def test_a_passcode_that_was_right_is_not_worked_out_again_and_a_name_that_nobody_has_costs_as_much_as_a_wrong_one(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_out: list[str] = []

    def counted(digest: str, passcode: bytes) -> bool:
        worked_out.append(digest)
        return is_of(digest, passcode)

    monkeypatch.setattr("pacs_server.dimse.identity.is_of", counted)
    known = Users(index)
    authenticator = Authenticator(Settings(data_dir=tmp_path, database="sqlite:///unused"), known)
    first = User(name="tanaka", passcode=digest_of(PASSCODE), peers=(), changed_at=NOW)
    known.add(first)
    assert [login(authenticator, "tanaka", PASSCODE) for _ in range(3)] == [True] * 3
    assert worked_out == [first.passcode]
    assert not login(authenticator, "tanaka", "wrong passcode")
    assert not login(authenticator, "nobody", PASSCODE)
    assert worked_out == [first.passcode, first.passcode, NOBODYS]
    known.change("tanaka", passcode=digest_of("another one"))
    assert not login(authenticator, "tanaka", PASSCODE), "what is remembered outlived the passcode"
    known.remove("tanaka")
    assert not login(authenticator, "tanaka", "another one")


def test_two_digests_of_one_passcode_differ_nobody_has_one_and_short_ones_are_refused() -> None:
    assert digest_of(PASSCODE) != digest_of(PASSCODE)
    assert not is_of(NOBODYS, b"")
    with pytest.raises(Refused, match="8 characters"):
        digest_of("seven77")


def test_an_address_waits_after_its_wrong_attempts_and_no_other_does() -> None:
    attempts = Attempts(3, 60.0)
    for moment in (100.0, 101.0, 102.0):
        assert not attempts.is_paused("10.0.0.7", moment)
        attempts.note("10.0.0.7", moment)
    assert attempts.is_paused("10.0.0.7", 159.9)
    assert not attempts.is_paused("10.0.0.8", 102.0)
    assert not attempts.is_paused("10.0.0.7", 160.0)
    attempts.note("10.0.0.7", 160.0)
    assert not attempts.is_paused("10.0.0.7", 160.1), "the count did not begin anew"


def test_no_more_addresses_are_counted_than_so_many_and_those_that_came_first_are_let_go() -> None:
    attempts = Attempts(1, 60.0)
    for number in range(1_002):
        attempts.note(f"2001:db8::{number:x}", 100.0)
    paused = [attempts.is_paused(f"2001:db8::{number:x}", 101.0) for number in range(1_002)]
    assert paused == [False] * 2 + [True] * 1_000
