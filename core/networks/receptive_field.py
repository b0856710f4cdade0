"""How far a network sees: what a halo around a patch must be, for the patch's core to come out as in the whole volume."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from core.errors import WeightsError
from core.geometry.grid import Triple
from core.networks import build

LONGEST = 512  # voxels of the line along which a network is looked at


def reach(network: str, config: dict[str, Any], multiple: int) -> Triple:
    """Voxels beyond a block of ``multiple`` that one of its outputs depends on, along each axis; a multiple of ``multiple``.

    Found by differentiating the network, with random weights of double precision: where a network strides, its outputs differ in
    what they see, and the farthest of a block counts.

    Args:
        network: name for ``core.networks.build``.
        config: its arguments.
        multiple: edges of its patches are multiples of this.

    Raises:
        WeightsError: a network without an end to what it sees (it normalises over the patch, or attends to all of it).
    """
    x, y, z = (_along(network, json.dumps(config), multiple, axis) for axis in range(3))
    return x, y, z


@lru_cache(maxsize=64)
def _along(network: str, config: str, multiple: int, axis: int) -> int:
    length = 64 if multiple <= 16 else 4 * multiple
    while length <= LONGEST:
        if (field := _seen(network, json.loads(config), multiple, axis, length)) is not None:
            return -(-field // multiple) * multiple
        length *= 2
    wanted, got = "a network whose outputs see a bounded part of the patch", f"{network}, which sees all of {LONGEST} voxels"
    raise WeightsError("reach-unbounded", wanted, got, "blend patches instead: --window gaussian")


def _seen(network: str, config: dict[str, Any], multiple: int, axis: int, length: int) -> int | None:
    """The reach, where a line of ``length`` voxels is long enough to show it."""
    import torch

    length -= length % multiple
    shape = [2 * multiple] * 3
    shape[axis] = length
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = torch.rand(1, config.get("in_channels", 1), *shape, dtype=torch.float64, requires_grad=True)
        output = build(network, config).double()(image)
    middle = length // 2 - length // 2 % multiple
    output.narrow(axis + 2, middle, multiple).sum().backward()
    assert image.grad is not None  # noqa: S101 - of a leaf that was asked for it
    others = [dim for dim in range(5) if dim != axis + 2]
    touched = image.grad.abs().amax(others).nonzero()[:, 0]
    first, last = int(touched[0]), int(touched[-1])
    return None if first == 0 or last == length - 1 else max(middle - first, last + 1 - middle - multiple)
