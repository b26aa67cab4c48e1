"""A small HTTP server that answers what Patroni's members answered, or what a test has them answer."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = tuple[int, object]


class Rest:
    """One member's REST API. `answers`: by method and path, a code and a text or what becomes JSON."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Any]] = []
        self.logins: set[str] = set()
        self.stays_silent = threading.Event()
        self.drips = threading.Event()
        self._over = threading.Event()
        rest = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(f"GET {self.path}")

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                rest.asked.append((self.path, body))
                rest.logins.add(self.headers.get("Authorization", ""))
                self._answer(f"POST {self.path}")

            def _answer(self, question: str) -> None:
                if rest.stays_silent.is_set():
                    rest._over.wait(60)
                    return
                if rest.drips.is_set():
                    self._drip(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nX-Padding: " + b"x" * 300 + b"\r\n\r\n{}")
                    return
                code, told = rest.answers.get(question, (404, "not found"))
                content = (told if isinstance(told, str) else json.dumps(told)).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _drip(self, answer: bytes) -> None:
                """A whole answer, slowly, as long as somebody reads it."""
                with suppress(OSError):
                    for byte in answer:
                        self.wfile.write(bytes([byte]))
                        if rest._over.wait(0.05):
                            return

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @classmethod
    @contextmanager
    def new(cls) -> Iterator[Self]:
        rest = cls()
        thread = threading.Thread(target=rest._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield rest
        finally:
            rest._over.set()
            rest.close()
            thread.join(10)

    def close(self) -> None:
        """Take no connection any more."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def tells(self, answers: Mapping[str, object]) -> None:
        """Answer these paths with 200."""
        self.answers |= {f"GET {path}": (200, told) for path, told in answers.items()}
