"""User identity: who is at a peer, as DCMTK and pynetdicom say it over TLS, and whoever must not get in."""

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification
from support import dcmtk
from support.certificates import trusting
from support.dcmtk import Finished, Station, over_tls
from support.samples import Sample, tiny, write
from support.second_client import UNCOMPRESSED, NotAccepted, associate
from support.server import Archive, wait_for
from support.tokens import ISSUER, claims, pem, signed

from pacs_server.cluster.certificates import make
from pacs_server.settings import TlsFiles

HOST = "127.0.0.1"
PASSCODE = "合言葉 is secret"
ISSUER_KEY = ec.generate_private_key(ec.SECP256R1())
NOT_ACCEPTED, COME_AGAIN = (1, 2, 1), (2, 2, 1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """It speaks TLS and plain DICOM; its peers are viewers on this machine, at which tanaka may log in."""
    identity = {"max_failures": 5, "jwt": {"issuer": ISSUER, "key_files": ["issuer.pem"], "titles_claim": "aet"}}
    made = Archive(
        tmp_path_factory.mktemp("archive"), settings={"tls": {"port": 0}, "workers": 1, "identity": identity}
    )
    pem(ISSUER_KEY, made.data / "issuer.pem")
    made.pacs("tls", "init", "--name", "localhost", "--name", HOST)
    for aet, kind in (("VIEWER", "password"), ("OTHER", "password"), ("TOKENS", "jwt"), ("OPEN", "none")):
        made.pacs("ae", "add", aet, "-", "-", "--from", "127.0.0.0/8", "--identity", kind)
    file = made.data / "passcode"
    file.write_text(f"{PASSCODE}\nof tanaka\n", encoding="utf-8")
    file.chmod(0o600)
    made.pacs("user", "add", "tanaka", "--peer", "VIEWER", "--passcode-file", str(file))
    made.start()
    yield made
    assert made.stop() == 0, made.log_text()[-4_000:]
    assert "Traceback" not in made.log_text(), made.log_text()[-8_000:]
    for secret in (PASSCODE, "wrong passcode"):
        assert secret not in made.log_text()
        assert secret not in str(made.report("audit", "report"))


@pytest.fixture(scope="module")
def device(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    folder = tmp_path_factory.mktemp("device")
    authority = TlsFiles.within(archive.data / "tls")
    for file in (authority.ca, authority.ca_key):
        shutil.copy(file, folder)
    files = TlsFiles.within(folder)
    make(files, ["localhost", HOST], days=30, now=datetime.now(UTC))
    return files


def logged_in(name: str, passcode: str = PASSCODE) -> tuple[str, ...]:
    return ("--user", name, "--password", passcode)


@pytest.fixture
def viewer(archive: Archive, device: TlsFiles, tmp_path: Path) -> Station:
    dcmtk.require()
    return Station(archive=archive, folder=tmp_path, aet="VIEWER", port=archive.tls_port, usual=over_tls(device))


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    return write(tiny(1, study=request.node.name), tmp_path / "object.dcm")


def is_rejected(done: Finished) -> bool:
    return done.code != 0 and "Association Rejected" in done.output


def logins(archive: Archive, person: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = archive.report(
        "audit", "report", "--event", "login", *(["--person", person] if person else [])
    )
    return found


# --- DCMTK, with passcodes ---


def test_a_user_with_the_right_passcode_stores_and_the_trail_tells_who(
    archive: Archive, viewer: Station, sample: Sample
) -> None:
    assert viewer.store(sample.path, options=[*logged_in("tanaka"), "-rsp"]).status == 0x0000
    (stored,) = [
        row for row in archive.report("audit", "report", "--person", "tanaka") if row["study_uid"] == sample.study_uid
    ]
    assert (stored["event"], stored["who"], stored["person"]) == ("store", "VIEWER", "tanaka")
    done = wait_for(lambda: [row for row in logins(archive, "tanaka") if row["outcome"] == "done"], "the login")
    assert (done[0]["who"], done[0]["address"]) == ("VIEWER", HOST)
    wait_for(lambda: "person=tanaka" in archive.log_text(), "the log to tell who")
    archive.pacs("audit", "verify")


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ((), "gave nobody"),
        (("--user", "tanaka"), "gave name"),
        (logged_in("tanaka", "wrong passcode"), "the passcode is wrong"),
        (logged_in("nobody at all"), "there is no such user"),
    ],
)
def test_who_is_not_believed_is_rejected_and_told_to_the_trail(
    archive: Archive, viewer: Station, sample: Sample, who: tuple[str, ...], why: str
) -> None:
    assert is_rejected(viewer.store(sample.path, options=who))
    wait_for(lambda: [row for row in logins(archive) if why in row["detail"] and row["outcome"] == "refused"], why)
    seen = wait_for(lambda: [one for one in archive.report("ae", "seen") if why in one["why"]], "it to be seen")
    assert seen[0]["aet"] == "VIEWER"


def test_a_user_may_log_in_only_at_their_peers(
    archive: Archive, device: TlsFiles, tmp_path: Path, sample: Sample
) -> None:
    dcmtk.require()
    other = Station(archive=archive, folder=tmp_path, aet="OTHER", port=archive.tls_port, usual=over_tls(device))
    assert is_rejected(other.store(sample.path, options=logged_in("tanaka")))


def test_a_passcode_is_of_no_use_on_a_connection_without_tls(archive: Archive, tmp_path: Path, sample: Sample) -> None:
    dcmtk.require()
    plain = Station(archive=archive, folder=tmp_path, aet="VIEWER")
    assert is_rejected(plain.store(sample.path, options=logged_in("tanaka")))
    wait_for(lambda: [row for row in logins(archive) if "over TLS alone" in row["detail"]], "the trail to tell why")


def test_where_nobody_has_to_log_in_a_user_is_ignored(archive: Archive, tmp_path: Path, sample: Sample) -> None:
    dcmtk.require()
    plain = Station(archive=archive, folder=tmp_path, aet="OPEN")
    assert plain.store(sample.path, options=logged_in("tanaka")).status == 0x0000
    assert not [row for row in archive.report("audit", "report", "--person", "tanaka") if row["who"] == "OPEN"]


# --- pynetdicom ---


def item(kind: int, primary: bytes, secondary: bytes = b"") -> UserIdentityNegotiation:
    told = UserIdentityNegotiation()
    told.user_identity_type, told.positive_response_requested = kind, True
    told.primary_field = primary
    if secondary:
        told.secondary_field = secondary
    return told


def outcome(
    archive: Archive, device: TlsFiles, told: UserIdentityNegotiation, *, aet: str, source: str = HOST
) -> tuple[int, int, int] | bytes | None:
    """The rejection, or the server response of the acceptance."""
    rejected: list[tuple[int, int, int]] = []

    def take(event: evt.Event) -> None:
        pdu = event.pdu
        if type(pdu).__name__ == "A_ASSOCIATE_RJ":
            rejected.append((pdu.result, pdu.source, pdu.reason_diagnostic))

    try:
        with associate(
            archive, [(Verification, UNCOMPRESSED)], aet=aet, tls=trusting(device), user=told, source=source,
            handlers=[(evt.EVT_PDU_RECV, take)],
        ) as association:  # fmt: skip
            assert association.send_c_echo().Status == 0x0000
            answer = association.acceptor.user_identity
            return answer.server_response if answer else None
    except NotAccepted:
        return rejected[0]


def test_a_token_of_the_issuer_lets_its_person_in_and_others_do_not(archive: Archive, device: TlsFiles) -> None:
    now = datetime.now(UTC)
    good = signed(ISSUER_KEY, claims(now, sub="suzuki", aet=["TOKENS"]))
    assert outcome(archive, device, item(5, good), aet="TOKENS", source="127.0.0.8") == b""
    wait_for(lambda: [row for row in logins(archive, "suzuki") if row["outcome"] == "done"], "the login")
    forged = signed(ec.generate_private_key(ec.SECP256R1()), claims(now, sub="suzuki", aet=["TOKENS"]))
    elsewhere = signed(ISSUER_KEY, claims(now, sub="suzuki", aet=["VIEWER"]))
    for bad in (forged, elsewhere):
        assert outcome(archive, device, item(5, bad), aet="TOKENS", source="127.0.0.8") == NOT_ACCEPTED
    for other in (item(2, b"tanaka", PASSCODE.encode()), item(3, b"a ticket"), item(4, b"<Assertion/>")):
        assert outcome(archive, device, other, aet="TOKENS", source="127.0.0.8") == NOT_ACCEPTED


def test_a_token_may_name_its_person_with_as_much_as_the_trail_keeps_and_no_more(
    archive: Archive, device: TlsFiles
) -> None:
    def shown(person: str) -> UserIdentityNegotiation:
        return item(5, signed(ISSUER_KEY, claims(datetime.now(UTC), sub=person, aet=["TOKENS"])))

    longest = "suzuki-" + "z" * 248
    assert outcome(archive, device, shown(longest), aet="TOKENS", source="127.0.0.12") == b""
    wait_for(lambda: logins(archive, longest), "the login under the whole name")
    assert outcome(archive, device, shown("z" * 5_000), aet="TOKENS", source="127.0.0.12") == NOT_ACCEPTED
    why = "its token is not believed: its claim sub has 5000 characters, and a person at most 255: "
    wait_for(lambda: [row for row in logins(archive) if row["detail"].startswith(why)], "the trail to tell why")
    wait_for(lambda: [one for one in archive.report("ae", "seen") if one["why"].startswith(why)], "it to be seen")
    assert "z" * 256 not in str(archive.report("audit", "report")) + archive.log_text()


def test_who_guesses_has_to_wait_also_with_the_right_passcode_and_others_do_not(
    archive: Archive, device: TlsFiles
) -> None:
    right, guess = item(2, b"tanaka", PASSCODE.encode()), item(2, b"tanaka", b"wrong passcode")
    assert outcome(archive, device, right, aet="VIEWER", source="127.0.0.9") == b""
    answers = [outcome(archive, device, guess, aet="VIEWER", source="127.0.0.9") for _ in range(6)]
    assert answers == [NOT_ACCEPTED] * 5 + [COME_AGAIN]
    assert outcome(archive, device, right, aet="VIEWER", source="127.0.0.9") == COME_AGAIN
    assert outcome(archive, device, right, aet="VIEWER", source="127.0.0.10") == b""
    wait_for(lambda: [row for row in logins(archive) if "too many wrong attempts" in row["detail"]], "the trail")


def test_a_changed_passcode_and_a_user_who_was_removed_count_at_once(
    archive: Archive, device: TlsFiles, tmp_path: Path
) -> None:
    file = tmp_path / "passcode"
    file.touch(0o600)

    def changed(passcode: str, *words: str) -> UserIdentityNegotiation:
        file.write_text(passcode, encoding="utf-8")
        archive.pacs("user", *words, "--passcode-file", str(file))
        return item(2, b"sato", passcode.encode())

    first = changed("the first one", "add", "sato")
    assert [one["peers"] for one in archive.report("user", "list") if one["name"] == "sato"] == [[]]
    assert outcome(archive, device, first, aet="VIEWER", source="127.0.0.11") == b""
    second = changed("the second one", "set", "sato")
    assert outcome(archive, device, first, aet="VIEWER", source="127.0.0.11") == NOT_ACCEPTED
    assert outcome(archive, device, second, aet="VIEWER", source="127.0.0.11") == b""
    archive.pacs("user", "remove", "sato")
    assert outcome(archive, device, second, aet="VIEWER", source="127.0.0.11") == b"", "removed without --yes"
    archive.pacs("user", "remove", "sato", "--yes")
    assert outcome(archive, device, second, aet="VIEWER", source="127.0.0.11") == NOT_ACCEPTED


def test_a_peer_is_called_as_a_user_over_tls(archive: Archive, device: TlsFiles, tmp_path: Path) -> None:
    """pynetdicom on the other side lets nobody in but us."""
    shown: list[tuple[int, bytes, bytes]] = []

    def judge(event: evt.Event) -> tuple[bool, None]:
        shown.append((event.user_id_type, event.primary_field, event.secondary_field))
        return True, None

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(device.certificate, device.key)
    provider = AE("THEM")
    provider.add_supported_context(Verification)
    server = provider.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_USER_ID, judge)], ssl_context=context)
    assert server is not None
    try:
        file = tmp_path / "passcode"
        file.write_text("for them alone\nsince November\n")
        file.chmod(0o600)
        port, words = server.server_address[1], ("--as-user", "pacs", "--passcode-file", str(file))
        archive.pacs("ae", "add", "THEM", HOST, str(port), *words, expect=2)
        archive.add_peer("THEM", port, "--tls", *words)
        legs = archive.report("ae", "test", "THEM", expect=13)  # it takes no object
        assert [leg["leg"] for leg in legs if leg["result"] == "ok"] == ["TCP", "TLS", "association", "C-ECHO"]
        assert shown == [(2, b"pacs", b"for them alone")]
        file.chmod(0o644)
        assert "chmod 600" in archive.report("ae", "test", "THEM", expect=13)[-1]["remedy"]
    finally:
        server.shutdown()


def test_no_passcode_is_asked_for_where_there_is_no_terminal(archive: Archive) -> None:
    command = [sys.executable, "-m", "pacs_server", "-c", str(archive.config), "user", "set", "tanaka", "--passcode"]
    asked = subprocess.run(
        command, input="typed in sight\n" * 2, start_new_session=True, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 2
    assert asked.stderr.startswith("pacs: a passcode is asked for at a terminal, and there is none")
    assert asked.stderr.count("\n") == 1


def test_what_another_person_changes_while_a_passcode_is_awaited_holds(archive: Archive, tmp_path: Path) -> None:
    file, typed = tmp_path / "passcode", tmp_path / "typed"
    file.write_text("long enough")
    file.chmod(0o600)
    archive.pacs("user", "add", "mori", "--passcode-file", str(file))
    os.mkfifo(typed, 0o600)
    program = [sys.executable, "-m", "pacs_server", "-c", str(archive.config)]
    asking = subprocess.Popen([*program, "user", "set", "mori", "--passcode-file", str(typed)])
    with typed.open("w") as hand:  # once it is read from
        archive.pacs("user", "set", "mori", "--peer", "OPEN")
        hand.write("another long one\n")
    assert asking.wait(60) == 0
    (mori,) = (one for one in archive.report("user", "list") if one["name"] == "mori")
    assert mori["peers"] == ["OPEN"]


def test_a_name_may_have_the_space_of_japanese_in_it(archive: Archive, tmp_path: Path) -> None:
    file = tmp_path / "passcode"
    file.write_text("long enough")
    file.chmod(0o600)
    archive.pacs("user", "add", "佐藤\u3000次郎", "--passcode-file", str(file))
    assert "佐藤\u3000次郎" in archive.pacs("user", "list").stdout


def test_nobody_registers_a_user_whom_nobody_could_be(archive: Archive, tmp_path: Path) -> None:
    file = tmp_path / "passcode"
    file.write_text("long enough")
    assert "chmod 600" in archive.pacs("user", "add", "sato", "--passcode-file", str(file), expect=2).stderr
    file.chmod(0o600)
    for name, words in (("sato", ("--peer", "NOBODY")), ("a\nb", ()), ("tanaka", ()), ("", ())):
        archive.pacs("user", "add", name, *words, "--passcode-file", str(file), expect=2)
    file.write_text("short")
    assert "8 characters" in archive.pacs("user", "add", "sato", "--passcode-file", str(file), expect=2).stderr
    archive.pacs("user", "set", "sato", expect=2)
    archive.pacs("ae", "set", "OPEN", "--identity", "kerberos", expect=2)
