"""The server of local pages: on loopback, for its own pages alone."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from core.errors import UsageError
from infra.local_pages import LONGEST, LocalPages, Request, Response


@pytest.fixture
def pages() -> Iterator[LocalPages]:
    def answer(request: Request) -> Response:
        return Response(200, f"{request.method} {request.path} {request.query} {request.body.decode()}".encode())

    made = LocalPages(answer, 0)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    yield made
    made._server.shutdown()
    thread.join(5)


def asked(pages: LocalPages, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", int(pages.url.rstrip("/").rpartition(":")[2]), timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    content = reply.read().decode()
    assert reply.headers["Cache-Control"] == "no-store"
    connection.close()
    return reply.status, content


def test_requests_are_handed_on(pages: LocalPages) -> None:
    assert asked(pages, "GET", "/a?b=c&b=d") == (200, "GET /a {'b': 'd'} ")
    assert asked(pages, "POST", "/a", "[1]", Content_Type="application/json") == (200, "POST /a {} [1]")


def test_what_another_site_could_send_is_refused(pages: LocalPages) -> None:
    assert asked(pages, "GET", "/", Host="elsewhere.example")[0] == 421
    assert asked(pages, "POST", "/", "[1]", Content_Type="text/plain")[0] == 415
    assert asked(pages, "POST", "/", "x" * (LONGEST + 1), Content_Type="application/json")[0] == 415


def test_a_port_that_is_taken_is_told(pages: LocalPages) -> None:
    port = int(pages.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(UsageError, match=rf"port-taken: expected port {port} of this machine.*Name another --port"):
        LocalPages(lambda _: Response(200, b""), port)


def test_a_browser_that_leaves_and_a_fault_of_ours_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A reset in the middle of an answer of 64 MiB is nobody's fault; an error of what answers is told."""
    answered: list[str] = []

    def answer(request: Request) -> Response:
        answered.append(request.path)
        if request.path == "/fault":
            raise ArithmeticError("a fault of ours")
        return Response(200, b"x" * (1 << 26))

    made = LocalPages(answer, 0)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    made._server.daemon_threads = False  # their ends are waited for
    for path in ("/leaves", "/fault"):
        with socket.create_connection(("127.0.0.1", int(made.url.rstrip("/").rpartition(":")[2]))) as browser:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            browser.sendall(f"GET {path} HTTP/1.1\r\nHost: {made.url.split('/')[2]}\r\n\r\n".encode())
            browser.recv(1)
    made._server.shutdown()
    thread.join(10)
    made._server.server_close()
    told = capsys.readouterr().err
    assert answered == ["/leaves", "/fault"]
    assert "a fault of ours" in told
    assert "ConnectionResetError" not in told
    assert "BrokenPipeError" not in told
