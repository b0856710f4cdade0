"""The engine: a method's tiles, and whole scans block by block. No files, no clusters; scan mode and tile mode meet here.

Both modes take their predictions from ``restore_tiles``, made from the same crops, and blend them in the same
order; so they give the same bits. Scan mode streams: it holds the layer of tiles that is not yet passed and one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np

from core.banding import banding
from core.errors import RestorationError
from core.geometry.blend import stream
from core.geometry.grid import Array, Box, Grid
from core.geometry.tiles import Tile, Tiling
from core.methods.base import Measured, Method, Piece
from core.settings.scans import TilingSettings

Restore = Callable[[Sequence[Piece]], list[list[Array]]]


@dataclass(frozen=True)
class Source:
    """A measured scan that is read crop by crop, from memory or from a store.

    Attributes:
        grid: of the whole scan.
        read: gives the part in a box.
    """

    grid: Grid
    read: Callable[[Box], Measured]

    @classmethod
    def in_memory(cls, measured: Measured) -> Source:
        """A scan held in memory."""
        return cls(measured.grid, measured.crop)

    @classmethod
    def by_layers(cls, grid: Grid, read: Callable[[Box], Measured]) -> Source:
        """A scan that is read in layers of whole planes, one in memory at a time: the tiles of a layer share it."""
        return cls(grid, _Layers(grid, read))

    def crop(self, box: Box) -> Measured:
        """The part in ``box``, laid out alike wherever it came from, so that sums over it round alike."""
        part = self.read(box)
        # By way of one axis, for an axis of length 1 may have any stride in what counts as contiguous.
        return replace(part, image=part.image.ravel().reshape(part.image.shape))

    def evened(self) -> Source:
        """The scan without its banding, which the whole of it tells; itself where there is none."""
        whole = self.read(Box.whole(self.grid.shape))
        axis, seen = self.grid.slice_axis, banding(whole.image, self.grid, whole.stats)
        if axis is None or seen is None or not seen.found:
            return self

        def read(box: Box) -> Measured:
            part = self.read(box)
            return replace(part, image=seen.taken_out(part.image, axis, box.start[axis]))

        return Source(self.grid, read)


class _Layers:
    """The planes along z that the last crop lay in, until a crop needs others."""

    def __init__(self, grid: Grid, read: Callable[[Box], Measured]) -> None:
        self._grid, self._read = grid, read
        self._box: Box | None = None
        self._layer: Measured | None = None

    def __call__(self, box: Box) -> Measured:
        nx, ny, _ = self._grid.shape
        wanted = Box((0, 0, box.start[2]), (nx, ny, box.stop[2]))
        if self._layer is None or self._box is None or self._box.intersect(wanted) != wanted:
            self._layer = None  # before the next is read
            self._box, self._layer = wanted, self._read(wanted)
        return self._layer.crop(box.relative_to(self._box.start))


def _batches(tiles: Iterable[Tile], size: int) -> Iterator[list[Tile]]:
    remaining = iter(tiles)
    while batch := list(islice(remaining, size)):
        yield batch


def _describe(tile: Tile) -> str:
    return f"tile {tile.index} (voxels {tile.read.start} to {tile.read.stop})"


def _check(arrays: Sequence[Array], tile: Tile, number: int) -> None:
    wanted = f"{number} finite float32 arrays {tile.read.shape} for {_describe(tile)}"
    got = [(array.dtype.name, array.shape) for array in arrays]
    if got != [("float32", tile.read.shape)] * number:
        raise RestorationError("prediction-shape", wanted, repr(got), "report it: the method breaks its contract")
    if not all(np.isfinite(array).all() for array in arrays):
        raise RestorationError("not-finite", wanted, "NaN or infinity", "look at the scan there, or choose another method")


def _piece(method: Method, sources: Sequence[Source], target: Grid, tile: Tile) -> Piece:
    crops = tuple(method.source_box(source.grid, target, tile) for source in sources)
    measured = [source.crop(box) for source, box in zip(sources, crops, strict=True)]
    return Piece(measured, target.crop(tile.read), tile.read, target, crops, tile.part)


def _restore_batch(
    method: Method, sources: Sequence[Source], target: Grid, tiles: Sequence[Tile], restore: Restore
) -> list[list[Array]]:
    pieces = [_piece(method, sources, target, tile) for tile in tiles]
    try:
        return restore(pieces)
    except RestorationError as error:
        where = ", ".join(_describe(tile) for tile in tiles)
        raise RestorationError(error.code, error.wanted, f"{error.got}, in {where}", error.remedy) from error


def restore_tiles(
    method: Method, sources: Sequence[Source], target: Grid, tiles: Iterable[Tile], restore: Restore | None = None
) -> Iterator[tuple[Tile, list[Array]]]:
    """Restore tiles, as many at once as the method likes.

    Args:
        method: how.
        sources: one scan, or those of one person that the method fuses.
        target: the whole target grid.
        tiles: of the method's tiling of ``target``; taken lazily, in order.
        restore: called in the place of ``method.restore_many``, to tell of what is done or to make steps; the same numbers.

    Yields:
        each tile and its predictions on ``tile.read``, float32 arrays: one for each of ``sources``, then those of the maps.

    Raises:
        RestorationError: naming the tile that the method cannot give a finite answer for.
    """
    restore = restore or method.restore_many
    sources = [source.evened() for source in sources] if method.evens else sources
    for batch in _batches(tiles, method.batch):
        for tile, arrays in zip(batch, _restore_batch(method, sources, target, batch, restore), strict=True):
            _check(arrays, tile, _number(method, sources))
            yield tile, arrays


def _number(method: Method, sources: Sequence[Source]) -> int:
    """Of the arrays of a tile."""
    return len(sources) * (1 + len(method.maps))


class _Predictions:
    """Predicts each tile once, and keeps the arrays of the other images until their streams ask for them."""

    def __init__(self, ahead: Iterator[tuple[Tile, list[Array]]], images: int) -> None:
        self._ahead = ahead
        self._waiting: list[dict[int, Array]] = [{} for _ in range(images)]

    def take(self, image: int, tile: Tile) -> Array:
        """The prediction of one image; streams ask for the tiles in order."""
        mine = self._waiting[image]
        while tile.index not in mine:
            done, arrays = next(self._ahead)
            for waiting, array in zip(self._waiting, arrays, strict=True):
                waiting[done.index] = array
        return mine.pop(tile.index)


def restore_scan(
    method: Method, sources: Sequence[Source], target: Grid, tiling: Tiling, thickness: int, restore: Restore | None = None
) -> Iterator[tuple[Box, list[Array]]]:
    """Restore whole scans, each tile once, and give their blocks as they become final.

    Args:
        method: how.
        sources: one scan, or those of one person that the method fuses.
        target: grid of the result.
        tiling: the method's, of ``target``.
        thickness: planes (along z) of a block.
        restore: see ``restore_tiles``.

    Yields:
        a block of whole planes and its voxels, float32 arrays: one for each of ``sources``, then as many of each of the method's
        maps; the blocks in order.

    Raises:
        RestorationError: naming the tile that the method cannot give a finite answer for.
    """
    number = _number(method, sources)
    predictions = _Predictions(restore_tiles(method, sources, target, tiling.tiles(), restore), number)
    streams = [stream(tiling, partial(predictions.take, image), thickness) for image in range(number)]
    for box, array in streams[0]:
        yield box, [array, *(next(stream)[1] for stream in streams[1:])]
        del array  # before the next block is made


def restore_whole(method: Method, measured: Sequence[Measured], target: Grid) -> Array:
    """The first of the scans, restored in memory in patches of the usual size: what a method begins with that refines another's.

    Args:
        method: how.
        measured: one scan, or those of one person that the method fuses.
        target: grid of the result.

    Raises:
        RestorationError: as ``restore_scan``.
    """
    tiling = method.tiling(measured[0].grid, target, TilingSettings())
    blocks = restore_scan(method, [Source.in_memory(scan) for scan in measured], target, tiling, target.shape[2])
    return np.concatenate([arrays[0] for _, arrays in blocks], axis=2)
