"""Help and messages in Japanese: complete, with the same values, and only where the locale asks for them."""

import ast
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest

import pacs_server
from pacs_server.archive import comparing, importing, reconcile, restoring
from pacs_server.cli import db_check, doctor_checks
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.japanese.help import HELP
from pacs_server.cli.japanese.messages import MESSAGES
from pacs_server.cli.japanese.messages_peers import CAUSES
from pacs_server.cli.japanese.messages_usage import CAUSES_OF_THE_LIBRARY, OF_THE_LIBRARY
from pacs_server.cli.japanese.tables import LABELS
from pacs_server.cli.japanese.translation import in_japanese, is_wanted, label_in_japanese
from pacs_server.cli.main import pacs
from pacs_server.cluster import failover
from pacs_server.dicom import audit, commitment, operations
from pacs_server.index import jobs, tables
from pacs_server.index.queries import view
from pacs_server.index.recording import fields
from pacs_server.index.sending import commitments
from pacs_server.index.site import registry
from pacs_server.net import negotiate
from pacs_server.service.monitoring import alarms
from pacs_server.service.partners import role
from pacs_server.storage import volume

SOURCE = Path(pacs_server.__file__).parent
# What is the same in both languages: what commands and standards call by these letters.
AS_IT_IS = {"UID", "VR", "WANT", "NEED", "DEGRADED", "PATRONI"}


def commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from commands(below)


def english_texts() -> set[str]:
    texts = set()
    for command in commands(pacs):
        options = [one.help for one in command.params if isinstance(one, click.Option)]
        texts |= {" ".join(text.split()) for text in (command.help, *options) if text}
    return texts


def test_every_help_text_has_a_japanese_one_and_none_is_left_over() -> None:
    assert english_texts() - HELP.keys() == set()
    assert HELP.keys() - english_texts() - {"Show this message and exit."} == set()


def strings_of_the_source() -> set[str]:
    """Every text of the source, with `{}` for each value that is put in."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        if not path.name.startswith("japanese"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    found.add("".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values))
    return found


def test_every_message_is_one_of_the_source() -> None:
    texts = strings_of_the_source()
    # A value that is itself a choice between texts stands as one `{}` in the source.
    loose = [re.compile(re.escape(text).replace(re.escape("{}"), ".*"), re.DOTALL) for text in texts if "{}" in text]

    def is_known(message: str) -> bool:
        return message in texts or any(one.fullmatch(message) and one.pattern.strip(".*") for one in loose)

    of_others = {*OF_THE_LIBRARY, *CAUSES_OF_THE_LIBRARY}
    assert [one for one in (*MESSAGES, *CAUSES) if one not in of_others and not is_known(one)] == []


def headings() -> set[tuple[str, str]]:
    """The key and the heading of every column of every table."""
    found = set()
    for path in (SOURCE / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict) and not path.name.startswith("japanese"):
                pairs = [(key.value, value.value) for key, value in zip(node.keys, node.values, strict=True)
                         if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)]  # fmt: skip
                found |= {(key, value) for key, value in pairs if isinstance(value, str) and value.isupper()}
    return found


def test_every_heading_of_a_table_has_a_japanese_one_and_none_is_left_over() -> None:
    used = headings()
    assert len(used) > 150
    assert {value for key, value in used if label_in_japanese(value, key) == value} == AS_IT_IS
    known = {value for _, value in used} | {f"{value} {key}" for key, value in used}
    assert {label for label in LABELS if label.partition(" ")[0].isupper()} - known == set()


def test_every_name_of_a_fact_is_one_of_the_source() -> None:
    assert {label for label in LABELS if not label.partition(" ")[0].isupper()} - strings_of_the_source() == set()


@pytest.mark.parametrize(
    "words",
    [
        volume.Status, registry.VolumeMode, jobs.JobState, commitments.State, fields.Stage, role.Role, alarms.AlarmKind,
        audit.EventOutcome, reconcile.FindingKind, comparing.DifferenceKind, restoring.Becomes, importing.ImportOutcome,
        doctor_checks.CHECKS, db_check._CHECKS, failover.Step, operations.OperationKind, ("current", *tables.BESIDE),
        commitment._WORDS.values(),
    ],
)  # fmt: skip
def test_every_word_of_a_column_that_is_told_has_a_japanese_one(words: Iterable[str]) -> None:
    assert set(map(str, words)) - MESSAGES.keys() == set()


@pytest.mark.parametrize("english", sorted({*MESSAGES, *CAUSES}))
def test_a_message_keeps_all_its_values(english: str) -> None:
    values = [f"<{number}>" for number in range(english.count("{}"))]
    message = "".join(itertools.chain(*itertools.zip_longest(english.split("{}"), values, fillvalue="")))
    japanese = in_japanese(message)
    assert japanese != message
    assert all(value in japanese for value in values)
    assert re.search("[ぁ-んァ-ヶ一-龠]", japanese)


def test_every_name_that_is_shown_of_a_study_has_a_japanese_one() -> None:
    for table in (tables.patients, tables.studies, tables.series):
        names = view._shown({column.name: "" for column in table.c}, table).keys() | {"hold"}
        assert {name for name in names if label_in_japanese(name, "") == name} <= {"frame_of_reference_uid"}


@pytest.mark.parametrize("other", ["サーバー", "ユーザ", "マシン"])
def test_one_thing_has_one_word(other: str) -> None:
    texts = {**HELP, **MESSAGES, **CAUSES, **LABELS}.values()
    assert [text for text in texts if other in text] == []


def test_every_rejection_has_a_japanese_text() -> None:
    texts = {one.text for one in vars(negotiate).values() if isinstance(one, negotiate.Rejection)}
    assert len(texts) > 5
    assert texts - CAUSES.keys() == set()


def test_every_refusal_of_a_failover_has_a_japanese_text() -> None:
    texts = {re.sub(r"{\w+}", "{}", text) for text in failover._TEXTS.values()}
    assert len(texts) == len(failover.Reason)
    assert texts - MESSAGES.keys() == set()


def test_what_a_site_survives_is_told_in_the_language_of_the_person() -> None:
    layout = SOURCE.parent / "config" / "layouts" / "one-server.yaml"
    told, _, code = said("ja_JP.UTF-8", "doctor", "--survive", "1", "--layout", str(layout))
    assert code == ExitCode.DAMAGE
    lines = dict(line.split(maxsplit=1) for line in told.splitlines()[:4])
    assert lines["試したもの"].endswith("データを失うもの 0、取り出せなくなるもの 2、保管できなくなるもの 2")
    assert lines["データ"] == "どの 1 箇所を失っても維持可"
    assert "サーバ main を失うと、サーバが残りません" in lines["保管"]
    assert "want を 2 から 3 に" in said("ja_JP.UTF-8", "doctor", "--survive", "2", "--layout", str(layout))[0]


@pytest.mark.parametrize(
    ("english", "japanese"),
    [
        (
            "osaka has 1 volumes and needs 2 for a new object: bring its volumes back (pacs storage list there)",
            "osaka で新しいオブジェクトに使えるのは ボリューム 1 個で、必要なのは 2 個です。"
            "ボリュームを復旧してください(相手側で pacs storage list)",
        ),
        (
            "CT1 (ct1:104) rejected the association of PACS: called AE title not recognised: its AE title is another "
            "one than CT1; register it here by its own",
            "CT1 (ct1:104) は PACS のアソシエーションを拒否しました (呼び出し先の AE タイトルが違います): "
            "相手の AE タイトルは CT1 ではありません。相手自身のタイトルで登録してください",
        ),
        (
            "CT1 (ct1:104) rejected the association of PACS: temporary congestion (it may accept later): "
            "look into its log",
            "CT1 (ct1:104) は PACS のアソシエーションを拒否しました (一時的に混み合っています、"
            "後で受け入れるかもしれません): 相手のログを見てください",
        ),
        (
            "from 10.0.0.7 it was turned away 3 times, last at 09:00 UTC: its token is not believed: it ended 31 s ago",
            "10.0.0.7 からの接続を 3 回断りました(最後は 09:00 UTC): "
            "トークンを受け入れられません (31 秒前に期限が切れました)",
        ),
        ("removed temporary", "temporary を外しました"),
        (
            "osaka (10.0.0.5:11114) refused: pacs2 is of the site b now, and was of a before: its database was made "
            "anew or restored; if that is right: pacs partner remove NAME --yes, then pacs partner add, on the side "
            "that was not",
            "osaka (10.0.0.5:11114) に断られました: pacs2 は今はサイト b で、前は a でした。"
            "データベースが作り直されたか、復元されています。それで正しければ、そうでない側で "
            "pacs partner remove NAME --yes、続けて pacs partner add を実行してください",
        ),
        (
            "1 of 2 copies: volume nas1 is offline: /mnt/nas1: .pacs-volume.json cannot be read: Permission denied: "
            "what is there has to belong to the user of the server (chown -R)",
            "コピー 2 個のうち 1 個: ボリューム nas1 はオフラインです: /mnt/nas1: .pacs-volume.json を読めません "
            "(許可がありません)。そこにあるものは、サーバの利用者のものでなければなりません (chown -R)",
        ),
        (
            "no file meta information tells its transfer syntax: it was read as Implicit VR Little Endian",
            "転送構文を示すファイルメタ情報がないので、Implicit VR Little Endian として読みました",
        ),
        (
            "volume nas1 is offline: /mnt/nas1: No such file or directory (pacs storage show nas1)",
            "ボリューム nas1 がオフラインです: /mnt/nas1: そのようなファイルやディレクトリはありません "
            "(pacs storage show nas1)",
        ),
        (
            "pacs: /etc/pacs.yaml line 1: port: is 99999, but has to be between 0 and 65535",
            "pacs: /etc/pacs.yaml line 1: port: 値は 99999 ですが、0 から 65535 まででなければなりません",
        ),
        (
            "pacs: no study 1.2.3 is held; pacs find studies lists those there are",
            "pacs: 検査 1.2.3 は保管していません。pacs find studies で一覧を表示できます",
        ),
        (
            "X (x:1) refused the connection: nothing listens on that port",
            "X (x:1) は接続を拒否しました。そのポートでは何も待ち受けていません",
        ),
        ("a word: about studies that are new", "a word: about studies that are new"),
        (
            "dry run: 8 objects of 1 studies (2 KiB) go to the trash; do it with --yes",
            "試行: オブジェクト 8、検査 1 (2 KiB): ごみ箱へ移します。実行するには --yes を付けてください",
        ),
        (
            "dry run: 8 objects of 1 studies (2 KiB) would move; pacs tier plan lists them; do it with --yes",
            "試行: オブジェクト 8、検査 1 (2 KiB) が移る予定です。内訳は pacs tier plan で確認できます。"
            "実行するには --yes を付けてください",
        ),
        ("/mnt/online: something new: good", "/mnt/online: something new: good"),
        (
            "volume nas1 is offline: /mnt/nas1: No such file or directory; volume nas2 is suspect: it is mounted "
            "read-only; look into the kernel log for why",
            "ボリューム nas1 はオフラインです: /mnt/nas1: そのようなファイルやディレクトリはありません。"
            "ボリューム nas2 に異常の疑いがあります: 読み取り専用でマウントされています。"
            "理由はカーネルのログを見てください",
        ),
        ("mail.a does not take the mail: foo bar; baz", "mail.a がメールを受け取りません: foo bar; baz"),
        ("route jobs", "route の作業"),
        (
            "volume a is offline (b: Permission denied); bring it back first, because its files cannot be told from "
            "missing ones",
            "ボリューム a はオフラインです (b: 許可がありません)。先に使えるようにしてください。"
            "ファイルがないのか、見えないだけなのかが分かりません",
        ),
        (
            "volume s3 is offline: s3://images/a: the S3 server does not answer: Could not connect: check the "
            "endpoint, that it runs, and the firewalls between",
            "ボリューム s3 はオフラインです: s3://images/a: S3 サーバが応答しません (Could not connect)。"
            "エンドポイントが正しいこと、サーバが動いていること、途中のファイアウォールを確かめてください",
        ),
        (
            "the last is checkpoint 1 of 2026-12-01 by a4af5929",
            "最新は 2026-12-01 のチェックポイント 1 (by a4af5929) です",
        ),
    ],
)
def test_the_cause_in_a_message_is_told_in_the_same_language(english: str, japanese: str) -> None:
    assert in_japanese(english) == japanese


@pytest.mark.parametrize(
    "english",
    [
        "there is no partner: pacs partner add",
        "the folder of the SQLite file /srv/pacs/index.db is not there: make it, or mount it",
        "db2 is not made the leader: Patroni is paused by somebody: patronictl resume",
        "tokyo did not find the test object that it had stored: 0 answers",
        "NumberOfStudyRelatedSeries is counted and cannot be searched; NumberOfStudyRelatedSeries= with nothing behind "
        "shows it",
        "Invalid value for 'to': 'from' is not 'to'.",
        "the hook /usr/local/bin/move-address ended with 1",
    ],
)
def test_what_a_person_has_to_act_on_is_told_whole_in_japanese(english: str) -> None:
    told = in_japanese(english)
    assert re.search("[ぁ-ん]", told)
    assert not re.search(r"(?<![a-z])[a-z]+ [a-z]+ [a-z]+ [a-z]+", told.replace("pacs partner add", "")), told


def test_the_page_for_the_night_shows_what_a_terminal_in_japanese_does() -> None:
    pages = Path(SOURCE.parent, "docs/operate")
    english, japanese = ((pages / name).read_text(encoding="utf-8") for name in ("failover.md", "failover.ja.md"))
    for command in ("$ pacs failover to here --source-lost\n", "$ pacs failover plan to osaka\n"):
        told, shown = (page.partition(command)[2].partition("```")[0].splitlines() for page in (english, japanese))
        assert len(told) == len(shown)
        assert not set(told) & set(shown), command


def test_the_most_telling_template_is_taken_and_the_rest_stays_english() -> None:
    assert in_japanese("changed volume nas1") == "ボリューム nas1 を変更しました"
    assert in_japanese("pacs: no peer CT1 is registered; pacs ae list shows them").startswith("pacs: 接続相手 CT1")
    assert in_japanese("something new") == "something new"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"LANG": "ja_JP.UTF-8"}, True),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_MESSAGES": "ja"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({}, False),
    ],
)
def test_the_locale_decides(environment: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environment) is wanted


def said(language: str, *words: str) -> tuple[str, str, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PACS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pacs_server", *words], capture_output=True, text=True, encoding="utf-8", check=False,
        env=environment | {"LANG": language, "PYTHONUTF8": "1"},
    )  # fmt: skip
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize(
    "words",
    [
        ("nod",),
        ("ae", "lst"),
        ("ae", "list", "--jsn"),
        ("ae", "list", "--bogus"),
        ("ae", "show"),
        ("ae", "show", "CT1", "CT2"),
        ("ae", "show", "A;B"),
        ("ae", "set", "CT1", "--port"),
        ("ae", "set", "CT1"),
        ("ae", "add", "CT1", "host", "99999"),
        ("ae", "add", "CT1", "host", "104", "--allow", "all"),
        ("jobs", "list", "--limit", "0"),
        ("jobs", "list", "--limit", "many"),
        ("jobs", "list", "--json=3"),
        ("jobs", "pause", "--kind", "lunch"),
        ("import", "/nonexistent"),
        ("reconcile", "--since", "yesterday"),
        ("doctor", "--no-store"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_told_in_japanese(words: tuple[str, ...]) -> None:
    _, told, code = said("ja_JP.UTF-8", *words)
    assert code == 2
    sentence = told.splitlines()[-1]
    given = re.sub(r"'[^']*'|\([^)]*\)|--?[a-z-]+|YYYY|pacs|AET?\b|echo,.*commit|host|PORT", "", sentence)
    assert re.search("[ぁ-んァ-ヶ一-龠]", sentence), sentence
    assert not re.search("[A-Za-z]{3}", given), sentence


def test_a_person_reads_their_language(tmp_path: Path) -> None:
    assert "患者、検査、シリーズ" in said("ja_JP.UTF-8", "find", "-h")[0]
    assert "Find patients" in said("C.UTF-8", "find", "-h")[0]
    _, told, code = said("ja_JP.UTF-8", "-c", str(tmp_path / "none.yaml"), "find")
    assert ("引数" in told, code) == (True, 2)


def test_what_a_site_decided_is_shown_in_japanese(tmp_path: Path) -> None:
    def told(*words: str) -> str:
        return said("ja_JP.UTF-8", "-c", str(tmp_path / "a" / "pacs.yaml"), *words)[0]

    said("ja_JP.UTF-8", "init", "--data", str(tmp_path / "a"))
    told("ae", "add", "VIEWER1", "127.0.0.1", "104")
    told("route", "add", "night", "--to", "VIEWER1", "Modality=CT", "--priors", "2", "--priors-like", "Modality")
    told("tier", "rule", "add", "old", "--from", "hot", "--to", "cold", "--older-than", "3")
    for words in (("retention", "show"), ("route", "show", "night"), ("tier", "plan")):
        names = [line.split()[0] for line in told(*words).partition("\n\n")[0].splitlines()]
        assert len(names) > 2
        assert all(re.search("[ぁ-んァ-ヶ一-龠]", name) for name in names), names
    assert "まだ分かりません" in told("tier", "plan")


def test_how_a_partner_is_is_shown_in_japanese() -> None:
    tree = ast.parse((SOURCE / "service" / "present.py").read_text(encoding="utf-8"))
    told = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name in ("_facts", "_standing")]
    names = {key.value for one in told for node in ast.walk(one) if isinstance(node, ast.Dict)
             for key in node.keys if isinstance(key, ast.Constant)}  # fmt: skip
    assert len(names) > 20
    assert names - LABELS.keys() == set()


@pytest.mark.parametrize(
    "english",
    [
        "Foo is no keyword of the DICOM dictionary; did you mean Fob?",
        "rule x needs one place to move to: --to TIER or --to-archive AET",
        "PatientName is not an attribute of series that the index holds, like Modality",
        "kept: 2 objects: it stays in the trash until 2026-12-30",
        "VIEWER1: want 2, need 1, degraded 1",
        "3 objects are missing here, 4 there, 5 are on their way",
        "cannot listen on 127.0.0.1:104: Address already in use; choose another host or port, or stop what uses it",
    ],
)
def test_what_was_said_is_said_whole_in_japanese(english: str) -> None:
    left = re.sub(
        r"--[a-z-]+|TIER|AET|Foo|Fob|PatientName|Modality|DICOM|VIEWER1|want|need|degraded", "", in_japanese(english)
    )
    assert not re.search("[a-z]{3}", left), left
