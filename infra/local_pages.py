"""Pages for one user of this machine: a small HTTP server on loopback that answers to its own address alone.

A page elsewhere can neither read nor write here: other names for this machine are refused (rebinding of names), and what is
posted must say that it is JSON, which another site's page may not do without being allowed to.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from core.errors import UsageError

HOST = "127.0.0.1"
LONGEST = 1 << 14  # bytes of what is posted
PATIENCE = 60.0  # seconds, after which a silent connection is closed
JSON = "application/json"
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Request:
    """What a browser asks: GET or POST, a path, what stands behind its question mark, and what is posted."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """What it is answered: a status, content, and its media type."""

    status: int
    content: bytes
    kind: str = "text/plain; charset=utf-8"


Answering = Callable[[Request], Response]


class _Handler(BaseHTTPRequestHandler):
    """Hands requests on."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    answering: ClassVar[Answering]

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != JSON or not length.isdigit() or int(length) > LONGEST:
            self.close_connection = True
            self._send(Response(415, b"JSON is expected"))
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        _, port = self.connection.getsockname()
        if self.headers.get("Host") not in {f"{name}:{port}" for name in (HOST, "localhost")}:
            self._send(Response(421, b"another address is expected"))
            return
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self._send(type(self).answering(Request(self.command, url.path, query, body)))

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in ({"Content-Type": response.kind, "Content-Length": str(len(response.content))} | HEADERS).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Nothing: what is read is nobody's business."""


class _Server(ThreadingHTTPServer):
    """Says nothing of a browser that leaves before its answer is whole, as they do when a page is closed."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class LocalPages:
    """A server on loopback; bound when it is made.

    Args:
        answering: answers requests, in threads.
        port: where; 0 for any that is free.

    Raises:
        UsageError: port-taken.
    """

    def __init__(self, answering: Answering, port: int) -> None:
        handler = type("Handler", (_Handler,), {"answering": staticmethod(answering)})
        try:
            self._server = _Server((HOST, port), handler)
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            remedy = "name another --port, or 0 for any that is free"
            raise UsageError("port-taken", f"port {port} of this machine", f"{error.strerror}", remedy) from error

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def serve(self) -> None:
        """Answer until the process is told to stop."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._server.server_close()
