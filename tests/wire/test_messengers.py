"""The ways by which alarms are told, each against a real receiver: what arrives, and what is said when it does not."""

import json
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from support.hook import Hook
from support.mail import MailServer
from support.server import lives, wait_for

from pacs_server.cli.japanese.translation import in_japanese
from pacs_server.cluster.certificates import make
from pacs_server.errors import AlarmNotTold
from pacs_server.service.monitoring.alarm_book import Notice
from pacs_server.service.monitoring.messengers import ways_of
from pacs_server.settings import AlertSettings, MailSettings, TlsFiles, WebhookSettings

NOTICE = Notice(
    what="raised",
    kind="volume",
    about="病院1",
    text="volume 病院1 is offline",
    since="2026-01-02T00:00:00+00:00",
    at="2026-01-02T00:01:00+00:00",
    node="one:/data",
    aet="PACS",
)


def script(folder: Path, text: str) -> str:
    path = folder / "command"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def tell(**settings: object) -> None:
    (way,) = ways_of(AlertSettings(**settings)).values()  # type: ignore[arg-type]
    way(NOTICE)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer().running() as server:
        yield server


def mailing(port: int, **more: object) -> MailSettings:
    settings = {"host": "127.0.0.1", "port": port, "starttls": False, "sender": "pacs@a.example"}
    return MailSettings(**(settings | {"recipients": ("it@a.example", "radiology@a.example")} | more))  # type: ignore[arg-type]


def test_no_way_is_given_where_the_settings_name_none() -> None:
    assert ways_of(AlertSettings()) == {}


def test_a_command_has_the_alarm_on_standard_input_and_in_its_environment(tmp_path: Path) -> None:
    got = tmp_path / "got"
    program = script(tmp_path, f'cat > {got}; echo "$1 $PACS_ALARM_WHAT $PACS_ALARM_ABOUT" >> {got}')
    tell(command=(program, "--urgent"))
    said, words = got.read_text(encoding="utf-8").split("}", 1)
    assert json.loads(said + "}")["text"] == "volume 病院1 is offline"
    assert words.strip() == "--urgent raised 病院1"


def test_a_command_that_fails_or_is_not_there_says_why(tmp_path: Path) -> None:
    with pytest.raises(AlarmNotTold, match="ended with 3: no pager here"):
        tell(command=(script(tmp_path, "echo sending; echo no pager here >&2; exit 3"),))
    with pytest.raises(AlarmNotTold, match="ended with 3: the gateway is down"):
        tell(command=(script(tmp_path, "echo the gateway is down; exit 3"),))
    with pytest.raises(AlarmNotTold, match="ended with 3 and said nothing: try it by hand") as silent:
        tell(command=(script(tmp_path, "exit 3"),))
    assert in_japanese(str(silent.value)) != str(silent.value)
    with pytest.raises(AlarmNotTold, match="cannot be run"):
        tell(command=(str(tmp_path / "nothing"),))


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    program = script(tmp_path, f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(AlarmNotTold, match="did not end within"):
        tell(command=(program,), timeout_s=8.0)
    child = int((tmp_path / "pid").read_text(encoding="ascii"))
    wait_for(lambda: not lives(child), "what it started to end")


def test_a_command_that_reads_nothing_is_no_failure(tmp_path: Path) -> None:
    tell(command=(script(tmp_path, "exec 0<&-; exit 0"),))


def test_a_mail_names_the_alarm_in_its_subject_and_goes_to_all(mail: MailServer) -> None:
    tell(mail=mailing(mail.port))
    (got,) = mail.mails
    assert got["From"] == "pacs@a.example"
    assert got["To"] == "it@a.example, radiology@a.example"
    text = got.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().startswith("volume 病院1 is offline")
    assert parsedate_to_datetime(got["Date"]).tzinfo is not None
    assert re.fullmatch(r"<[^<>@]+@a\.example>", got["Message-ID"])


def test_a_mail_that_one_of_its_recipients_does_not_get_is_told_and_not_sent_again(
    mail: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    mail.refuses = b"radiology"
    tell(mail=mailing(mail.port))
    assert len(mail.mails) == 1
    assert [line for line in caplog.messages if "recipient=radiology@a.example" in line and "nobody" in line]


def test_a_password_that_mail_servers_cannot_be_told_is_named(mail: MailServer, tmp_path: Path) -> None:
    mail.offers = b"250-mail\r\n250 AUTH PLAIN\r\n"
    password = tmp_path / "password"
    password.write_text("秘密\n", encoding="utf-8")
    password.chmod(0o600)
    with pytest.raises(AlarmNotTold, match="ASCII letters alone"):
        tell(mail=mailing(mail.port, user="pacs", password_file=password))


def test_a_mail_server_that_refuses_or_does_not_encrypt_or_is_away_says_so(mail: MailServer, tmp_path: Path) -> None:
    with pytest.raises(AlarmNotTold, match="STARTTLS"):
        tell(mail=mailing(mail.port, starttls=True))
    password = tmp_path / "password"
    password.write_text("secret\n", encoding="utf-8")
    password.chmod(0o600)
    with pytest.raises(AlarmNotTold, match="AUTH"):
        tell(mail=mailing(mail.port, user="pacs", password_file=password))
    mail.refuses = b"@"
    with pytest.raises(AlarmNotTold, match="nobody"):
        tell(mail=mailing(mail.port))
    with pytest.raises(AlarmNotTold, match="does not take the mail"):
        tell(mail=mailing(1))
    assert mail.mails == []


def test_a_receiver_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(AlarmNotTold, match="timed out"):
            tell(mail=mailing(port), timeout_s=0.3)
        with pytest.raises(
            AlarmNotTold, match=rf"127\.0\.0\.1:{port} does not answer: timed out: check alert\.webhook"
        ):
            tell(webhook=WebhookSettings(url=f"http://127.0.0.1:{port}/"), timeout_s=0.3)


def test_a_webhook_gets_json_and_its_secret_path_is_not_told() -> None:
    with Hook().running() as hook:
        tell(webhook=WebhookSettings(url=hook.url))
        assert [one["about"] for one in hook.posted] == ["病院1"]
        hook.status = 500
        with pytest.raises(
            AlarmNotTold, match=rf"localhost:{hook.server.server_port} answers 500 .*alert\.webhook\.url"
        ) as told:
            tell(webhook=WebhookSettings(url=hook.url))
        assert "secret" not in str(told.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_webhook_that_refuses_the_connection_is_named_with_its_port_and_what_to_change(scheme: str) -> None:
    with pytest.raises(AlarmNotTold) as told:
        tell(webhook=WebhookSettings(url=f"{scheme}://127.0.0.1:1/hooks/secret"))
    wanted = "refused the connection: start what shall listen there, or correct alert.webhook.url"
    assert str(told.value) == f"127.0.0.1:1 {wanted}"
    with pytest.raises(AlarmNotTold, match=r"localhost does not answer: Port .*: check alert\.webhook\.url"):
        tell(webhook=WebhookSettings(url=f"{scheme}://localhost:99999/hooks/secret"))


def test_a_webhook_that_sends_elsewhere_is_not_followed() -> None:
    with Hook().running() as elsewhere, Hook().running() as hook:
        hook.status, hook.location = 307, elsewhere.url
        with pytest.raises(AlarmNotTold, match="answers 307"):
            tell(webhook=WebhookSettings(url=hook.url))
        assert elsewhere.posted == []


def test_a_webhook_over_https_has_to_show_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    files = TlsFiles.within(tmp_path / "tls")
    make(files, ("localhost",), days=30, now=datetime.now(UTC))
    with Hook(files).running() as hook:
        tell(webhook=WebhookSettings(url=hook.url, ca_file=files.ca))
        with pytest.raises(AlarmNotTold, match=r"CERTIFICATE_VERIFY_FAILED.*alert\.webhook\.ca_file"):
            tell(webhook=WebhookSettings(url=hook.url))
        assert len(hook.posted) == 1


def test_the_environment_of_the_server_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER_TOKEN", "x")
    tell(command=(script(tmp_path, f'cat >/dev/null; echo "$PAGER_TOKEN" > {tmp_path}/got'),))
    assert (tmp_path / "got").read_text(encoding="ascii") == "x\n"
    assert "PACS_ALARM_WHAT" not in os.environ
