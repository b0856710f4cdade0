"""A trained network, applied in overlapping patches to the scan interpolated onto the target grid.

measured crop --cubic--> target patch --/ upper--> network --(+ input where residual)--* upper--> restored patch
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, lru_cache, reduce
from itertools import combinations, groupby
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from core.errors import RestorationError, WeightsError
from core.geometry.grid import Array, Box, Grid, Triple
from core.geometry.resample import SPLINE_REACH, interpolate, reach_box
from core.geometry.tiles import Tile, Tiling, halo_patches, patches
from core.methods.base import Measured, Method, MethodSettings, Piece
from core.models.bundle import Bundle, read_bundle
from core.models.cache import load_network
from core.models.scaling import UPPER
from core.networks import applied_by
from core.networks.receptive_field import reach
from core.operators.forward_model import forward_of
from core.settings.scans import TilingSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Network = Callable[["Tensor"], "Tensor"]

MOST = 64  # patches that are made ready at once for a GPU
VOLUMES = 5  # dimensions of a batch of them
EACH: tuple[tuple[int, ...], ...] = tuple(axes for count in range(4) for axes in combinations((2, 3, 4), count))
FLIPS = {1: EACH[:1], 2: (EACH[0], EACH[7]), 4: (EACH[0], *EACH[4:7]), 8: EACH}  # each a group, the identity first
FILLED = 0.8  # of a GPU's free memory, that a batch may take


Flips = Literal[1, 2, 4, 8]


def flips_field(default: Flips) -> Any:
    """Over how many flips a network is averaged, where nothing is said over ``default``."""
    return Field(
        default,
        title="Flips",
        description="average the network over so many flips of a patch (2: all axes at once, 4: two at a time, 8: all): nearer "
        "the truth, and so many times the work",
    )


class NetworkSettings(MethodSettings):
    """Settings that the methods with a network share."""

    model: str = Field(title="Model", description="folder with model.safetensors and config.json")
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = Field(
        "float32",
        title="Precision",
        description="of the network's arithmetic; a patch that overflows is done again in float32; tf32 is that of a GPU alone",
    )
    batch: int | None = Field(
        None, ge=1, title="Batch", description="patches at once on a GPU, halved where memory runs out; default: what it holds"
    )
    compiled: bool = Field(default=False, title="Compile", description="by torch.compile: slow to begin, faster after")
    flips: Flips = flips_field(1)

    @field_validator("flips", mode="before")
    @classmethod
    def _as_it_was(cls, value: Any) -> Any:
        """It was a switch for all 8 once; words of a command line are numbers."""
        return {True: 8, False: 1}[value] if isinstance(value, bool) else int(value) if str(value).isdigit() else value


def is_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` tells of memory: torch raises a class of its own on CUDA and a bare RuntimeError on the CPU."""
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def _attempt(network: Network, batch: Tensor, size: int) -> Tensor | None:
    """The network's output, ``size`` patches at a time; None where memory does not suffice."""
    import torch

    try:
        return torch.cat([network(part).float() for part in torch.split(batch, size)])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def predict(network: Network, batch: Tensor, size: int) -> tuple[Tensor, int]:
    """Apply a network to a batch; where memory runs out, in halves of it, down to one patch at a time.

    Args:
        network: what to apply.
        batch: (patches, 1, x, y, z).
        size: patches at a time to begin with.

    Returns:
        the float32 output, and the size that fitted.

    Raises:
        RestorationError: one patch does not fit.
    """
    import torch

    # The next attempt begins outside the except clause: in it, the failed one's tensors would still be held by the traceback.
    while (output := _attempt(network, batch, size)) is None:
        if (tried := min(size, len(batch))) == 1:
            shape = tuple(batch.shape[2:])
            raise RestorationError("out-of-memory", f"memory for one patch {shape}", "none left", "use smaller patches (--patch)")
        size = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return output, size


def fitting(network: Network, batch: Tensor) -> int:
    """How many patches the GPU's memory takes at once, by what the first of ``batch`` takes.

    Args:
        network: what will be applied.
        batch: (patches, channels, x, y, z) on the GPU.

    Returns:
        at least 1, at most ``MOST``.
    """
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    network(batch[:1])
    each = torch.cuda.max_memory_allocated() - before
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return max(1, min(MOST, int(FILLED * free / max(each, 1))))


def padded(image: Array, multiple: int) -> Array:
    """The image mirrored at its far ends up to multiples of ``multiple``; the network's output is cropped back."""
    return np.pad(image, [(0, -n % multiple) for n in image.shape], mode="symmetric")


def bundle_for(method: str, folder: str) -> Bundle:
    """What a model's config says, of a network that a method applies.

    Raises:
        WeightsError: a network that the method does not know how to ask.
    """
    bundle = read_bundle(folder)
    if bundle.network not in (known := applied_by(method)):
        wanted = f"a network of {method}: {', '.join(sorted(known))}"
        raise WeightsError("model-unfit", wanted, bundle.network, "name another --model, or the method that it is for")
    return bundle


class NetworkMethod(Method):
    """Base of the methods that restore by a network with one channel in and out, from a folder of ``core.models.bundle``."""

    Settings: ClassVar[type[MethodSettings]] = NetworkSettings
    needs_model: ClassVar[bool] = True
    bytes_per_voxel: ClassVar[float] = 24.0
    bytes_per_tile_voxel: ClassVar[float] = 450.0  # of the small presets, one patch at a time
    voxels_per_second: ClassVar[float] = 3e5  # of a UNet with 16, 32 and 64 channels, patches of 64 that overlap by 16
    settings: NetworkSettings
    _size: int | None = None  # patches that fit at once, once known

    @cached_property
    def spec(self) -> Bundle:
        """What the model's config says.

        Raises:
            WeightsError: a network that this method does not know how to ask.
        """
        return bundle_for(self.name, self.settings.model)

    @property
    def keeps_contrast(self) -> bool:
        """See ``Method.keeps_contrast``; not where the model was trained to change it, as of low field."""
        forward = self.spec.forward
        return forward is None or forward_of(forward).linear

    @cached_property
    def device(self) -> str:
        """The GPU where there is one."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def batch(self) -> int:  # type: ignore[override]
        """Patches at once; one on a CPU, where more gain nothing and sums could round otherwise."""
        return 1 if self.device == "cpu" else self.settings.batch or MOST

    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:
        """Patches as wanted, enlarged to a size that the network takes.

        Raises:
            WeightsError: a halo for a network that sees the whole patch.
        """
        size = math.ceil(wanted.patch / self.spec.multiple) * self.spec.multiple
        if wanted.window == "halo":
            return halo_patches(target.shape, size, self._halo(source, target))
        return patches(target.shape, size, wanted.overlap, wanted.window)

    def _halo(self, source: Grid, target: Grid) -> Triple:  # noqa: ARG002 - for networks that work on another grid
        """How far the network sees along each axis of the target; multiples of its stride, so that patches keep its phase."""
        seen = reach(self.spec.network, self.spec.config, self.spec.multiple)
        order = self._order(source)
        x, y, z = (seen[order.index(axis)] for axis in range(3))
        return x, y, z

    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:
        """The voxels under the patch, and as many around them as cubic interpolation feels."""
        return reach_box(source, target.crop(tile.read), SPLINE_REACH)

    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """One scan onto ``target``; see ``Method.restore``."""
        return self.restore_many([Piece(measured, target, Box.whole(target.shape))])[0]

    def restore_many(self, pieces: Sequence[Piece]) -> list[list[Array]]:
        """Several patches; neighbours of one shape go through the network together."""

        def shape(piece: Piece) -> tuple[int, int, int]:
            x, y, z = (piece.target.shape[axis] for axis in self._order(piece.measured[0].grid))
            return x, y, z

        return [[array] for _, alike in groupby(pieces, key=shape) for array in self._alike(list(alike))]

    def _alike(self, pieces: Sequence[Piece]) -> Iterator[Array]:
        """Patches of one shape."""
        import torch

        scaling, scans = self.spec.scaling or UPPER, [piece.measured[0] for piece in pieces]
        measured = [scaling.without_faults(scan.image, scan.stats) for scan in scans]
        images = [
            interpolate(image, scan.grid, piece.target, 3) for image, scan, piece in zip(measured, scans, pieces, strict=True)
        ]
        orders = [self._order(scan.grid) for scan in scans]
        turned = [image.transpose(order) for image, order in zip(images, orders, strict=True)]
        scaled = [scaling.apply(image, scan.stats) for image, scan in zip(turned, scans, strict=True)]
        inputs = np.stack([padded(image, self.spec.multiple) for image in scaled])
        outputs = self._run(torch.from_numpy(inputs[:, None]), pieces).numpy()[:, 0]
        for image, output, order, scan in zip(scaled, outputs, orders, scans, strict=True):
            restored = np.ascontiguousarray(output[Box.whole(image.shape).slices].transpose(np.argsort(order)))
            yield scaling.undo(restored, scan.stats)

    def _order(self, source: Grid) -> Triple:
        """The axes of a scan as the network wants them."""
        axis = source.slice_axis if self.spec.slices_last else None
        return {0: (1, 2, 0), 1: (0, 2, 1), 2: (0, 1, 2), None: (0, 1, 2)}[axis]

    def _run(self, inputs: Tensor, pieces: Sequence[Piece]) -> Tensor:
        """Patches (n, 1, x, y, z) restored, those that overflow in half precision once more in float32."""
        outputs = self._forward(inputs, pieces, self.settings.precision)
        bad = ~outputs.isfinite().flatten(1).all(1)
        if bad.any() and self.settings.precision != "float32":
            outputs[bad] = self._forward(
                inputs[bad], [piece for piece, overflows in zip(pieces, bad, strict=True) if overflows], "float32"
            )
            bad = ~outputs.isfinite().flatten(1).all(1)
        if bad.any():
            raise RestorationError(
                "not-finite", "finite voxels from the network", "NaN or infinity", "check the model and the scan"
            )
        return outputs

    def _forward(self, inputs: Tensor, pieces: Sequence[Piece], precision: str) -> Tensor:
        import torch

        with torch.no_grad(), steady(tf32=precision == "tf32"), arithmetic(self.device, precision):
            return self._restored(self._network(), inputs.to(self.device, memory_format=self._layout), pieces).cpu()

    @property
    def passes(self) -> int:  # type: ignore[override]
        """As many as the flips that it averages over."""
        return self.settings.flips

    @property
    def _layout(self) -> torch.memory_format:
        """Channels last on a GPU, whose tensor cores want them so."""
        import torch

        return torch.contiguous_format if self.device == "cpu" else torch.channels_last_3d

    def _network(self) -> Network:
        """The network, averaged over flips where that is wanted."""
        ready = self._unflipped()
        return ready if self.settings.flips == 1 else over_flips(ready, FLIPS[self.settings.flips])

    def _unflipped(self) -> Network:
        """The network on the device, compiled where asked for; a worker keeps it from scan to scan."""
        network = load_network(self.settings.model, self.spec, self.device)
        return compiled(network) if self.settings.compiled else network

    def _fit(self, network: Network, batch: Tensor) -> int:
        """Patches at once: as set, else as many as the GPU holds, which the first patch shows."""
        if self._size is None:
            self._size = self.settings.batch or (1 if self.device == "cpu" else fitting(network, batch))
        return self._size

    def _predict(self, network: Network, batch: Tensor) -> Tensor:
        """The network's output, in as large parts as memory takes."""
        output, self._size = predict(network, batch, self._fit(network, batch))
        return output

    def _restored(self, network: Network, batch: Tensor, pieces: Sequence[Piece]) -> Tensor:  # noqa: ARG002 - where each lies
        """What the network makes of patches."""
        outputs = self._predict(network, batch)
        return outputs + batch if self.spec.residual else outputs


def over_flips(network: Callable[..., Tensor], flips: Sequence[tuple[int, ...]]) -> Callable[..., Tensor]:
    """A network averaged over flips of what it sees: over all 8 it treats left and right alike.

    Args:
        network: of volumes (patches, channels, x, y, z), and of other tensors that are not flipped; gives such volumes.
        flips: axes of each.
    """

    def averaged(*given: Tensor) -> Tensor:
        outputs = (network(*(x.flip(axes) if x.ndim == VOLUMES else x for x in given)).flip(axes) for axes in flips)
        return reduce(add, outputs) / len(flips)

    return averaged


@lru_cache(maxsize=4)
def compiled(network: Network) -> Network:
    """A network by torch.compile, once."""
    import torch

    made: Network = torch.compile(network, dynamic=False)
    return made


def steady(*, tf32: bool) -> AbstractContextManager[None]:
    """No choice of algorithms by cuDNN that differs from run to run, and the ten bits of TF32 only where asked for."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32)


def arithmetic(device: str, precision: str) -> AbstractContextManager[object]:
    """Convolutions and products in half precision where asked for; sums and what is said of float32 stay as they are."""
    import torch

    return nullcontext() if precision in {"float32", "tf32"} else torch.autocast(device, getattr(torch, precision))
