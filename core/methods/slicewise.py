"""Methods that work on slices: a 2-D network or sampler along any axis of a scan, several axes averaged where asked for.

    measured crop --cubic--> target planes --slabs (neighbours as channels)--> encode --> codes --> decode --> restored planes
    the scan's own slices (``between``) ------------------------------------> encode --> codes, and those between by lerp -^

A tile is a slab of whole planes along one axis, and its planes are one batch; so the batch, and with it every byte, is the same
in scan mode, in tile mode and after a resume. On a CPU each plane goes alone, for there sums over a batch could round otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from core.errors import RestorationError
from core.geometry.grid import SAME_PLACE, Array, Box, Grid
from core.geometry.resample import SPLINE_REACH, Order, interpolate, reach_box
from core.geometry.slices import Padding, SliceStack, across, brackets, slab, slab_tiling
from core.geometry.tiles import Tile, Tiling
from core.methods.base import Measured, Method, Piece
from core.methods.patch_network import arithmetic, is_out_of_memory, steady
from core.noise import axis_key, normal_tensor
from core.settings.scans import TilingSettings

if TYPE_CHECKING:
    from torch import Tensor

Network2D = Callable[..., "Tensor"]
T = TypeVar("T")


@dataclass(frozen=True)
class Slice:
    """One slice of the grid that a method works on.

    Attributes:
        place: number of the slice on the whole target grid, or in the whole scan where the method works on its own slices.
        stack: the slices of the slab that it is one of.
        number: among these.
        measured: the part of the scan that the slab sees, with the whole scan's statistics.
        target: grid of the slab that is restored.
    """

    place: int
    stack: SliceStack
    number: int
    measured: Measured
    target: Grid

    @property
    def axis(self) -> int:
        """World axis that the slices follow each other along."""
        return self.stack.axis

    @property
    def grid(self) -> Grid:
        """Canonical grid of this one slice, before any padding."""
        return self.stack.grid_of(self.number)

    def data(self) -> Measured:
        """The measured slice at this place, one voxel thick: what an operator within the plane is held against.

        Raises:
            RestorationError: the scan has no slice there.
        """
        scale, offset = self.measured.grid.index_map(self.grid)[self.axis]
        nearest, count = round(offset), self.measured.grid.shape[self.axis]
        if abs(offset - nearest) > SAME_PLACE or abs(scale - 1) > SAME_PLACE or not 0 <= nearest < count:
            wanted = f"measured slices at the places of the restored ones along axis {self.axis}"
            got = f"slice {self.place} at {offset:.3f} of {count} measured ones, {scale:.3f} as thick"
            raise RestorationError("slices-apart", wanted, got, "work along an axis of the wanted voxel size")
        start, stop = [0, 0, 0], list(self.measured.grid.shape)
        start[self.axis], stop[self.axis] = nearest, nearest + 1
        return self.measured.crop(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))


def padded(network: Network2D, multiple: int) -> Network2D:
    """A network that takes planes (n, channels, rows, columns) of any size; what else it is given passes through.

    Whoever calls it, a sampler and its operators too, sees planes as they are; the network alone sees them padded.
    """

    def call(planes: Tensor, *given: object) -> Tensor:
        padding = Padding((planes.shape[-2], planes.shape[-1]), multiple)
        made: Tensor = padding.undo(network(padding.apply(planes), *given))
        return made

    return call


def slice_noise(slices: Sequence[Slice], channels: int, shape: tuple[int, int], device: str) -> Callable[[int], Tensor]:
    """Standard normal noise of slices by the number of its use, as the samplers of ``core.diffusion`` take it.

    It depends on the scan's key, the axis, the slice's place, channel, row and column: not on the batch or the slab.

    Args:
        slices: of one axis and one scan.
        channels: of the noise.
        shape: its rows and columns, those of the slices or of their codes.
        device: of torch.

    Returns:
        of a number from 0 the noise (slices, channels, rows, columns), float32.
    """
    import torch

    key = axis_key(slices[0].measured.noise, slices[0].axis)
    boxes = [Box((a * channels, 0, 0), (b * channels, *shape)) for a, b in _runs([plane.place for plane in slices])]

    def noise(number: int) -> Tensor:
        fields = [normal_tensor(box, key, number, device) for box in boxes]
        return torch.cat(fields).reshape(len(slices), channels, *shape)

    return noise


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Places as runs of neighbours, start to stop."""
    cuts = [0, *(n for n, (a, b) in enumerate(pairwise(places), 1) if b != a + 1), len(places)]
    return [(places[a], places[b - 1] + 1) for a, b in pairwise(cuts)]


class SliceMethod(Method):
    """A method that restores slice by slice.

    A subclass says what becomes of slices: ``encode`` alone, where each target slice is made of the interpolated ones, or, with
    ``between``, ``encode`` for the scan's own slices and ``decode`` for the codes at the places of the target's.
    """

    thickness: ClassVar[int] = 16  # planes of a slab, and slices of a batch on a GPU
    neighbours: ClassVar[int] = 0  # slices on either side, as channels
    order: ClassVar[Order] = 3  # of the interpolation onto the target
    between: ClassVar[bool] = False  # whether the scan's own slices are encoded, and codes made for those between

    def axes(self, source: Grid) -> tuple[int, ...]:
        """World axes that the slices follow each other along; the predictions of several are averaged.

        By default the scan's own slices, see ``core.geometry.slices.across``.
        """
        return (across(source),)

    def weights(self, source: Grid) -> Sequence[float] | None:  # noqa: ARG002 - a subclass may ask
        """Weights of the axes in their average, in the order of ``axes``; None for equal ones."""
        return None

    def plane_grid(self, source: Grid, target: Grid, axis: int) -> Grid:
        """The grid that the scan's own slices are brought onto before they are encoded, with ``between``.

        By default with the target's rows and columns; a network that makes slices finer takes coarser ones.

        Args:
            source: the scan's, of the slices in question.
            target: with its rows and columns whole.
            axis: along which the slices follow each other; as many come out as ``source`` has.
        """
        return target.with_axis(source, axis)

    @abstractmethod
    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """What is made of slices.

        Args:
            planes: (n, 2 * neighbours + 1, rows, columns) float32 in the scan's units; on a CPU n is 1.
            slices: which these are; their grids have the rows and columns of ``planes``.

        Returns:
            (n, channels, rows, columns) float32: the restored slices with one channel, or codes for ``decode``.
        """

    def lerped(self, below: Tensor, above: Tensor, shares: Tensor) -> Tensor:
        """Codes (n, channels, ...) between those of two slices, a share (n, 1, 1, 1) of the way from below to above.

        A subclass may interpolate otherwise; where the share is 0 the codes below must come back.
        """
        return below - (below - above) * shares

    def decode(self, codes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002 - a subclass may ask
        """Restored target slices (n, 1, rows, columns) of their codes (n, channels, ...); as they are by default."""
        return codes

    @property
    def precision(self) -> str:
        """Of the networks' arithmetic: "float32", or "tf32" or "bfloat16" where a subclass lets it be asked for."""
        return "float32"

    @cached_property
    def device(self) -> str:
        """The GPU where there is one."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:  # noqa: ARG002 - slices are whole
        """Slabs of whole planes along each of the axes."""
        return slab_tiling(target.shape, self.axes(source), self.thickness, self.weights(source))

    def _axis(self, source: Grid, part: int) -> int:
        return sorted(self.axes(source))[part]

    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:
        """The voxels under the slab and its neighbours, and as many around them as interpolation feels."""
        axis = self._axis(source, tile.part)
        if not self.between:
            return reach_box(source, target.crop(_widened(tile.read, axis, self.neighbours, target)), SPLINE_REACH)
        between = brackets(source, target.crop(tile.read), axis)
        start, stop = [0, 0, 0], list(source.shape)
        start[axis] = max(0, int(between.below.min()) - self.neighbours)
        stop[axis] = min(source.shape[axis], int(between.above.max()) + self.neighbours + 1)
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """One scan onto ``target``, all axes; see ``Method.restore``."""
        from core.geometry.blend import blend

        source = measured[0].grid
        piece = Piece(measured, target, Box.whole(target.shape))
        tiling = slab_tiling(target.shape, self.axes(source), max(target.shape), self.weights(source))
        return [blend(tiling, lambda tile: self._slab(replace(piece, part=tile.part)))]

    def restore_many(self, pieces: Sequence[Piece]) -> list[list[Array]]:
        """Several slabs, one after the other: the planes of each are a batch of their own."""
        return [[self._slab(piece)] for piece in pieces]

    def _slab(self, piece: Piece) -> Array:
        """The restored planes of one slab, on its target grid."""
        import torch

        stack = SliceStack(piece.target, self._axis(piece.measured[0].grid, piece.part))
        made = np.empty(piece.target.shape, np.float32)
        with torch.no_grad(), steady(tf32=self.precision == "tf32"), arithmetic(self.device, self.precision):
            if self.between:
                self._between(piece, stack, stack.planes(made))
            else:
                self._each(piece, stack, stack.planes(made))
        return made

    def _each(self, piece: Piece, stack: SliceStack, made: Array) -> None:
        """Each target slice of the interpolated ones around it."""
        measured, whole, axis = piece.measured[0], piece.whole or piece.target, stack.axis
        wide = _widened(piece.box, axis, self.neighbours, whole)
        grid = whole.crop(wide)
        planes = SliceStack(grid, axis).planes(_onto(measured, grid, self.order))
        first, slices = piece.box.start[axis] - wide.start[axis], _slices(stack, piece.box.start[axis], piece)

        def restore(start: int, stop: int) -> None:
            given = self._slabs(planes, range(first + start, first + stop))
            _write(self.decode(self.encode(given, slices[start:stop]), slices[start:stop]), made[start:stop])

        in_parts(restore, len(slices), self._at_once(len(slices)))

    def _between(self, piece: Piece, stack: SliceStack, made: Array) -> None:
        """Codes of the scan's own slices, and of those the target's that lie between them."""
        import torch

        between = brackets(piece.measured[0].grid, piece.target, stack.axis)
        codes = self._codes(piece, stack.axis, int(between.below.min()), int(between.above.max()) + 1)
        below, above = (torch.from_numpy(places - between.below.min()) for places in (between.below, between.above))
        shares = torch.from_numpy(between.share).to(codes).reshape(-1, *[1] * (codes.ndim - 1))
        slices = _slices(stack, piece.box.start[stack.axis], piece)

        def restore(start: int, stop: int) -> None:
            low, high = (codes[places[start:stop].to(codes.device)] for places in (below, above))
            _write(self.decode(self.lerped(low, high, shares[start:stop]), slices[start:stop]), made[start:stop])

        in_parts(restore, len(slices), self._at_once(len(slices)))

    def _codes(self, piece: Piece, axis: int, low: int, high: int) -> Tensor:
        """What ``encode`` makes of the slices low to high of the measured part."""
        import torch

        measured = piece.measured[0]
        stack = SliceStack(self.plane_grid(measured.grid, piece.target, axis), axis)
        planes = stack.planes(_onto(measured, stack.grid, self.order))
        slices = _slices(stack, piece.crops[0].start[axis] if piece.crops else 0, piece)

        def encode(start: int, stop: int) -> Tensor:
            return self.encode(self._slabs(planes, range(low + start, low + stop)), slices[low + start : low + stop]).float()

        return torch.cat(in_parts(encode, high - low, self._at_once(high - low)))

    def _at_once(self, count: int) -> int:
        """Slices of a batch: all, but one by one on a CPU."""
        return 1 if self.device == "cpu" else count

    def _slabs(self, planes: Array, places: Sequence[int]) -> Tensor:
        """Slices with their neighbours as channels, on the device.

        In memory of torch's own: it begins where the same slice's does in any other batch, and some sums depend on that.
        """
        import torch

        made = torch.empty((len(places), 2 * self.neighbours + 1, *planes.shape[1:]))
        slab(planes, places, self.neighbours, made.numpy())
        return made.to(self.device)


def _write(restored: Tensor, made: Array) -> None:
    """Restored slices into their places.

    Raises:
        RestorationError: slices of another shape, or with several channels.
    """
    wanted, got = (len(made), 1, *made.shape[1:]), tuple(restored.shape)
    if got != wanted:
        remedy = "report it: the method breaks its contract"
        raise RestorationError("plane-shape", f"restored slices {wanted}", f"{got}", remedy)
    made[...] = restored[:, 0].float().cpu().numpy()


def _onto(measured: Measured, grid: Grid, order: Order) -> Array:
    """A scan on another grid; where its voxels lie in the same places, those voxels, without a copy."""
    maps = measured.grid.index_map(grid)
    if all(scale == 1 and offset == round(offset) for scale, offset in maps):
        x, y, z = (round(offset) for _, offset in maps)
        box = Box((x, y, z), (x + grid.shape[0], y + grid.shape[1], z + grid.shape[2]))
        if box.intersect(Box.whole(measured.grid.shape)) == box:
            return measured.image[box.slices]
    return interpolate(measured.image, measured.grid, grid, order)


def _slices(stack: SliceStack, first: int, piece: Piece) -> list[Slice]:
    """All slices of a stack, their places counted from ``first``."""
    return [Slice(first + n, stack, n, piece.measured[0], piece.target) for n in range(stack.count)]


def _widened(box: Box, axis: int, by: int, whole: Grid) -> Box:
    """The box with ``by`` planes more on either side along an axis, within the grid."""
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = max(0, start[axis] - by), min(whole.shape[axis], stop[axis] + by)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _attempt(work: Callable[[int, int], T], n: int, size: int) -> list[T] | None:
    """What ``work`` makes of ``size`` slices at a time; None where memory does not suffice."""
    try:
        return [work(start, min(start + size, n)) for start in range(0, n, size)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def in_parts(work: Callable[[int, int], T], n: int, size: int) -> list[T]:
    """What ``work(start, stop)`` makes of n slices, ``size`` at a time; where memory runs out in halves, down to one.

    Raises:
        RestorationError: one slice does not fit.
    """
    while (made := _attempt(work, n, size)) is None:
        if size == 1:
            remedy = "use a smaller network or a larger machine"
            raise RestorationError("out-of-memory", "memory for one slice", "none left", remedy)
        size = min(size, n) // 2 or 1
    return made
