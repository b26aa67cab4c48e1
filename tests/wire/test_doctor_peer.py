"""`pacs doctor AET`: the likely cause, named for peers that are each wrong in one way."""

import shutil
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless
from support import dcmtk, rude
from support.dcmtk import QueryRetrieveServer, Receiver, Station, free_port, over_tls
from support.samples import CT, encoded, part10, tiny, write
from support.server import Archive, wait_for
from support.small_archive import USUAL, served, serving
from support.small_archive import Archive as SmallArchive

from pacs_server.cluster.certificates import make
from pacs_server.dicom.tiny_object import TEST_PATIENT_ID
from pacs_server.errors import PeerAborted
from pacs_server.net.association import Association
from pacs_server.net.message import CommandField, response
from pacs_server.settings import TlsFiles

HOST = "127.0.0.1"
ELSEWHERE = "192.0.2.77"  # of TEST-NET-1 (RFC 5737), so nobody has it
SOMETHING_TO_DO, NOT_REACHED = 12, 13
# Secondary Capture and nothing else; echoscu asks whether it is up.
ACCEPTS_LITTLE = """
[[TransferSyntaxes]]
[Usual]
TransferSyntax1 = LittleEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[Little]
PresentationContext1 = VerificationSOPClass\\Usual
PresentationContext2 = SecondaryCaptureImageStorage\\Usual
[[Profiles]]
[Default]
PresentationContexts = Little
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """It speaks TLS too, and waits for no peer for long; it holds two CTs, one of them compressed."""
    dcmtk.require()
    folder = tmp_path_factory.mktemp("archive")
    made = Archive(folder, settings={"tls": {"port": 0}, "workers": 1, "network": {"association_timeout_s": 8.0}})
    made.pacs("tls", "init", "--name", "localhost", "--name", HOST)
    made.start()
    plain = write(tiny("plain", sop_class=CT), folder / "plain.dcm")
    compressed = folder / "compressed.dcm"
    j2k = tiny("compressed", sop_class=CT)
    compressed.write_bytes(
        part10(encoded(j2k), sop_class=CT, sop_uid=j2k.SOPInstanceUID, transfer_syntax=JPEG2000Lossless)
    )
    sender = Station(archive=made, folder=folder, aet="SENDER")
    assert sender.send(plain.path, compressed).code == 0
    yield made
    assert made.stop() == 0, made.log_text()[-4_000:]
    assert "Traceback" not in made.log_text(), made.log_text()[-8_000:]


def examined(archive: Archive, aet: str, *words: str, expect: int | Sequence[int]) -> dict[str, list[tuple[str, str]]]:
    """What each check said, and what to do."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in archive.report("doctor", aet, *words, expect=expect):
        found.setdefault(row["check"], []).append((row["result"], row["remedy"]))
    return found


def remedies(found: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    return {check: remedy for check, rows in found.items() for _, remedy in rows if remedy}


# --- the way to it, and what it offers ---


def test_a_peer_that_is_well_needs_nothing_and_holds_the_tiny_object_alone(
    archive: Archive, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    well = receive("WELL")
    archive.add_peer("WELL", well.port, "--allow", "echo")
    assert well.objects() == {}
    archive.report("doctor", "WELL", "--no-store")
    assert well.objects() == {}, "--no-store sent something"
    found = examined(archive, "WELL", expect=0)
    assert remedies(found) == {}
    assert found["name"] == [(HOST, "")]
    assert [check for check in found if check.isupper() or check == "association"] == [
        "TCP", "association", "C-ECHO", "C-STORE", "C-MOVE", "C-FIND",
    ]  # fmt: skip
    assert "2 can be sent to it as they are" in found["transfer syntaxes"][0][0]
    assert len(well.objects()) == 1
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    told = archive.pacs("doctor", "WELL").stdout
    assert "そのまま" in told
    assert not [word for word in ("as they are", "newest", "answers", "failed") if word in told], told


def test_objects_that_a_peer_does_not_take_are_named(
    archive: Archive, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    profile = tmp_path / "little.cfg"
    profile.write_text(ACCEPTS_LITTLE, encoding="ascii")
    archive.add_peer("LITTLE", receive("LITTLE", "-xf", str(profile), "Default").port, "--allow", "echo")
    uncompressed = receive("OLD", "+x=")
    archive.add_peer("OLD", uncompressed.port, "--allow", "echo")
    secondary = write(tiny("sc", sop_class="1.2.840.10008.5.1.4.1.1.7", study="secondary"), tmp_path / "secondary.dcm")
    assert Station(archive=archive, folder=tmp_path).store(secondary.path).status == 0x0000
    told, remedy = examined(archive, "LITTLE", expect=SOMETHING_TO_DO)["transfer syntaxes"][0]
    assert "CT Image Storage in JPEG 2000" in told
    assert "SOP classes" in remedy
    told, remedy = examined(archive, "OLD", expect=0)["transfer syntaxes"][0]
    assert ("1 transcoded" in told, remedy) == (True, "")


def test_nobody_listening_a_name_that_is_none_and_no_such_peer_are_told_apart(archive: Archive) -> None:
    archive.add_peer("DOWN", free_port())
    assert next(iter(remedies(examined(archive, "DOWN", expect=NOT_REACHED)))) == "TCP"
    archive.add_peer("LOST", 104, host="no-such-host.invalid")
    assert "--host ADDRESS" in remedies(examined(archive, "LOST", expect=NOT_REACHED))["name"]
    assert "pacs ae list" in archive.pacs("doctor", "NOBODY", expect=2).stderr
    archive.pacs("doctor", "DOWN", "--survive", "1", expect=2)
    archive.pacs("doctor", "--no-store", expect=2)


def test_a_port_that_says_nothing_is_no_dicom_server(archive: Archive) -> None:
    with closing(socket.create_server((HOST, 0))) as silent:
        archive.add_peer("SILENT", silent.getsockname()[1])
        found = examined(archive, "SILENT", expect=NOT_REACHED)
    assert "something else than a DICOM server" in remedies(found)["association"]
    assert "TLS" not in found


def authority(archive: Archive) -> TlsFiles:
    return TlsFiles.within(archive.data / "tls")


@pytest.fixture
def secure(archive: Archive, tmp_path: Path) -> Iterator[Receiver]:
    """A peer over TLS whose certificate is good for some days."""
    folder = tmp_path / "secure"
    folder.mkdir()
    for file in (authority(archive).ca, authority(archive).ca_key):
        shutil.copy(file, folder)
    files = TlsFiles.within(folder)
    make(files, ["localhost", HOST], days=20, now=datetime.now(UTC))
    with Receiver(tmp_path / "received-securely", aet="SECURE", tls=over_tls(files)) as running:
        yield running


def test_who_speaks_tls_and_who_does_not_is_found_out(
    archive: Archive, secure: Receiver, receive: Callable[..., Receiver]
) -> None:
    archive.add_peer("SECURE", secure.port, "--allow", "echo")
    found = examined(archive, "SECURE", expect=NOT_REACHED)
    assert found["TLS"] == [("it speaks TLS on that port", "pacs ae set SECURE --tls")]
    archive.pacs("ae", "set", "SECURE", "--tls")
    found = examined(archive, "SECURE", expect=SOMETHING_TO_DO)
    assert list(remedies(found)) == ["certificate"]
    assert "expires in 19 days" in found["certificate"][0][0]
    archive.add_peer("PLAIN", receive("PLAIN").port, "--tls", "--allow", "echo")
    found = examined(archive, "PLAIN", expect=NOT_REACHED)
    assert "it speaks DICOM without TLS on that port" in dict(found["TLS"])


# --- another archive ---


@pytest.mark.parametrize(
    ("knows_us", "told", "remedy"),
    [
        ("at our port", "it sent the tiny object back", ""),
        ("on another server", "it says that it sent the tiny object, which did not come", "register PACS there"),
        ("at another port", "it could not send the tiny object here", "register PACS there"),
        ("not at all", "it does not know this archive as a destination", "register PACS there"),
    ],
)
def test_an_archive_is_asked_to_send_back(
    archive: Archive, receive: Callable[..., Receiver], tmp_path: Path, knows_us: str, told: str, remedy: str
) -> None:
    ports = {"at our port": archive.port, "at another port": free_port(), "on another server": receive("PACS").port}
    port = ports.get(knows_us)
    with QueryRetrieveServer(tmp_path / "foreign", moves_to={"PACS": port} if port else {}) as foreign:
        archive.pacs("ae", "remove", foreign.aet, "--yes", expect=(0, 2))
        archive.add_peer(foreign.aet, foreign.port, "--allow", "echo,store")
        found = examined(archive, foreign.aet, "--send-back", expect=(0, SOMETHING_TO_DO))
        assert found["C-FIND"] == [("ok", "")]
        ((said, to_do),) = found["C-MOVE"]
        assert (told in said, remedy in to_do, bool(to_do)) == (True, True, bool(remedy))
        if knows_us == "at our port":
            held = archive.report("find", "studies", f"PatientID={TEST_PATIENT_ID}")
            assert len(held) == 1
            assert "held here" in said
        else:
            ((said, to_do),) = examined(archive, foreign.aet, expect=0)["C-MOVE"]
            assert ("--send-back" in said, to_do) == (True, "")


def test_answers_that_were_not_asked_for_are_found_out_and_cut_short(archive: Archive) -> None:
    with served(USUAL) as talkative:
        archive.add_peer("TALKATIVE", talkative.address[1])
        ((told, remedy),) = examined(archive, "TALKATIVE", expect=SOMETHING_TO_DO)["C-FIND"]
    assert told == "it answers with studies that were not asked for"
    assert "StudyInstanceUID" in remedy
    assert len(talkative.stored) == 1


class BreaksOffMoves(SmallArchive):
    def _operate(self, association: Association) -> None:
        while (command := association.receive()) is not None:
            association.drain()
            if command.field == CommandField.C_MOVE_RQ:
                association.abort()
                raise PeerAborted("by ourselves")
            association.respond(response(command, 0), command.context_id)


def test_an_archive_that_breaks_off_at_a_move_is_asked_all_the_same_whether_it_answers_queries(
    archive: Archive,
) -> None:
    with serving(BreaksOffMoves(USUAL)) as abrupt:
        archive.add_peer("ABRUPT", abrupt.address[1])
        found = examined(archive, "ABRUPT", expect=SOMETHING_TO_DO)
    assert found["C-FIND"] == [("ok", "")]
    ((told, remedy),) = found["C-MOVE"]
    assert (told, "aborted" in remedy) == ("failed", True)


def test_a_wrong_title_is_named_with_the_cause_in_the_language_of_the_person(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with QueryRetrieveServer(tmp_path / "foreign") as foreign:
        archive.add_peer("MISNAMED", foreign.port)
        remedy = remedies(examined(archive, "MISNAMED", expect=NOT_REACHED))["association"]
        monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
        told = archive.pacs("doctor", "MISNAMED", expect=NOT_REACHED).stdout
    assert "its AE title is another one than MISNAMED" in remedy
    assert "のアソシエーションを拒否しました (呼び出し先の AE タイトルが違います)" in told
    assert not [word for word in ("rejected", "recognised", "title") if word in told], told


# --- what it did here ---


def test_a_peer_that_calls_from_elsewhere_or_for_more_than_it_may_is_named_with_the_remedy(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.pacs("ae", "add", "ROVER", "-", "-", "--from", ELSEWHERE, "--allow", "echo")
    ((told, remedy),) = examined(archive, "ROVER", expect=SOMETHING_TO_DO)["its calls"]
    assert "nothing came from it" in told
    assert remedy.startswith("have it call PACS at port ")
    assert remedy.endswith(ELSEWHERE)
    rover = Station(archive=archive, folder=tmp_path, aet="ROVER")
    assert rover.echo().code != 0
    wait_for(lambda: [one for one in archive.report("ae", "seen") if one["aet"] == "ROVER"], "the call to be seen")
    found = examined(archive, "ROVER", expect=SOMETHING_TO_DO)
    assert remedies(found) == {"its calls": f"pacs ae approve ROVER --from {HOST}"}
    with monkeypatch.context() as japanese:
        japanese.setenv("LC_ALL", "ja_JP.UTF-8")
        assert "このアドレスでは登録されていません" in archive.pacs("doctor", "ROVER", expect=SOMETHING_TO_DO).stdout
        heading, *rows = archive.pacs("ae", "seen").stdout.splitlines()
        assert heading.split("  ")[0] == "AE タイトル"
        assert heading.endswith("理由")
        (row,) = [one for one in rows if one.startswith("ROVER ")]
        assert row.endswith("このアドレスでは登録されていません")
        (why,) = [one["why"] for one in archive.report("ae", "seen") if one["aet"] == "ROVER"]
        assert why == "it is not registered for this address"
    archive.pacs("ae", "approve", "ROVER", "--from", HOST, "--yes")
    rover.store(write(tiny("rover", study="rover"), tmp_path / "rover.dcm").path)

    def to_do() -> str:
        return remedies(examined(archive, "ROVER", expect=(0, SOMETHING_TO_DO))).get("rights", "")

    assert "pacs ae set ROVER --allow echo,store" in wait_for(to_do, "what it was refused to be told")


def test_no_approval_is_advised_where_the_user_identity_is_what_nobody_reads(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsound = rude.user_information(rude.item(0x58, struct.pack(">BBH", 6, 0, 1) + b"x" + bytes(2)))

    def rejected(aet: str) -> None:
        proposed = rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE)
        with rude.Peer((HOST, archive.port)) as peer:
            peer.send(rude.associate_request(proposed, calling=aet.encode(), user=unsound))
            assert peer.read_pdu() == (rude.ASSOCIATE_RJ, bytes((0, 1, 1, 1)))
        wait_for(lambda: [one for one in archive.report("ae", "seen") if one["aet"] == aet], "the call to be seen")

    archive.pacs("ae", "add", "GARBLED", "-", "-", "--from", HOST)
    rejected("GARBLED")
    advised = remedies(examined(archive, "GARBLED", expect=SOMETHING_TO_DO))
    assert advised.keys() == {"its calls", "destinations"}
    assert "turn off user identity negotiation" in advised["its calls"]
    assert "approve" not in advised["its calls"]
    archive.pacs("ae", "set", "GARBLED", "--identity", "password")
    advised = remedies(examined(archive, "GARBLED", expect=SOMETHING_TO_DO))
    assert "send a name and a passcode of at most 16384 bytes" in advised["its calls"]
    rejected("STRANGER")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    told = archive.pacs("doctor", "GARBLED", expect=SOMETHING_TO_DO).stdout
    assert "利用者情報(User Identity Negotiation)として名前とパスコードを 16384 バイト以内で" in told
    told = archive.pacs("doctor", "STRANGER", expect=2).stderr
    assert "利用者情報の送信(User Identity Negotiation)を止めてから pacs ae approve STRANGER" in told


def test_a_peer_at_which_nobody_could_log_in_is_named_with_the_setting(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.pacs("ae", "add", "TOKENS", "-", "-", "--from", HOST, "--identity", "jwt", "--allow", "echo")
    ((told, remedy),) = examined(archive, "TOKENS", expect=SOMETHING_TO_DO)["login"]
    assert told == "no token is believed"
    assert remedy == "identity.jwt in pacs.yaml needs an issuer and key_files"
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    shown = archive.pacs("doctor", "TOKENS", expect=SOMETHING_TO_DO).stdout
    (row,) = [line for line in shown.splitlines() if line.startswith("ログイン")]
    assert "トークンは一つも受け入れられません" in row
    assert row.endswith("pacs.yaml の identity.jwt に issuer と key_files を書いてください")
    assert shown.split()[:3] == ["確認項目", "結果", "対処"]
    warned = archive.pacs("ae", "set", "TOKENS", "--allow", "echo,find").stderr
    assert "トークンは一つも受け入れられません: pacs.yaml の identity.jwt に" in warned


def test_a_clock_that_goes_wrong_is_seen_by_studies_from_the_future(archive: Archive, tmp_path: Path) -> None:
    archive.pacs("ae", "add", "AHEAD", "-", "-", "--from", HOST, "--allow", "echo,store")
    ahead = Station(archive=archive, folder=tmp_path, aet="AHEAD")
    usual = write(tiny("now", study="of now"), tmp_path / "now.dcm")
    assert ahead.store(usual.path).status == 0x0000
    assert "clock" not in remedies(examined(archive, "AHEAD", expect=0))
    soon = datetime.now().astimezone() + timedelta(hours=2)
    for name, moment in (("hours", soon), ("years", soon + timedelta(days=400))):
        future = tiny(name, study=name, StudyDate=f"{moment:%Y%m%d}", StudyTime=f"{moment:%H%M%S.123}")
        assert ahead.store(write(future, tmp_path / f"{name}.dcm").path).status == 0x0000
        told, remedy = examined(archive, "AHEAD", expect=SOMETHING_TO_DO)["clock"][0]
        assert ("time zone" in remedy, "days" in told) == ((True, False) if name == "hours" else (False, True))


def test_a_peer_that_declares_no_character_set_is_asked_to_or_said_what_it_means(
    archive: Archive, tmp_path: Path
) -> None:
    archive.pacs("ae", "add", "SJIS", "-", "-", "--from", HOST, "--allow", "echo,store")
    path, placeholder = tmp_path / "sjis.dcm", "@" * 20
    dataset = tiny("sjis", study="sjis", PatientName=placeholder)
    raw = encoded(dataset).replace(placeholder.encode(), "山田^太郎".encode("shift_jis").ljust(20))
    path.write_bytes(part10(raw, sop_class=dataset.SOPClassUID, sop_uid=dataset.SOPInstanceUID))
    assert Station(archive=archive, folder=tmp_path, aet="SJIS").store(path).status == 0x0000
    ((told, remedy),) = examined(archive, "SJIS", expect=SOMETHING_TO_DO)["character set"]
    assert "1 of its 1 newest studies declare no character set" in told
    assert "pacs ae set SJIS --charset" in remedy
    archive.pacs("ae", "set", "SJIS", "--charset", "ISO_IR 13")
    ((told, remedy),) = examined(archive, "SJIS", expect=0)["character set"]
    assert ("read by ISO_IR 13" in told, remedy) == (True, "")


def test_what_cannot_be_moved_nor_sent_is_named(archive: Archive, tmp_path: Path) -> None:
    archive.pacs("ae", "add", "MOVER", "-", "-", "--from", HOST, "--allow", "echo,move", "--destinations", "NOWHERE")
    assert "pacs ae add or set NOWHERE" in remedies(examined(archive, "MOVER", expect=SOMETHING_TO_DO))["destinations"]
    archive.add_peer("AWAY", free_port(), "--allow", "echo")
    sample = write(tiny("queued", study="queued"), tmp_path / "queued.dcm")
    assert Station(archive=archive, folder=tmp_path).store(sample.path).status == 0x0000
    waiting = archive.begin("send", "study", sample.study_uid, "--to", "AWAY")
    try:

        def failing() -> tuple[str, str] | None:
            queue = examined(archive, "AWAY", expect=NOT_REACHED).get("queue", [])
            return next((one for one in queue if one[1]), None)

        told, remedy = wait_for(failing, "it to wait, with why", timeout_s=90)
    finally:
        waiting.send_signal(9)
    assert "1 objects wait for it" in told
    assert "refused the connection" in told
    assert "pacs send retry --to AWAY" in remedy
