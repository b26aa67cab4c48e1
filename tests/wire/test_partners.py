"""Two archives that are each other's partner: joined, greeted, paused, cut off, renewed, parted."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.certificates import from_authority, self_signed
from support.dcmtk import free_port
from support.link import certificate, ends, raw_link
from support.samples import tiny, write
from support.server import Archive, children, lives, wait_for

from pacs_server.index.maintenance.schema import open_current
from pacs_server.index.operations import Operations
from pacs_server.settings import TlsFiles
from pacs_server.storage.sentinel import SENTINEL_NAME

pytestmark = pytest.mark.timeout(600)

LONG_S = 120.0
SETTINGS = {"partner": {"port": 0, "greet_every_s": 0.5, "connect_timeout_s": 60.0, "handshake_timeout_s": 60.0}}


def fingerprint(archive: Archive) -> str:
    told = {row["name"]: row for row in archive.report("tls", "show")}
    return str(told["node"]["fingerprint"])


def partner_port(archive: Archive) -> int:
    return int(archive.report("status")["server"]["partner_port"])


def add(archive: Archive, name: str, other: Archive, *options: str) -> subprocess.CompletedProcess[str]:
    port, pin = str(partner_port(other)), fingerprint(other)
    return archive.pacs("partner", "add", name, "127.0.0.1", port, "--fingerprint", pin, *options)


def partner_of(archive: Archive) -> dict[str, Any]:
    (told,) = archive.report("status")["partners"]
    return dict(told)


def reaches(archive: Archive, state: str = "reachable", problem: str = "") -> dict[str, Any]:
    """The partner of an archive once its state is this, for that reason."""

    def told() -> dict[str, Any] | None:
        now = partner_of(archive)
        return now if now["state"] == state and problem in (now["problem"] or "") else None

    return dict(wait_for(told, f"the partner to be {state}: {problem}", timeout_s=LONG_S, every_s=0.2))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, Archive]]:
    """Two running archives, each the other's partner."""
    both = [Archive(tmp_path_factory.mktemp(name), settings=SETTINGS, aet=name) for name in ("TOKYO", "OSAKA")]
    tokyo, osaka = both
    for each in both:
        each.pacs("tls", "init")
        each.start()
    first = add(tokyo, "osaka", osaka)
    assert "does not answer yet" in first.stderr
    assert f"--fingerprint {fingerprint(tokyo)}" in first.stderr
    assert "does not answer yet" not in add(osaka, "tokyo", tokyo).stderr
    yield tokyo, osaka
    for each in both:
        assert each.stop() == 0, each.log_text()[-4_000:]
        assert "Traceback" not in each.log_text()


def test_two_archives_that_added_each_other_greet_and_know_each_other(pair: tuple[Archive, Archive]) -> None:
    tokyo, osaka = pair
    seen = reaches(tokyo)
    reaches(osaka)
    assert (seen["name"], seen["their_aet"], seen["problem"]) == ("osaka", "OSAKA", "")
    shown = tokyo.report("partner", "show", "osaka")
    assert (shown["state"], shown["fingerprint"]) == ("reachable", fingerprint(osaka))
    assert shown["version"]
    assert shown["schema"]
    assert abs(shown["clock_ahead_s"]) < 60
    assert "{" not in tokyo.pacs("partner", "show", "osaka").stdout
    sites = {shown["site_id"], osaka.report("partner", "show", "tokyo")["site_id"]}
    assert len(sites - {None}) == 2
    assert "reachable" in tokyo.pacs("status").stdout
    assert [row["name"] for row in tokyo.report("partner", "list")] == ["osaka"]


def test_a_pause_is_told_to_the_other_and_ends_with_resume(pair: tuple[Archive, Archive]) -> None:
    tokyo, osaka = pair
    tokyo.pacs("partner", "pause", "osaka")
    assert partner_of(tokyo)["state"] == "paused"
    reaches(osaka, "not reachable", "has paused this partner")
    assert "has paused" in osaka.report("partner", "show", "tokyo", expect=13)["problem"]
    tokyo.pacs("partner", "resume", "osaka")
    reaches(osaka)
    reaches(tokyo)


def test_the_process_that_answers_is_killed_and_comes_back_on_the_same_port(pair: tuple[Archive, Archive]) -> None:
    tokyo, osaka = pair
    port, family = partner_port(osaka), children(osaka.pid)
    for pid in family:  # whichever of them it is
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(lives, family)), "the processes to end", timeout_s=LONG_S)
    # Asked meanwhile, the connection waits in the port that the supervisor holds, and is answered by the new one.
    shown = tokyo.report("partner", "show", "osaka")
    assert (shown["state"], shown["port"]) == ("reachable", port)
    wait_for(lambda: len(children(osaka.pid)) == len(family), "the others to be replaced", timeout_s=LONG_S)


def test_since_when_a_partner_is_away_outlives_what_is_tried_again(
    new_archive: Callable[..., Archive], pair: tuple[Archive, Archive]
) -> None:
    alone, (tokyo, _) = new_archive(**SETTINGS), pair
    alone.pacs("tls", "init")
    alone.start()
    stranger = alone.pacs(
        "partner", "add", "tokyo", "127.0.0.1", str(partner_port(tokyo)), "--fingerprint", fingerprint(tokyo)
    )
    assert "has it pinned the certificate of this node?" in stranger.stderr
    away = reaches(alone, "not reachable")
    again = wait_for(
        lambda: (now := partner_of(alone))["greeted_at"] > away["greeted_at"] and now,
        "it to be greeted again",
        timeout_s=LONG_S,
    )
    assert (again["state"], again["since"]) == ("not reachable", away["since"])
    told = {row["check"]: row for row in alone.report("doctor", expect=12)}
    assert told["partners"]["result"].startswith("tokyo: ")
    assert alone.stop() == 0
    alone.start()
    later = wait_for(
        lambda: (now := partner_of(alone))["greeted_at"] > again["greeted_at"] and now,
        "it to be greeted again",
        timeout_s=LONG_S,
    )
    assert later["since"] == away["since"]
    reaches(tokyo)  # a stranger that calls all the time is nothing to it


def test_another_certificate_than_the_pinned_is_refused_when_added_and_when_met(
    pair: tuple[Archive, Archive], tmp_path: Path
) -> None:
    tokyo, osaka = pair
    wrong = "AB:" * 31 + "AB"
    refused = tokyo.pacs(
        "partner", "add", "kobe", "127.0.0.1", str(partner_port(osaka)), "--fingerprint", wrong, expect=2
    )
    assert fingerprint(osaka) in refused.stderr
    refused = tokyo.pacs("partner", "set", "osaka", "--fingerprint", wrong, expect=2)
    assert "nothing was changed" in refused.stderr
    assert tokyo.report("partner", "show", "osaka")["state"] == "reachable"


def test_oneself_and_the_same_partner_twice_are_refused(pair: tuple[Archive, Archive]) -> None:
    tokyo, osaka = pair
    port = str(partner_port(osaka))
    itself = tokyo.pacs(
        "partner", "add", "me", "127.0.0.1", str(partner_port(tokyo)), "--fingerprint", fingerprint(tokyo), expect=2
    )
    assert "this node itself" in itself.stderr
    twice = tokyo.pacs("partner", "add", "osaka2", "127.0.0.1", port, "--fingerprint", fingerprint(osaka), expect=2)
    assert "pinned for the partner osaka already" in twice.stderr
    for words in (
        ("x", "127.0.0.1", port, "--fingerprint", "12"),
        ("x y", "127.0.0.1", port, "--fingerprint", fingerprint(osaka)),
        ("x", "a b", port, "--fingerprint", fingerprint(osaka)),
        ("x", "127.0.0.1", port, "--fingerprint", fingerprint(osaka), "--aet", "NOBODY"),
    ):
        tokyo.pacs("partner", "add", *words, expect=2)
    assert [row["name"] for row in tokyo.report("partner", "list")] == ["osaka"]


def test_a_copy_of_an_archive_is_refused_as_its_partner(new_archive: Callable[..., Archive]) -> None:
    """It has a certificate of its own, but the database, and so the site, of the one that it was copied from."""
    one, copy = new_archive(aet="ONE", **SETTINGS), new_archive(aet="COPY", **SETTINGS)
    with closing(open_current(f"sqlite:///{one.data}/index.db")) as index:
        Operations(index).site_id()
    shutil.copy(one.data / "index.db", copy.data / "index.db")
    shutil.copy(one.volume / SENTINEL_NAME, copy.volume)
    copy.pacs("storage", "set", "first", "--path", str(copy.volume))
    for each in (one, copy):
        each.pacs("tls", "init")
        each.start()
    add(one, "copy", copy)  # nobody has pinned the other yet
    wait_for(lambda: "not pinned" not in add_refusal(copy, one), "the certificate to be known", timeout_s=LONG_S)
    assert "of this site itself" in add_refusal(copy, one)
    assert copy.report("partner", "list") == []


def add_refusal(archive: Archive, other: Archive) -> str:
    words = ("partner", "add", "one", "127.0.0.1", str(partner_port(other)), "--fingerprint", fingerprint(other))
    told = archive.pacs(*words, expect=(0, 2))
    if told.returncode == 0:  # the other has not learned our certificate yet
        archive.pacs("partner", "remove", "one", "--yes")
        return "not pinned"
    return told.stderr


def test_a_renewed_certificate_is_pinned_again_and_the_link_goes_on(pair: tuple[Archive, Archive]) -> None:
    tokyo, osaka = pair
    before = fingerprint(osaka)
    refused = osaka.pacs("tls", "init", expect=2)
    assert "replace it with --yes" in refused.stderr
    assert fingerprint(osaka) == before
    osaka.pacs("tls", "init", "--yes")
    assert fingerprint(osaka) != before
    reaches(tokyo, "not reachable", "not the one that was pinned")
    tokyo.pacs("partner", "set", "osaka", "--fingerprint", fingerprint(osaka))
    reaches(tokyo)
    reaches(osaka)


def test_rude_callers_of_the_partner_port_change_nothing(pair: tuple[Archive, Archive], tmp_path: Path) -> None:
    tokyo, _ = pair
    stranger = certificate(tmp_path)

    class Port:
        port = partner_port(tokyo)

    for files in (stranger, TlsFiles.within(tokyo.data / "tls")):
        with raw_link(Port(), files) as link:  # type: ignore[arg-type]
            assert ends(link) == b""
    reaches(tokyo)


def test_a_partner_that_is_removed_is_gone_at_once(new_archive: Callable[..., Archive]) -> None:
    one, other = new_archive(aet="ONE", **SETTINGS), new_archive(aet="OTHER", **SETTINGS)
    for each in (one, other):
        each.pacs("tls", "init")
        each.start()
    add(one, "other", other)
    add(other, "one", one)
    reaches(one)
    assert "do it with --yes" in one.pacs("partner", "remove", "other").stderr
    assert reaches(one)
    one.pacs("partner", "remove", "other", "--yes")
    assert one.report("status")["partners"] == []
    reaches(other, "not reachable", "has it pinned")
    wait_for(
        lambda: json.loads((one.data / "partners.json").read_text())["partners"] == [], "it to be forgotten",
        timeout_s=LONG_S,
    )  # fmt: skip


def test_a_partner_that_sends_no_objects_gets_those_that_it_lacks(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    tokyo, osaka = both = [new_archive(aet=name, **SETTINGS) for name in ("TOKYO", "OSAKA")]
    own = [write(tiny(archive.aet), tmp_path / f"{archive.aet}.dcm") for archive in both]
    for archive, sample in zip(both, own, strict=True):
        archive.pacs("tls", "init")
        archive.pacs("import", str(sample.path))
        archive.start()
    tokyo.add_peer("OSAKA", osaka.port)
    osaka.add_peer("TOKYO", tokyo.port)
    add(osaka, "tokyo", tokyo)
    add(tokyo, "osaka", osaka, "--aet", "OSAKA")
    wait_for(lambda: len(osaka.instance_uids()) == 2, "what it lacks", timeout_s=LONG_S)
    compared = tokyo.pacs("partner", "compare", "osaka", "--repair", expect=12)
    assert "1 objects are missing here, 0 there" in compared.stderr
    assert "it sends no objects to this partner" in compared.stderr
    assert tokyo.instance_uids() == {own[0].sop_uid}
    for each in both:
        assert each.stop() == 0


def test_an_object_that_a_partner_never_takes_keeps_none_of_its_series(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    tokyo = new_archive(aet="TOKYO", **SETTINGS)
    osaka = new_archive(aet="OSAKA", network={"max_object_bytes": 1 << 20}, **SETTINGS)
    for archive in (tokyo, osaka):
        archive.pacs("tls", "init")
        archive.start()
    tokyo.add_peer("OSAKA", osaka.port)
    osaka.add_peer("TOKYO", tokyo.port)
    add(osaka, "tokyo", tokyo)
    add(tokyo, "osaka", osaka, "--aet", "OSAKA")
    large = write(tiny("large", InstanceNumber=1, EncapsulatedDocument=bytes(2 << 20)), tmp_path / "large.dcm")
    others = [write(tiny(n, InstanceNumber=n), tmp_path / f"{n}.dcm") for n in (2, 3)]
    tokyo.pacs("import", *(str(one.path) for one in (large, *others)))
    uids = {one.sop_uid for one in others}
    wait_for(lambda: uids <= osaka.instance_uids(), "what it takes", timeout_s=LONG_S)
    assert osaka.instance_uids() == uids
    for each in (tokyo, osaka):
        assert each.stop() == 0


def test_without_a_certificate_the_partner_port_is_not_opened_and_nothing_is_added(
    new_archive: Callable[..., Archive],
) -> None:
    bare = new_archive(**SETTINGS)
    assert "pacs tls init" in bare.pacs("serve", expect=10).stderr
    refused = bare.pacs("partner", "add", "x", "127.0.0.1", "1", "--fingerprint", "00" * 32, expect=10)
    assert "pacs tls init" in refused.stderr
    bare.pacs("tls", "show", expect=10)


def test_a_certificate_of_the_sites_authority_that_is_not_valid_is_told_with_what_helps(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    files = {"certificate_file": str(tmp_path / "node.crt"), "key_file": str(tmp_path / "node.key")}
    site = new_archive(tls={"port": 0} | files)
    site.pacs("tls", "init")
    for days_on, told in ((40, "is not valid before"), (-900, "has expired")):
        from_authority(TlsFiles.within(site.data / "tls"), tmp_path, now=datetime.now(UTC) + timedelta(days=days_on))
        shown = site.pacs("tls", "show", expect=12)
        assert f"{tmp_path}/node.crt {told}" in shown.stderr
        remedies = [one["remedy"] for one in site.report("doctor", expect=12) if told in one["result"]]
        assert remedies == ["a new one of the site's authority in its place"]


@pytest.mark.parametrize(("asked", "is_told"), [("required", True), ("none", False)])
def test_a_certificate_that_nobody_trusts_who_has_the_authority_alone_is_told(
    new_archive: Callable[..., Archive], tmp_path: Path, asked: str, is_told: bool
) -> None:
    files = {"certificate_file": str(tmp_path / "node.crt"), "key_file": str(tmp_path / "node.key")}
    site = new_archive(tls={"port": 0, "client_certificates": asked} | files)
    site.pacs("tls", "init")
    itself = self_signed(tmp_path / "itself")
    shutil.copy(itself.certificate, tmp_path)
    shutil.copy(itself.key, tmp_path)
    told = {one["result"]: one["remedy"] for one in site.report("doctor", expect=12) if one["check"] == "certificates"}
    refused = f"who trusts {site.data}/tls/ca.crt refuses the certificate {tmp_path}/node.crt: self-signed certificate"
    assert (refused in told) is is_told
    assert "behind it in its file" in told.get(refused, "behind it in its file")


def test_without_a_partner_port_none_is_opened(archive: Archive) -> None:
    told = archive.report("status")
    assert (told["server"]["partner_port"], told["partners"]) == (None, [])


def test_certificates_are_made_for_another_machine_and_warn_before_they_expire(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    site = new_archive()
    site.pacs("tls", "init", "--days", "20")
    (node, authority) = site.report("tls", "show", expect=12)
    assert (node["days_left"], authority["name"]) == (19, "authority")
    assert "expires in 19 days" in site.pacs("tls", "show", expect=12).stderr
    site.pacs("tls", "init", "--dir", str(tmp_path / "second"), expect=2)
    site.pacs("tls", "init", "--dir", str(tmp_path / "second"), "--name", "a b", expect=2)
    site.pacs("tls", "init", "--dir", str(tmp_path / "second"), "--name", "pacs2")
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == ["ca.crt", "ca.key", "node.crt", "node.key"]


def test_doctor_says_why_a_partner_that_is_reached_does_not_get_its_objects(
    pair: tuple[Archive, Archive], tmp_path: Path
) -> None:
    tokyo, _ = pair
    reaches(tokyo)
    assert {row["check"]: row["result"] for row in tokyo.report("doctor", expect=(0, 12))}["partners"] == "good"
    tokyo.add_peer("OSAKA", free_port())  # nothing listens there
    tokyo.pacs("partner", "set", "osaka", "--aet", "OSAKA")
    tokyo.pacs("import", str(write(tiny(1), tmp_path / "1.dcm").path))

    def told() -> str | None:
        checks = {row["check"]: row["result"] for row in tokyo.report("doctor", expect=(0, 12))}
        return None if checks["partners"] == "good" else str(checks["partners"])

    assert wait_for(told, "doctor to tell", timeout_s=LONG_S, every_s=0.5).startswith("osaka does not get 1 objects")
