"""The ways by which alarms are told: a command, a mail, a webhook. Each has a deadline, and says why it could not."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import make_msgid
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import IO, Final
from urllib.parse import urlsplit, urlunsplit

from pacs_server import log
from pacs_server.errors import AlarmNotTold
from pacs_server.service.monitoring.alarm_book import Notice
from pacs_server.settings import AlertSettings, MailSettings, WebhookSettings, secret_in

_SHOWN: Final = 300


def ways_of(alert: AlertSettings) -> dict[str, Callable[[Notice], None]]:
    """The ways that the settings give, by name. Each tells a notice, or raises AlarmNotTold with the reason."""
    ways: dict[str, Callable[[Notice], None]] = {}
    if alert.command:
        ways["command"] = partial(_run, alert.command, alert.timeout_s)
    if alert.mail.host:
        ways["mail"] = partial(_mail, alert.mail, alert.timeout_s)
    if alert.webhook.url:
        ways["webhook"] = partial(_post, alert.webhook, alert.timeout_s)
    return ways


def _run(command: tuple[str, ...], timeout_s: float, notice: Notice) -> None:
    """The notice is on standard input as JSON and in the environment; who runs too long is killed with its children."""
    facts = {f"PACS_ALARM_{name.upper()}": value for name, value in asdict(notice).items()}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=said,
                env=os.environ | facts,
                start_new_session=True,
            )
        except OSError as error:
            raise AlarmNotTold(f"{command[0]} cannot be run: {error}") from error
        try:
            process.communicate(json.dumps(asdict(notice)).encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AlarmNotTold(f"{command[0]} did not end within {timeout_s:g} s") from error
        if process.returncode:
            why = _begin_of(said) or _begin_of(printed)
            told = f": {why}" if why else " and said nothing: try it by hand, as the user of the server"
            raise AlarmNotTold(f"{command[0]} ended with {process.returncode}{told}")


def _begin_of(file: IO[bytes]) -> str:
    file.seek(0)
    return " ".join(file.read(_SHOWN).decode(errors="replace").split())


def _mail(settings: MailSettings, timeout_s: float, notice: Notice) -> None:
    """Servers refuse a mail without Message-ID. Source: RFC 5322 section 3.6 (Date), RFC 4954 (login)."""
    message = EmailMessage()
    message["Subject"] = f"[{notice.aet}] {notice.what}: {notice.kind} {notice.about}"
    message["From"], message["To"] = settings.sender, ", ".join(settings.recipients)
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2])
    lines = [notice.text, "", *(f"{name}: {value}" for name, value in asdict(notice).items() if name != "text")]
    message.set_content("\n".join(lines))
    try:
        with smtplib.SMTP(settings.host, settings.port, timeout=timeout_s) as server:
            if settings.starttls:
                server.starttls(context=ssl.create_default_context(cafile=settings.ca_file))
            if settings.password_file is not None:
                server.login(settings.user, secret_in(settings.password_file))
            refused = server.send_message(message)
    except UnicodeError as error:
        raise AlarmNotTold(
            f"{settings.host}:{settings.port} takes a user and a password of ASCII letters alone: choose such ones"
        ) from error
    except (OSError, ValueError, smtplib.SMTPException) as error:
        raise AlarmNotTold(f"{settings.host}:{settings.port} does not take the mail: {error}") from error
    for recipient, why in refused.items():  # the others have it, and would get it again
        log.warning("alarm not told", recipient=recipient, why=why)


def _post(settings: WebhookSettings, timeout_s: float, notice: Notice) -> None:
    """Where an alarm goes is said in the settings: nobody who answers can send it elsewhere."""
    parts = urlsplit(settings.url)
    host = named = str(parts.hostname)
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        named = f"{host}:{port}"
        if parts.scheme == "https":
            tls = ssl.create_default_context(cafile=settings.ca_file)
            connection: HTTPConnection = HTTPSConnection(host, port, timeout=timeout_s, context=tls)
        else:
            connection = HTTPConnection(host, port, timeout=timeout_s)
        with closing(connection):
            connection.request("POST", path, json.dumps(asdict(notice)), {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                status, reason = response.status, response.reason
    except (OSError, HTTPException, ValueError) as error:
        raise AlarmNotTold(_unanswered(named, error)) from error
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise AlarmNotTold(
            f"{named} answers {status} {reason[:_SHOWN]}: look into its log, or correct alert.webhook.url"
        )


def _unanswered(named: str, error: Exception) -> str:
    """Why a webhook did not take an alarm, and what to change."""
    if isinstance(error, ConnectionRefusedError):
        return f"{named} refused the connection: start what shall listen there, or correct alert.webhook.url"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{named} has a certificate that is not trusted: {error}: name its authority as alert.webhook.ca_file"
    return f"{named} does not answer: {error}: check alert.webhook.url, that it is running, and the firewalls between"
