"""HTTP for monitoring: what is asked well is answered; whatever else is sent costs little and is refused by name."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus

import pytest
from support.server import wait_for

from pacs_server.errors import IndexUnavailable
from pacs_server.net.listener import listen
from pacs_server.web.server import Page, Server

GOOD = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


def page() -> Page:
    return Page(status=HTTPStatus.OK, content_type="application/json", text='{"名": 1}\n')


def broken() -> Page:
    raise IndexUnavailable("the database is away")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listen("127.0.0.1", 0) as listening:
        Server(listening, {"/page": page, "/broken": broken}).start()
        yield listening.getsockname()[1]


def ask(port: int, request: bytes) -> tuple[int, str]:
    """The code of the answer to bytes as they are, and all of it."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, suppress(ConnectionError):
        with suppress(ConnectionError):  # it may have been refused before it was all sent
            connection.sendall(request)
        while piece := connection.recv(65_536):
            answer += piece
    text = answer.decode()
    return int(text.split()[1]), text


def test_a_page_is_answered_and_the_connection_closed(port: int) -> None:
    code, text = ask(port, GOOD)
    head, _, body = text.partition("\r\n\r\n")
    assert code == 200
    assert json.loads(body) == {"名": 1}
    assert "Content-Length: 11" in head
    assert "Connection: close" in head
    assert "Python" not in head


def test_a_client_of_the_library_reads_it_and_head_has_no_body(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("HEAD", "/page?x=1")
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Length"), response.read()) == (200, "11", b"")
    connection.close()


@pytest.mark.parametrize(
    ("request_line", "headers", "code"),
    [
        ("POST /page HTTP/1.1", "", 405),
        ("DELETE /page HTTP/1.1", "", 405),
        ("BREW /page HTTP/1.1", "", 405),
        ("GET /other HTTP/1.1", "", 404),
        ("GET /../../etc/passwd HTTP/1.1", "", 404),
        ("GET /broken HTTP/1.1", "", 503),
        ("GET /page HTTP/9.9", "", 505),
        ("GET", "", 400),
        ("", "", 400),
        ("\x16\x03\x01\x02\x00", "", 400),
        ("GET /page HTTP/1.1", "Content-Length: 4294967296\r\n", 413),
        ("GET /page HTTP/1.1", "Content-Length: -1\r\n", 400),
        ("GET /page HTTP/1.1", "Content-Length: 1_0\r\n", 400),
        ("GET /page HTTP/1.1", "Content-Length: 0\r\nContent-Length: 5\r\n", 400),
        ("GET /page HTTP/1.1", "Content-Length: 0, 5\r\n", 400),
        ("GET /page HTTP/1.1", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
        ("GET /page HTTP/1.1", "Transfer-Encoding: chunked\r\n", 413),
        ("POST /page HTTP/1.1", "Content-Length: 5\r\nContent-Encoding: gzip\r\n", 413),
        ("GET /page HTTP/1.1", "Content-Length: 0\r\n", 200),
        ("GET http://x:1/page?y=/ HTTP/1.1", "Host: x:1\r\n", 200),
        ("GET HTTP://x/page HTTP/1.1", "", 200),
        ("GET http://x HTTP/1.1", "", 404),
        ("GET ftp://x/page HTTP/1.1", "", 404),
        ("GET /page HTTP/1.1", f"X: {'x' * 9_000}\r\n", 431),
        ("GET /page HTTP/1.1", "X: y\r\n" * 200, 431),
        (f"GET /{'x' * 9_000} HTTP/1.1", "", 431),
    ],
)
def test_whatever_else_is_asked_is_refused_by_name(port: int, request_line: str, headers: str, code: int) -> None:
    answered, text = ask(port, f"{request_line}\r\n{headers}\r\n".encode("latin-1"))
    assert answered == code, text
    assert len(text) < 1_000
    assert ("Allow: GET, HEAD" in text) == (code == 405)


def test_a_body_that_follows_is_not_read_and_the_answer_arrives(port: int) -> None:
    code, _ = ask(port, b"POST /page HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
    assert code == 413


def test_a_slow_head_is_given_up_after_seconds_whatever_drips(port: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=0.3) as connection:
        answer = b""
        while not answer and time.monotonic() - began < 30:
            connection.sendall(b"X")
            try:
                answer = connection.recv(65_536)
            except TimeoutError:
                continue
    assert b" 408 " in answer
    assert time.monotonic() - began >= 4


def test_a_crowd_of_silent_connections_costs_a_few_threads_and_keeps_nobody_out(port: int) -> None:
    before = threading.active_count()
    crowd = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(100)]
    assert threading.active_count() <= before + 17
    assert [ask(port, GOOD)[0] for _ in range(5)] == [200] * 5
    for one in crowd:
        one.close()
    wait_for(lambda: threading.active_count() <= before, "the threads to end", timeout_s=60)
