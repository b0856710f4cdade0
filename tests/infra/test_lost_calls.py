"""Calls that go with a scheduler that comes back are sent again, at whatever moment it went; each item still comes back once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from infra import dispatch
from infra.dispatch import run_bounded
from infra.pools import Pool, Workers


class Forgetful(Pool):
    """Its first call is never done: as the pool is asked whether it lives, it connects anew, which cancels that call."""

    def __init__(self) -> None:
        self.sent: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: object, **_: object) -> Future[Any]:
        future: Future[Any] = Future()
        self.sent.append(future)
        if len(self.sent) > 1:
            future.set_result(fn(*args))
        return future

    def slots(self) -> int:
        return 1

    def fault(self) -> str | None:
        if self.sent[0].cancel():
            self.sent[0].set_running_or_notify_cancel()
        return None

    def lost(self, future: Future[Any]) -> bool:
        return future.cancelled()

    def cancel(self) -> None:
        """Nothing is left."""


def test_a_call_that_is_cancelled_while_the_pool_is_looked_at_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.05)
    pool = Forgetful()
    assert dict(run_bounded(pool, str, [1, 2], window=1, deadline=5)) == {1: "1", 2: "2"}
    assert len(pool.sent) == 3


class Client:
    """As Dask's: closed for good once it has lost its scheduler, without a word to those who send."""

    def __init__(self, status: str, error: Exception | None = None) -> None:
        self.status, self.error = status, error
        self.futures: set[str] = set()
        self.scheduler = SimpleNamespace(ncores=lambda: {"worker": 1})

    def get_executor(self, **_: object) -> Client:
        return self

    def submit(self, fn: Callable[..., Any], *args: object, key: str) -> Future[Any]:
        if self.error:
            raise self.error
        self.futures.add(key)
        future: Future[Any] = Future()
        future.set_result(fn(*args))
        return future

    def sync(self, function: Callable[[], Any], **_: object) -> Any:
        return function()

    def close(self, **_: object) -> None:
        self.status = "closed"


def test_a_call_that_finds_the_connection_closed_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.05)
    monkeypatch.setattr(Workers, "FRESH", 0.0)
    closed, fresh = Client("closed", RuntimeError("Client is closed")), Client("running")
    pool = Workers(closed, None, None, again=lambda: fresh)  # type: ignore[arg-type, return-value]
    assert dict(run_bounded(pool, str, [1, 2], window=2, deadline=5)) == {1: "1", 2: "2"}
    assert len(fresh.futures) == 2


def test_a_call_that_cannot_be_sent_though_the_scheduler_is_there_is_its_items_error() -> None:
    error = TypeError("no such call")
    pool = Workers(Client("running", error), None, None, again=lambda: Client("running"))  # type: ignore[arg-type, return-value]
    assert dict(run_bounded(pool, str, [1], window=1, deadline=5)) == {1: error}
    fixed = Workers(Client("closed", error), None, None)  # type: ignore[arg-type]
    assert dict(run_bounded(fixed, str, [1], window=1, deadline=5)) == {1: error}
