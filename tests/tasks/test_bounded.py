"""A list of work: its outcomes come in its order, faults are outcomes, and a worker reads the list it was sent for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.errors import StoreError
from infra.dispatch import run_bounded
from infra.pools import Threads
from tasks.bounded import Piece, code, in_order, read_work, reason, serially, write_work


@dataclass(frozen=True)
class Words:
    """A list for tests."""

    words: tuple[str, ...]


def shouted(piece: Piece) -> str:
    word = read_work(Words, piece).words[piece.number]
    if word == "bad":
        raise ZeroDivisionError(word)
    return word.upper()


def backwards(function: Callable[[Piece], Any], items: Iterable[Piece], **how: Any) -> Iterator[tuple[Piece, Any]]:
    return serially(function, reversed(list(items)), **how)


@pytest.mark.parametrize("dispatch", [serially, backwards, "threads"])
def test_outcomes_come_in_the_list_s_order_and_a_fault_is_one_of_them(tmp_path: Path, dispatch: Any) -> None:
    pieces = write_work(str(tmp_path / "list.json"), Words(("a", "bad", "c", "d")), 4)
    ended: list[int] = []
    with Threads(3) as pool:
        how = partial(run_bounded, pool) if dispatch == "threads" else dispatch
        found = in_order(how, shouted, pieces, workers=3, on_done=lambda piece: ended.append(piece.number))
    assert sorted(ended) == [0, 1, 2, 3]
    assert [reason(one) if isinstance(one, BaseException) else one for one in found] == ["A", "ZeroDivisionError: bad", "C", "D"]


def test_another_list_in_its_place_is_not_taken_for_it(tmp_path: Path) -> None:
    uri = str(tmp_path / "list.json")
    (first,) = write_work(uri, Words(("a",)), 1)
    write_work(uri, Words(("b",)), 1)
    with pytest.raises(StoreError, match=r"work-changed: expected the list .* in .*list\.json, but got .*\. Start the run again"):
        shouted(first)


def filled(piece: Piece) -> str:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(piece.number))


def test_a_full_disk_is_told_by_its_name_and_with_the_remedy(tmp_path: Path) -> None:
    pieces = write_work(str(tmp_path / "list.json"), Words(("a",)), 1)
    (error,) = in_order(serially, filled, pieces, workers=1, on_done=lambda _: None)
    assert isinstance(error, OSError)
    assert code(error) == "disk-full"
    assert reason(error) == (
        "disk-full: expected room for what is written, but got No space left on device. "
        "Free space; the same command goes on from what is finished."
    )
