"""A small HTTP server for a few pages that are only read: every request is bounded in bytes and in time before it is
looked at, none may have a body, and each connection has one.

The request is then read by the standard library, whose server would wait for ever for a slow one. Source: RFC 9112.
"""

from __future__ import annotations

import errno
import http.server
import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pacs_server import log
from pacs_server.errors import PacsError

_HEAD_BYTES: Final = 8_192
_HEAD_S: Final = 5.0
_SEND_S: Final = 5.0
_PIECE: Final = 4_096
# Prometheus, a load balancer and a person; more at once are a flood.
_MOST: Final = 16
_ENDS_WITHIN_S: Final = 0.5
_SHORTAGE_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is answered to a GET."""

    status: HTTPStatus
    content_type: str
    text: str


Pages = Mapping[str, Callable[[], Page]]


class Server:
    """Serves pages by their paths. A page is made in the thread of its request, so it must not wait for anything."""

    def __init__(self, listening: socket.socket, pages: Pages) -> None:
        self._socket = listening
        self._pages = pages
        self._places = threading.Semaphore(_MOST)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}  # the oldest first

    def start(self) -> None:
        """Begin to accept, in a thread that ends with the process."""
        threading.Thread(target=self._accept_all, name="http", daemon=True).start()

    def _accept_all(self) -> None:
        while True:
            try:
                accepted, peer = self._socket.accept()
            except OSError as error:
                if error.errno in (errno.EBADF, errno.EINVAL):  # it was closed, or the supervisor has shut it down
                    return
                log.warning("cannot accept HTTP connections", why=error.strerror)
                time.sleep(_SHORTAGE_PAUSE_S)
                continue
            if not self._places.acquire(blocking=False) and not self._make_room():
                accepted.close()
                continue
            with self._lock:
                self._open[accepted] = None
            try:
                threading.Thread(target=self._serve, args=(accepted, peer), name="http", daemon=True).start()
            except RuntimeError as error:
                log.warning("cannot serve HTTP", why=error)
                self._closed(accepted)

    def _make_room(self) -> bool:
        """End the oldest connection, mostly of one who says nothing; whether that gave its place back."""
        with self._lock:
            oldest = next(iter(self._open), None)
            if oldest is not None:
                del self._open[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        return self._places.acquire(timeout=_ENDS_WITHIN_S)

    def _closed(self, connection: socket.socket) -> None:
        connection.close()
        with self._lock:
            self._open.pop(connection, None)
        self._places.release()

    def _serve(self, connection: socket.socket, peer: Any) -> None:
        try:
            with suppress(OSError):
                head, problem = _read_head(connection)
                answer = _Request(head, problem, self._pages, peer).answer
                connection.settimeout(_SEND_S)
                connection.sendall(answer)
                _take_leave(connection)
        finally:
            self._closed(connection)


def _read_head(connection: socket.socket) -> tuple[bytes, HTTPStatus | None]:
    """The request up to the empty line, within 5 s and 8 KiB; what is wrong with it."""
    ends_at = time.monotonic() + _HEAD_S
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left = ends_at - time.monotonic()
        if left <= 0:
            return head, HTTPStatus.REQUEST_TIMEOUT
        connection.settimeout(left)
        try:
            piece = connection.recv(_PIECE)
        except TimeoutError:
            return head, HTTPStatus.REQUEST_TIMEOUT
        if not piece:
            return head, HTTPStatus.BAD_REQUEST
        head += piece
        if len(head) > _HEAD_BYTES:
            return head, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return head, None


def _take_leave(connection: socket.socket) -> None:
    """Let the other side read the answer before a body that nobody reads resets the connection. Source: RFC 9112
    section 9.6.
    """
    connection.shutdown(socket.SHUT_WR)
    ends_at = time.monotonic() + 1.0
    while (left := ends_at - time.monotonic()) > 0:
        connection.settimeout(left)
        if not connection.recv(_PIECE):
            return


class _Request(http.server.BaseHTTPRequestHandler):
    """One request, which is here already, and its answer."""

    protocol_version = default_request_version = "HTTP/1.1"
    server_version = "pacs"
    sys_version = ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"

    def __init__(self, head: bytes, problem: HTTPStatus | None, pages: Pages, peer: Any) -> None:
        # Not that of the library, which reads from a socket.
        self.client_address = peer
        self.rfile, self.wfile = io.BufferedReader(io.BytesIO(head)), io.BytesIO()
        self.close_connection = True
        self.request_version, self.command, self.requestline = "HTTP/1.1", "", ""
        self._pages = pages
        if problem is not None:
            self.send_error(problem)
            return
        self.raw_requestline = self.rfile.readline(_HEAD_BYTES)
        if self.parse_request():
            self._do()
        elif not self.answer:
            self.send_error(HTTPStatus.BAD_REQUEST)

    @property
    def answer(self) -> bytes:
        """All that is sent."""
        return self.wfile.getvalue()  # type: ignore[attr-defined,no-any-return]

    def _do(self) -> None:
        if (problem := self._problem_of_body()) is not None:
            self.send_error(problem)
        elif self.command not in ("GET", "HEAD"):
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
        elif (make := self._pages.get(self._page())) is None:
            self.send_error(HTTPStatus.NOT_FOUND, f"There are {', '.join(self._pages)}")
        else:
            try:
                self._send(make())
            except PacsError as error:
                log.error("page not made", path=self.path, why=error)
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)

    def _page(self) -> str:
        """The path that is asked for, also where it is named with this host. Source: RFC 9112 section 3.2.2."""
        scheme, _, rest = self.path.partition("://")
        path = f"/{rest.partition('/')[2]}" if scheme.lower() == "http" else self.path
        return path.partition("?")[0]

    def _problem_of_body(self) -> HTTPStatus | None:
        """No request here has a body; one whose length is said twice, or in two ways, is not to be trusted at all.
        Source: RFC 9112 section 6.3.
        """
        lengths = self.headers.get_all("Content-Length", [])
        codings = self.headers.get_all("Transfer-Encoding", [])
        if len(lengths) + len(codings) > 1 or not all(one.isascii() and one.isdigit() for one in lengths):
            return HTTPStatus.BAD_REQUEST
        if codings or any(one.strip("0") for one in lengths):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None

    def _send(self, page: Page) -> None:
        body = page.text.encode()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin an answer; a refused method says which there are."""
        super().send_response(code, message)
        if code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")

    def log_message(self, format: str, *args: Any) -> None:
        """Monitoring asks every few seconds: its questions are no deeds."""
        log.debug("http", address=self.client_address[0], told=format % args)
