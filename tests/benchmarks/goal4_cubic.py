"""Goal 4: cubic interpolation between slices against scipy, both in one run, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from core.grid import Grid
from core.methods.interpolation import interpolate

SHAPE, FACTOR = (160, 224, 40), 4
ROUNDS = 7


def _seconds(*works: Callable[[], Any]) -> list[float]:
    """The shortest of some rounds of each, taken in turns: other work on the machine only ever adds."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, taken, strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return [min(times) for times in taken]


def rows() -> list[dict[str, Any]]:
    """Speed against scipy's affine transform (same geometry, ends mirrored), and the largest difference for values in 0..1."""
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    source = Grid(SHAPE, np.diag([1.0, 1.0, float(FACTOR), 1.0]))
    target = source.isotropic(1.0)
    (_, _, (scale, offset)) = source.index_map(target)

    def ours() -> Any:
        return interpolate(image, source, target, 3)

    def peer() -> Any:
        return ndimage.affine_transform(
            image, [1, 1, scale], [0, 0, offset], target.shape, output=np.float32, order=3, mode="mirror"
        )

    difference = float(np.abs(ours() - peer()).max())
    mine, theirs = _seconds(ours, peer)
    speed = theirs / mine
    what = "cubic, slices of 4 mm to 1 mm"
    times = {"what": f"{what}: seconds, scipy", "ours": mine, "peer": theirs, "ratio": speed, "aim": ">= 80", "met": speed >= 80}
    apart = {"what": f"{what}: largest difference", "ours": difference, "peer": 0.0, "ratio": difference, "aim": "<= 1e-6"}
    return [{"goal": 4} | times, {"goal": 4} | apart | {"met": difference <= 1e-6}]


if __name__ == "__main__":
    for row in rows():
        print(row)  # noqa: T201
