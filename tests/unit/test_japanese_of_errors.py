"""Whatever an error or a command says to a person has its Japanese: read from where it is said in the source."""

import errno
import os
import re
import sys
from functools import cache
from pathlib import Path

import pytest
from support.told_texts import Module

import pacs_server
from pacs_server import errors
from pacs_server.archive.reconcile import Finding, FindingKind
from pacs_server.cli.japanese import translation
from pacs_server.cli.japanese.messages_connections import OF_THE_SYSTEM
from pacs_server.cli.japanese.translation import in_japanese
from pacs_server.cli.keep import print_findings
from pacs_server.cli.output import Progress

SOURCE = Path(pacs_server.__file__).parent
# Where a command says something to a person, and where it says what is wrong with a command line.
SAYING = {"talk", "in_their_language", "UsageError", "BadParameter", "show"}
# Where a check says what it found, and what is wrong with a setting.
FINDING = {"Advice", "Fetched", "problem", "Problem"}
CHECKS = ("doctor_checks.py", "patroni_checks.py")
A_COMMAND = re.compile(r"(pacs|patronictl)( [\w{}=.-]+)+")


@cache
def modules() -> list[Module]:
    """All of them, read when a test asks: every process of a run of all tests imports this file."""
    return [Module(path) for path in sorted(SOURCE.rglob("*.py")) if path.parent.name != "japanese"]


def kinds_of_errors() -> set[str]:
    """PacsError, and every class that is derived from it anywhere."""
    derived = [one for module in modules() for one in module.classes()]
    kinds = {errors.PacsError.__name__}
    while more := {name for name, bases in derived if bases & kinds} - kinds:
        kinds |= more
    return kinds


def is_japanese(text: str) -> bool:
    """Whether a text is told in Japanese from its beginning to its end, as far as it is not a value."""
    if text.startswith("pacs: "):
        return is_japanese(text.removeprefix("pacs: "))
    templates = (*translation._templates(), *translation._causes())
    values = next((found for one in templates if (found := one.values_in(text)) is not None), None)
    if values is not None:
        return all(map(is_japanese, values))
    subject, _, cause = text.partition(": ")
    return is_a_value(text) or (is_a_value(subject) and is_japanese(cause))


def is_a_value(text: str) -> bool:
    """Whether it is only values, and names as those of attributes: no two words of a sentence; or a command."""
    return bool(A_COMMAND.fullmatch(text)) or not re.search(r"\b[a-z]+ [a-z]", text)


def untold(calls: set[str]) -> list[str]:
    said = [(module.name, *one) for module in modules() for one in module.said(calls)]
    assert len(said) > 50
    return [f"{name}:{line}: {text}" for name, line, text in said if not is_japanese(text)]


def test_every_text_of_an_error_has_a_japanese_one() -> None:
    kinds = kinds_of_errors()
    assert {"PeerAborted", "BadPdu", "IndexLocked"} < kinds
    assert untold(kinds) == []


def test_every_text_that_a_command_says_has_a_japanese_one() -> None:
    assert untold(SAYING) == []


def test_every_finding_has_a_japanese_text() -> None:
    assert untold(FINDING) == []
    checks = [one for module in modules() if module.name in CHECKS for one in module.yielded()]
    assert len(checks) > 50
    assert [(line, text) for line, text in checks if not is_japanese(text)] == []


def test_what_the_operating_system_says_is_in_its_words() -> None:
    assert OF_THE_SYSTEM.keys() - set(map(os.strerror, errno.errorcode)) == set()


@pytest.mark.parametrize(
    ("english", "japanese"),
    [
        (
            "CT1 (ct1:104) cannot be reached: No route to host",
            "CT1 (ct1:104) に届きません (ホストへの経路がありません)",
        ),
        (
            "TLS with CT1 (ct1:2762) failed: the certificate of the other side is not trusted: Hostname mismatch, "
            "certificate is not valid for 'ct1'.",
            "CT1 (ct1:2762) との TLS に失敗しました "
            "(相手の証明書を信頼できません: 証明書はホスト名 'ct1' のものではありません)",
        ),
        (
            "1.2.3: there is no good copy to make another of: the copy on nas1 cannot be read now",
            "1.2.3: 複製の元にできる正しいコピーがありません: nas1 のコピーは今は読めません",
        ),
        (
            "1.2.3: there is no good copy to make another of: v1/a.dcm on volume nas1 is not what was received",
            "1.2.3: 複製の元にできる正しいコピーがありません: ボリューム nas1 の v1/a.dcm は受信した内容と違います",
        ),
        ("volume nas1: Stale file handle", "ボリューム nas1: NFS のファイルが無効になりました (Stale file handle)"),
        (
            "a frame cannot be decoded: the decoder took longer than 60 s",
            "フレームを復号できません: 復号が 60 秒で終わりませんでした",
        ),
        (
            "pixels of 12 bits are not transcoded; uncompressed pixels in YBR_FULL_422 are not compressed, and the "
            "destination accepted no other transfer syntax",
            "12 ビットの画素は変換できません。YBR_FULL_422 の圧縮されていない画素は圧縮できません。"
            "送信先はほかの転送構文を受け入れませんでした",
        ),
        (
            "no volume has the id 7, and files on it are to be removed",
            "識別子 7 のボリュームがありませんが、そこに削除待ちのファイルがあります",
        ),
    ],
)
def test_a_cause_is_told_with_what_it_is_the_cause_of(english: str, japanese: str) -> None:
    assert in_japanese(english) == japanese


def test_details_and_progress_are_told_in_the_language_of_the_person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    finding = Finding(kind=FindingKind.UNREADABLE, volume="nas1", path="a/b", detail="the file is empty")
    print_findings([finding], "", as_json=False)
    assert "ファイルが空です" in capsys.readouterr().out
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Progress().show("3 files, now a.dcm")
    assert "ファイル 3 個、処理中: a.dcm" in capsys.readouterr().err
