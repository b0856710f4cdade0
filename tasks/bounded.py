"""A list of work, piece by piece where the work runs; what comes back is in the list's order, whatever finished first.

The list lies as JSON where all workers see it, and a call names a piece of it by its number: a few bytes travel, however much
there is to know of a scan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from core.errors import IsovoxError, StoreError
from core.io import files, space

DEADLINE = 6 * 3600.0  # seconds without any piece of work finishing
Result = TypeVar("Result")
Work = TypeVar("Work")
Dispatch = Callable[..., Iterator[tuple[Any, Any]]]


@dataclass(frozen=True)
class Piece:
    """A piece of a list of work.

    Attributes:
        uri: of the list.
        sha256: of its bytes.
        number: of the piece, from 0.
    """

    uri: str
    sha256: str
    number: int


def write_work(uri: str, work: object, count: int) -> list[Piece]:
    """Write a list of work for the workers.

    Args:
        uri: where, local or s3://.
        work: a dataclass of JSON values, dataclasses and pydantic models.
        count: pieces it has.

    Returns:
        its pieces.
    """
    content = TypeAdapter(type(work)).dump_json(work)
    files.write_atomic(uri, content)
    sha256 = hashlib.sha256(content).hexdigest()
    return [Piece(uri, sha256, number) for number in range(count)]


@lru_cache(maxsize=4)
def _read(kind: Any, uri: str, sha256: str) -> Any:
    content = files.read_bytes(uri)
    if (now := hashlib.sha256(content).hexdigest()) != sha256:
        raise StoreError("work-changed", f"the list {sha256[:12]} in {uri}", now[:12], "start the run again")
    return TypeAdapter(kind).validate_json(content)


def read_work(kind: type[Work], piece: Piece) -> Work:
    """The list that a piece is of; a worker reads it once.

    Args:
        kind: its dataclass.
        piece: of it.

    Raises:
        StoreError: another list lies there now.
    """
    work: Work = _read(cast("Any", kind), piece.uri, piece.sha256)
    return work


def serially(
    function: Callable[[Piece], Result],
    items: Iterable[Piece],
    *,
    window: int,  # noqa: ARG001 - as ``infra.dispatch.run_bounded`` takes them
    deadline: float,  # noqa: ARG001
) -> Iterator[tuple[Piece, Result | BaseException]]:
    """Run a function for each piece in this thread, one after the other."""
    for item in items:
        try:
            outcome: Result | BaseException = function(item)
        except Exception as error:  # noqa: BLE001 - it is the outcome of this piece
            outcome = error
        yield item, outcome


def in_order(
    dispatch: Dispatch,
    function: Callable[[Piece], Result],
    pieces: list[Piece],
    *,
    workers: int,
    on_done: Callable[[Piece], None],
) -> list[Result | BaseException]:
    """What a function gives for each piece, in their order; an exception in place of what did not come back.

    Args:
        dispatch: runs the function where the work runs; ``functools.partial(infra.dispatch.run_bounded, pool)``.
        function: at module level; its result is small.
        pieces: from ``write_work``.
        workers: that there are, each of which holds one piece at a time.
        on_done: called with each piece as it ends.
    """
    outcomes: dict[int, Result | BaseException] = {}
    for piece, outcome in dispatch(function, pieces, window=2 * workers, deadline=DEADLINE):
        outcomes[piece.number] = outcome
        on_done(piece)
    return [outcomes[piece.number] for piece in pieces]


def code(error: BaseException) -> str:
    """The name of a fault in records."""
    return known.code if (known := _foreseen(error)) else type(error).__name__


def reason(error: BaseException) -> str:
    """A fault in a line; one that isovox did not foresee with its class."""
    return str(known) if (known := _foreseen(error)) else f"{type(error).__name__}: {error}"


def _foreseen(error: BaseException) -> IsovoxError | None:
    return error if isinstance(error, IsovoxError) else space.full(error)
