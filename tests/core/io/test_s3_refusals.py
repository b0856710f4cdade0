"""A server that refuses, takes nothing more or says that credentials have expired: what is said of it, and what stays there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.errors import AccessError
from core.io import claim, files

OUT = "s3://data/out"


class Handler(BaseHTTPRequestHandler):
    """S3 as far as one object is written, read, listed and removed."""

    protocol_version = "HTTP/1.1"  # which answers a client that asks before it sends

    server: Stub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: str = "") -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _ask(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        key = path.strip("/").partition("/")[2]
        if refused := self.server.refusals.get(self.command):
            status, code = refused
            self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")
        elif self.command == "PUT":
            self.server.written.append(key)
            self.server.there.add(key)
            self._answer(200)
        elif self.command in {"DELETE", "POST"}:
            self.server.there.clear()
            self._answer(200, "<DeleteResult/>" if self.command == "POST" else "")
        elif "list-type" in query:
            rows = "".join(f"<Contents><Key>{key}</Key><Size>3</Size></Contents>" for key in self.server.there)
            self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>")
        else:
            self._answer(200 if not key or key in self.server.there else 404)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _ask  # noqa: N815 - as BaseHTTPRequestHandler calls them


class Stub(ThreadingHTTPServer):
    """The server.

    Attributes:
        refusals: status and code of S3 by the requests' methods.
        there: keys of what it holds.
        written: keys of what was ever written.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refusals: dict[str, tuple[int, str]] = {}
        self.there: set[str] = set()
        self.written: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    server = Stub()
    variables = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "SESSION_TOKEN": "c", "DEFAULT_REGION": "us-east-1"}
    for name, value in (variables | {"ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("code", ["ExpiredToken", "TokenRefreshRequired", "InvalidToken"])
def test_credentials_that_have_expired_are_told_of_whatever_is_asked(stub: Stub, code: str) -> None:
    stub.refusals = dict.fromkeys(("HEAD", "GET", "PUT"), (400, code))  # of HEAD without a body: "Bad Request"
    said = r"^storage-forbidden: expected access to s3://data/out/a, but got .* credentials that have expired\. Sign in anew"
    for ask in (files.size, files.read_bytes, lambda uri: files.write_atomic(uri, b"1")):
        with pytest.raises(AccessError, match=said) as refused:
            ask(f"{OUT}/a")
        assert not files.is_passing(refused.value)


def test_other_faults_of_a_request_are_no_expired_credentials(stub: Stub) -> None:
    stub.refusals = {"GET": (400, "InvalidArgument")}
    with pytest.raises(OSError, match="InvalidArgument") as raised:
        files.read_bytes(f"{OUT}/a")
    assert not isinstance(raised.value, AccessError)


def test_a_bucket_that_may_be_written_to_keeps_nothing_of_the_question(stub: Stub) -> None:
    claim.check_writable(OUT)
    assert stub.written == ["out/isovox/probe.json"]
    assert not stub.there


def test_a_bucket_that_may_not_be_written_to_or_is_full_is_told(stub: Stub) -> None:
    stub.refusals = {"PUT": (403, "AccessDenied")}
    with pytest.raises(
        AccessError, match=r"storage-forbidden: expected access to s3://data/out/isovox/.*a refusal by the bucket"
    ):
        claim.check_writable(OUT)
    stub.refusals = {"PUT": (403, "QuotaExceeded")}
    with pytest.raises(OSError, match="QuotaExceeded"):
        claim.check_writable(OUT)
