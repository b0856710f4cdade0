"""Before Prefect's pages are shown, a browser asks for their password, on a page of ours."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from infra.prefect_page import closed

LOGIN = "isovox:a-word"
PREFECT = b'<html><head></head><body><p id="shown">Prefect</p></body></html>'


async def prefect(scope: Any, _receive: Any, send: Any) -> None:
    """Pages for all, an API for those who know the password."""
    api = scope["path"].startswith("/api/")
    known = dict(scope["headers"]).get(b"authorization") == b"Basic " + base64.b64encode(LOGIN.encode())
    kind = b"application/json" if api else b"text/html"
    start = {"type": "http.response.start", "status": 401 if api and not known else 200, "headers": [(b"content-type", kind)]}
    await send(start)
    await send({"type": "http.response.body", "body": b"{}" if api else PREFECT})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", LOGIN)
    server = uvicorn.Server(uvicorn.Config(closed(prefect), port=0, log_level="error", lifespan="off"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_password_is_asked_for_once_and_kept_where_prefect_looks(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/runs/flow-run/7?tab=logs")
    field = page.get_by_label("Prefect's user and password")
    field.fill("isovox:another")
    page.get_by_role("button", name="Open").click()
    page.get_by_text("This is not the password.").wait_for()
    field.fill(LOGIN)
    page.get_by_role("button", name="Open").click()
    page.locator("#shown").wait_for()
    assert page.url == f"{address}/runs/flow-run/7?tab=logs"
    assert page.evaluate("atob(localStorage.getItem('prefect-password'))") == LOGIN
    page.goto(f"{address}/log-in?to=//elsewhere.example/")
    page.get_by_label("Prefect's user and password").fill(LOGIN)
    page.get_by_role("button", name="Open").click()
    page.wait_for_url(f"{address}/")
    context.close()


def test_a_password_of_before_is_asked_for_anew(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/log-in")
    page.evaluate("localStorage.setItem('prefect-password', btoa('isovox:one-of-before'))")
    page.goto(f"{address}/runs?tab=logs")
    page.get_by_label("Prefect's user and password").fill(LOGIN)
    page.get_by_role("button", name="Open").click()
    page.locator("#shown").wait_for()
    assert page.url == f"{address}/runs?tab=logs"
    assert page.evaluate("atob(localStorage.getItem('prefect-password'))") == LOGIN
    context.close()
