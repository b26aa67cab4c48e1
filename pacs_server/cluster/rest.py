"""A REST API of somebody else, asked with a deadline for each question and a cap on each answer."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pacs_server.errors import ConfigError, PatroniUnavailable, Refused
from pacs_server.settings import PatroniSettings, secret_in

_MOST_BYTES: Final = 1 << 20
_PORTION: Final = 1 << 16
_SHOWN: Final = 300


class _Until(io.RawIOBase):
    """What comes through a socket, whose time-out is for each byte, until a moment of the monotonic clock."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self._sock = sock
        self._ends_at = ends_at

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Raises: TimeoutError when the moment is over; OSError."""
        if (left_s := self._ends_at - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left_s)
        return self._sock.recv_into(buffer)


class Api:
    """Patroni's, of one member. Each question has a connection of its own; may be used from any thread."""

    def __init__(self, url: str, settings: PatroniSettings) -> None:
        """Raises: ConfigError when a file that the settings name cannot be used."""
        self.url = url
        self._timeout_s = settings.timeout_s
        try:
            self._tls = ssl.create_default_context(cafile=settings.ca_file) if url.startswith("https:") else None
            password = secret_in(settings.password_file) if settings.password_file else None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"patroni: {settings.ca_file or settings.password_file} cannot be used: {error}"
            ) from error
        self._headers = {"Content-Type": "application/json"}
        if password is not None:
            login = base64.b64encode(f"{settings.user}:{password}".encode()).decode("ascii")
            self._headers["Authorization"] = f"Basic {login}"

    def get(self, path: str) -> dict[str, Any]:
        """A JSON object. Patroni tells it with 503, too: of a member that does not run.

        Raises: PatroniUnavailable.
        """
        code, text = self._ask("GET", path, None, self._timeout_s)
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise PatroniUnavailable(f"{self.url}{path} answers {code} and no JSON object; is it Patroni's REST API?")
        return told

    def post(self, path: str, wanted: Mapping[str, object], *, more_s: float = 0.0) -> str:
        """Ask for a change, for which there are `more_s` than for other answers; what Patroni says when it is made.

        Raises: Refused with what Patroni says else; PatroniUnavailable when it is not known whether it was made.
        """
        try:
            code, text = self._ask("POST", path, json.dumps(wanted), self._timeout_s + more_s)
        except PatroniUnavailable as error:
            raise PatroniUnavailable(f"{error}; whether it was done is not known: look again at what leads") from error
        said = " ".join(text.split())[:_SHOWN]
        if code == http.HTTPStatus.UNAUTHORIZED:
            raise Refused(f"{self.url} wants a user name and password: patroni.user and patroni.password_file")
        if code != http.HTTPStatus.OK:
            raise Refused(f"Patroni refuses, with {code}: {said}")
        return said

    def _ask(self, method: str, path: str, body: str | None, timeout_s: float) -> tuple[int, str]:
        parts = urlsplit(self.url)
        ends_at = time.monotonic() + timeout_s
        if self._tls is None:
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(
                str(parts.hostname), parts.port or 443, timeout=timeout_s, context=self._tls
            )
        try:
            connection.request(method, path, body, self._headers)
            response = http.client.HTTPResponse(connection.sock, method=method)
            response.fp = io.BufferedReader(_Until(connection.sock, ends_at))
            response.begin()
            text = b""
            while portion := response.read1(_PORTION):
                text += portion
                if len(text) > _MOST_BYTES:
                    raise PatroniUnavailable(f"{self.url}{path} does not come to an end of its answer")
            return response.status, text.decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise PatroniUnavailable(f"{self.url}{path} does not answer: {reason}") from error
        finally:
            connection.close()
