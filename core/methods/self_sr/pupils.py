"""Who learns: a network that knows many scans already, or one that knows none. Each has a volume to learn from."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.methods.anyscan.inputs import Units, network_inputs, slab_grid, slices_of
from core.methods.anyscan.method import AnyScan, AnyScanSettings
from core.methods.base import Measured
from core.methods.patch_network import Network
from core.methods.self_sr import planes


class Pupil(ABC):
    """A network, and how it is used."""

    planar: ClassVar[bool]  # whether it works in planes
    steps: ClassVar[int]  # of Adam, where no number is said
    batch: ClassVar[int]  # patches a step
    before: ClassVar[str]  # what restores a scan where nothing was learnt, in words

    @property
    @abstractmethod
    def device(self) -> str:
        """Where it computes."""

    @abstractmethod
    def volume(self, scan: Measured, target: Grid) -> Array:
        """What it learns from: float32 in the scan's unit."""

    @abstractmethod
    def fresh(self) -> nn.Module:
        """The network as it begins, on ``device``; the same each time."""

    @abstractmethod
    def ordered(self, array: Array, axis: int, across: int) -> Array:
        """A patch (channels, x, y, z) as the network is shown it, degraded along ``across``; ``axis`` is that of the slices."""

    @abstractmethod
    def shown_on(self, source: Grid, patch: Grid) -> Grid:
        """The grid that it works on to restore a patch of the grid of a scan."""

    @abstractmethod
    def rate(self, made: int, steps: int) -> float:
        """Of Adam after ``made`` of ``steps``."""

    @abstractmethod
    def restored(self, network: nn.Module, scan: Measured, target: Grid) -> Array:
        """The scan as the network restores it, float32 in the scan's unit."""

    @abstractmethod
    def untaught(self, volume: Array, scan: Measured, target: Grid) -> Array:
        """The scan as the network restores it that has learnt nothing."""

    def image(self, network: nn.Module, shown: Tensor) -> Tensor:
        """What the network makes of patches; the image alone."""
        output: Tensor = network(shown.to(self.device))
        return output[:, :1]


class _Fitted(AnyScan):
    """The method with a network of its own in the place of its model's."""

    def __init__(self, settings: AnyScanSettings, network: nn.Module) -> None:
        super().__init__(settings)
        self._fitted = network

    def _unflipped(self) -> Network:
        return self._fitted


class Experienced(Pupil):
    """Begins with a model's weights, and with what that model makes of the scan.

    Args:
        model: its folder.
    """

    planar: ClassVar[bool] = False
    steps: ClassVar[int] = 150
    batch: ClassVar[int] = 4
    before: ClassVar[str] = "the any-scan network as it was"

    def __init__(self, model: str) -> None:
        self._settings = AnyScanSettings.model_validate({"model": model})

    @cached_property
    def _method(self) -> AnyScan:
        return AnyScan(self._settings)

    @property
    def device(self) -> str:
        """See ``Pupil.device``."""
        return self._method.device

    def volume(self, scan: Measured, target: Grid) -> Array:
        """The scan as the model restores it."""
        from core.engine.restore import restore_whole

        return restore_whole(self._method, [scan], target)

    def fresh(self) -> nn.Module:
        """A copy of the model's network."""
        from core.models.cache import load_network

        spec = self._method.spec
        return copy.deepcopy(load_network(self._settings.model, spec, self.device)).requires_grad_()

    def ordered(self, array: Array, axis: int, across: int) -> Array:  # noqa: ARG002 - of planes alone
        """Slices last."""
        order = {0: (1, 2, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[across]
        return array.transpose(0, *(1 + at for at in order))

    def shown_on(self, source: Grid, patch: Grid) -> Grid:
        """That of the slices."""
        return slab_grid(source, patch)

    def rate(self, made: int, steps: int) -> float:  # noqa: ARG002
        """Small: the network knows much already."""
        return 1e-4

    def restored(self, network: nn.Module, scan: Measured, target: Grid) -> Array:
        """See ``Pupil.restored``."""
        from core.engine.restore import restore_whole

        return restore_whole(_Fitted(self._settings, network), [scan], target)

    def untaught(self, volume: Array, scan: Measured, target: Grid) -> Array:  # noqa: ARG002
        """The volume as it was."""
        return volume


class Beginner(Pupil):
    """Begins with random weights, and learns on the measured slices alone."""

    planar: ClassVar[bool] = True
    steps: ClassVar[int] = 1500
    batch: ClassVar[int] = 16
    before: ClassVar[str] = "cubic interpolation with its smooth correction"

    @cached_property
    def device(self) -> str:
        """The GPU where there is one."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    def volume(self, scan: Measured, target: Grid) -> Array:
        """The slices, with the target's voxels within them."""
        grid, axis = scan.grid, slices_of(scan.grid)
        for at in {0, 1, 2} - {axis}:
            grid = grid.with_axis(target, at)
        return interpolate(scan.image, scan.grid, grid, 3)

    def fresh(self) -> nn.Module:
        """Seeded weights."""
        return planes.seeded().to(self.device)

    def ordered(self, array: Array, axis: int, across: int) -> Array:
        """The one plane of the patch, degraded along its last axis."""
        other = next(at for at in range(3) if at not in {axis, across})
        return array.transpose(0, 1 + axis, 1 + other, 1 + across)[: planes.SHOWN, 0]

    def shown_on(self, source: Grid, patch: Grid) -> Grid:  # noqa: ARG002
        """The patch's own."""
        return patch

    def rate(self, made: int, steps: int) -> float:
        """From 2e-3, falling by a cosine."""
        return 1e-3 * (1 + math.cos(math.pi * made / steps))

    def restored(self, network: nn.Module, scan: Measured, target: Grid) -> Array:
        """See ``Pupil.restored``."""
        units = Units.of(scan.stats)
        channels = network_inputs(scan.image, scan.grid, target, scan.forward, units)
        image = planes.restored(network, channels, slices_of(scan.grid), self.device)
        return np.ascontiguousarray(image * np.float32(units.scale) + np.float32(units.background))

    def untaught(self, volume: Array, scan: Measured, target: Grid) -> Array:  # noqa: ARG002
        """The interpolation with its smooth correction."""
        units = Units.of(scan.stats)
        channels = network_inputs(scan.image, scan.grid, target, scan.forward, units)
        repaired = channels[0] + channels[1]
        return np.asarray(repaired * np.float32(units.scale) + np.float32(units.background), np.float32)
