"""Volumes as scripts beside a page: 8 bits a voxel, packed without loss, in files that a page opened from disk loads on demand.

A page from ``file://`` may fetch nothing, but it may add a script. Each script hands one volume to the page: its place, how its
levels become values, and its bytes, gzipped and in base64. Intensities are kept as square roots, so that ghosts in the air, at a
hundredth of the head's, still have some twenty levels of their own.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.geometry.grid import Array, Grid
from tasks.report.pictures import Pixels, Scale, Window

BUDGET = 14_000_000  # characters of all volumes of a scan; its page and pictures take less than a million more
LARGEST = 12_000_000  # voxels of a volume; finer ones are thinned out
COARSEST = 3  # bits that levels may lose before a scan is thinned out instead
END = ");\n"


@dataclass(frozen=True)
class Layer:
    """A volume to pack.

    Attributes:
        image: on the page's grid.
        scale: what it is drawn by: a window of grey, or a scale of colours.
    """

    image: Array
    scale: Window | Scale

    def levels(self) -> Pixels:
        """8 bits: square roots from black to white, or equal steps from end to end (255 stands for none)."""
        if isinstance(self.scale, Scale):
            return self.scale.levels(self.image)
        share = (np.nan_to_num(self.image) - self.scale.low) / max(self.scale.high - self.scale.low, 1e-12)
        return np.asarray(np.rint(255 * np.sqrt(np.clip(share, 0, 1))), dtype=np.uint8)

    def values(self) -> tuple[str, float, float]:
        """How a level becomes a value: "square" or "linear", and the values of the lowest and the highest level."""
        if isinstance(self.scale, Scale):
            low, _, end = self.scale.ends
            return "linear", low, low + (end - low) * 255 / 254
        return "square", self.scale.low, self.scale.high


@dataclass(frozen=True)
class Packed:
    """The volumes of a scan.

    Attributes:
        scripts: by name.
        step: every how many-th voxel is kept along each axis; 1: all.
        lost: bits that levels of grey have lost.
    """

    scripts: dict[str, str]
    step: int
    lost: int


def packed(layers: Mapping[str, Layer], grid: Grid, measured: Grid) -> Packed:
    """The scripts of a scan's volumes, together within the budget.

    Where they are not, levels of grey are halved, up to three times; then every second, third, … voxel is kept.

    Args:
        layers: by name, all on ``grid``.
        grid: canonical.
        measured: the scan's own grid; along its coarsest axis, which is packed first, neighbours are alike.
    """
    coarse = int(np.argmax(measured.spacing))
    step = max(1, math.ceil((math.prod(grid.shape) / LARGEST) ** (1 / 3) - 1e-9))
    whole = {name: layer.levels() for name, layer in layers.items()}
    while True:
        for lost in range(COARSEST + 1):
            scripts = {}
            for name, levels in whole.items():
                bits = 0 if isinstance(layers[name].scale, Scale) else lost
                kept = _coarser(levels[::step, ::step, ::step], bits)
                scripts[name] = _script(name, kept, _thinner(grid, step), coarse, layers[name].values())
            if sum(map(len, scripts.values())) <= BUDGET:
                return Packed(scripts, step, lost)
        step += 1


def _coarser(levels: Pixels, bits: int) -> Pixels:
    """Levels to the nearest of fewer; the lowest stays as it is."""
    size = 1 << bits
    return levels if bits == 0 else np.asarray(np.minimum((levels.astype(np.uint16) + size // 2) // size * size, 255), np.uint8)


def _thinner(grid: Grid, step: int) -> Array:
    """The affine of every ``step``-th voxel."""
    return np.asarray(grid.affine @ np.diag([step, step, step, 1.0]))


def _script(name: str, levels: Pixels, affine: Array, first: int, values: tuple[str, float, float]) -> str:
    """A script that hands a volume to its page, the axis ``first`` fastest."""
    from isal import igzip

    order = [first, *(axis for axis in range(3) if axis != first)]
    flat = np.ascontiguousarray(levels.transpose(order[::-1])).ravel()
    differences = np.diff(flat, prepend=np.uint8(0))  # modulo 256
    plain, delta = (igzip.compress(kept.tobytes(), 3, mtime=0) for kept in (flat, differences))
    placed = affine[:, [*order, 3]]
    how, low, high = values
    facts = {
        "shape": [levels.shape[axis] for axis in order],
        "affine": placed.round(6).tolist(),
        "inverse": np.linalg.inv(placed).round(9).tolist(),
        "levels": how,
        "low": low,
        "high": high,
        "delta": len(delta) < len(plain),
    }
    content = base64.b64encode(min(plain, delta, key=len)).decode()
    return f'isovox.volume({json.dumps(name)}, {json.dumps(facts)}, "{content}"{END}'
