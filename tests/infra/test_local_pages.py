"""The server of local pages: on loopback, for its own pages alone."""

from __future__ import annotations

import http.client
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
