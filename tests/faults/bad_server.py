"""An HTTP proxy before an S3 server that lets one request in twenty fail, each time in another way."""

from __future__ import annotations

import http.client
import itertools
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVERY = 20
DROP, BUSY, ERROR, CUT, LOST = WAYS = ("drop", "busy", "error", "cut", "lost")
HOP = {"connection", "keep-alive", "transfer-encoding"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BadServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _fail(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=120)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP | {"expect"}:
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        content = b"" if self.command == "HEAD" else answer.read()
        upstream.close()
        return answer, content

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = self.server.fate(self.command)
        if how == DROP:
            self._hang_up()
            return
        if how in {BUSY, ERROR}:
            self._fail(503 if how == BUSY else 500)
            return
        answer, content = self._ask(body)
        if how == LOST:  # done, but nobody is told
            self._hang_up()
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP | {"content-length"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        if length is not None and answer.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if how == CUT:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self._hang_up()
            return
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815 - as BaseHTTPRequestHandler calls them


class BadServer(ThreadingHTTPServer):
    """The proxy.

    Attributes:
        to: port of the real server.
        harm: how often requests failed, by way.
        requests: how many there were.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, to: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to, self.harm, self.requests = to, Counter[str](), 0
        self._numbers, self._ways, self._lock = itertools.count(1), itertools.cycle(WAYS), threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fate(self, command: str) -> str | None:
        """What becomes of the next request."""
        with self._lock:
            self.requests = next(self._numbers)
            if self.requests % EVERY:
                return None
            way = next(self._ways)
            way = DROP if way == CUT and command != "GET" else way
            self.harm[way] += 1
            return way

    def handle_error(self, *_: object) -> None:
        """A client that hung up is no news."""

    def close(self) -> None:
        """Listen no more."""
        self.shutdown()
        self.server_close()
