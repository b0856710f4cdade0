"""Prefect's pages ask no outside host, and a run whose input is missing is refused as its form is sent."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from infra import prefect_login
from infra.prefect_page import closed, missing

START = "/api/deployments/0b5ba7c5-4fd3-4b0b-9a0e-9f4f7b1a2c3d/create_flow_run"


def asked(path: str, body: bytes = b"", login: str = "", method: str = "POST", **how: bool) -> tuple[int, bytes]:
    """What a client hears; the application behind answers 200 with the body that it was given."""
    said: list[dict[str, Any]] = []
    parts = iter([{"body": body[:10], "more_body": True}, {"body": body[10:], "more_body": False}])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", **next(parts)}

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        first, second = await receive(), await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": first["body"] + second["body"]})

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"authorization", b"Basic " + b64encode(login.encode()))] if login else []
    scope = {"type": "http", "path": path, "method": method, "headers": headers}
    asyncio.run(closed(app, **how)(scope, receive, send))
    return said[0]["status"], said[1]["body"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/api/docs", "/api/redoc", "/docs/oauth2-redirect", "/v2", "/v2/runs"])
def test_pages_that_ask_outside_hosts_are_not_found(path: str) -> None:
    assert asked(path, method="GET")[0] == 404


@pytest.mark.parametrize("path", ["/", "/runs", "/api/v2/concurrency_limits/filter", "/api/health", "/documents"])
def test_others_are(path: str) -> None:
    assert asked(path, b"as it was sent") == (200, b"as it was sent")


def form(**settings: Any) -> bytes:
    return json.dumps({"parameters": {"settings": settings}}).encode()


@pytest.mark.parametrize("name", ["input", "cohort", "reference", "labels", "new"])
def test_what_is_to_be_read_must_be_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "isovox:word")
    wrong, right = form(**{name: "/none/here", "out": "/none/yet"}), form(**{name: str(tmp_path), "out": "/none/yet"})
    status, said = asked(START, wrong, "isovox:word")
    assert status == 409
    assert f"input-missing: expected the {name} of the run, but got nothing at /none/here. Check the path" in said.decode()
    assert asked(START, right, "isovox:word") == (200, right)
    assert asked(START, wrong, "isovox:guess") == (
        200,
        wrong,
    )  # for the server to turn away: what is there is no stranger's affair


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"parameters": null}', form(), form(input=3), form(input="s3://bucket/study")]
)
def test_what_cannot_be_known_is_left_to_the_server(body: bytes) -> None:
    assert missing(body) == ""


def test_what_runs_on_other_machines_read_is_not_looked_for() -> None:
    body = form(input="/none/here")
    assert asked(START, body)[0] == 409
    assert asked(START, body, here=False) == (200, body)
    assert asked("/docs", method="GET", here=False)[0] == 404


def served(path: str, kind: bytes, body: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Headers and body that a browser hears of an application's answer in two parts."""
    said: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"etag", b"old")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": body[5:]})

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "path": path, "method": "GET", "headers": []}
    asyncio.run(closed(app)(scope, None, send))  # type: ignore[arg-type]
    return dict(said[0]["headers"]), b"".join(message["body"] for message in said[1:])


def test_a_browser_without_the_password_is_led_to_a_page_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    page = b"<html><head><title>Prefect</title></head></html>"
    assert served("/", b"text/html", page)[1] == page  # where no password is asked for
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "isovox:word")
    headers, sent = served("/runs", b"text/html; charset=utf-8", page)
    assert b"<head>" + prefect_login.ASKING.encode() + b"<title>" in sent
    assert int(headers[b"content-length"]) == len(sent)
    assert b"etag" not in headers
    assert served("/api/flows", b"application/json", b'{"a": "<head>"}') == (
        {b"content-type": b"application/json", b"content-length": b"15", b"etag": b"old"},
        b'{"a": "<head>"}',
    )
    page_asked = {"headers": [(b"accept", b"text/html,*/*"), (b"accept-encoding", b"gzip")]}
    assert prefect_login.uncompressed(page_asked)["headers"] == page_asked["headers"][:1]
    script_asked = {"headers": [(b"accept", b"*/*"), (b"accept-encoding", b"gzip")]}
    assert prefect_login.uncompressed(script_asked) == script_asked
    assert b'type="password"' in served(prefect_login.PATH, b"text/html", page)[1]
