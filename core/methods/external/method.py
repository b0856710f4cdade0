"""A program of others as a method: the scan goes out as NIfTI, what comes back is checked and brought onto the target grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from core.errors import InputError, RestorationError
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.geometry.tiles import Tile, Tiling, volume
from core.io import nifti, readers
from core.methods.base import Measured, Method, MethodSettings
from core.methods.external.program import Program, read_program
from core.models.domain import Domain
from core.settings.scans import TilingSettings


class ProgramSettings(MethodSettings):
    """Settings of a call."""

    program: str | None = Field(
        None, title="Program", description="a program that isovox knows, or a YAML file of your own; default: the method's"
    )
    minutes: float | None = Field(None, gt=0, title="Minutes", description="that it may take a scan; default: the program's")
    memory: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        title="Memory",
        description="GiB that each of its processes may take; default: the program's",
    )


class External(Method):
    """Any program, by its YAML file."""

    name: ClassVar[str] = "external"
    Settings: ClassVar[type[MethodSettings]] = ProgramSettings
    known: ClassVar[str] = ""  # the program that it calls where none is said
    bytes_per_voxel: ClassVar[float] = 24.0
    voxels_per_second: ClassVar[float] = 1e4
    settings: ProgramSettings

    @cached_property
    def program(self) -> Program:
        """What is called, within which limits.

        Raises:
            SettingsError: program-unknown, program-unreadable.
        """
        limits = self.settings.model_dump(include={"minutes", "memory"}, exclude_none=True)
        return read_program(self.settings.program or self.known).model_copy(update=limits)

    @cached_property
    def domain(self) -> Domain:
        """The scans that the program is for, as its file says."""
        return self.program.domain

    @property
    def keeps_contrast(self) -> bool:
        """See ``Method.keeps_contrast``; as the program's file says."""
        return self.program.keeps_contrast

    @cached_property
    def depends_on(self) -> dict[str, Any]:
        """The program's file and version: a scan is restored anew where either changes.

        Raises:
            RestorationError: program-missing.
        """
        called = self.program.model_dump(mode="json", exclude={"minutes", "memory", "install", "title"}, exclude_defaults=True)
        return {"program": called, "version": self.program.tell_version()}

    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:  # noqa: ARG002
        """The whole volume: nobody knows what a program looks at."""
        return volume(target.shape)

    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:  # noqa: ARG002
        """The whole scan."""
        return Box.whole(source.shape)

    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """Call the program with the scan; see ``Method.restore``."""
        (scan,) = measured
        if scan.image.min() == scan.image.max():  # nothing to restore, and the gate would refuse what came back
            return [np.full(target.shape, scan.image.flat[0], np.float32)]
        with TemporaryDirectory(prefix="isovox-", ignore_cleanup_errors=True) as name:  # a container may write as root
            folder = Path(name)
            self._write(scan, target, folder)
            path = self.program.run(folder, {"thickness": _thickness(scan)})
            image, grid = self._read(path)
        self._check_place(grid, scan, target)
        return [interpolate(image, grid, target, 3)]

    def _write(self, scan: Measured, target: Grid, folder: Path) -> None:
        image, grid = np.ascontiguousarray(scan.image), scan.grid
        if self.program.interpolated:
            image, grid = interpolate(image, grid, target, 3), target
        path = folder / self.program.input
        path.parent.mkdir(parents=True, exist_ok=True)
        nifti.save(str(path), image, grid)

    def _read(self, path: Path) -> tuple[Array, Grid]:
        """What the program wrote: through the gate that scans come in by."""
        try:
            image, grid, _ = readers.load_at(str(path), "sform")
        except InputError as error:
            wanted, remedy = f"a finite image of three axes from {self.program.title}", "look at what the program wrote"
            raise RestorationError("program-output", wanted, str(error), remedy) from error
        return image, grid

    def _check_place(self, grid: Grid, scan: Measured, target: Grid) -> None:
        """Refuse an image that does not cover the target but for a slice at its ends."""
        corners = target.voxel(grid.corners())
        slack = max(scan.grid.spacing) / np.array(target.spacing)
        low, high = corners.min(axis=0), corners.max(axis=0)
        if (low > slack - 0.5).any() or (high < np.array(target.shape) - 0.5 - slack).any():
            wanted = f"an image of {self.program.title} that covers the scan"
            got = f"voxels {np.round(low).tolist()} to {np.round(high).tolist()} of {list(target.shape)}"
            raise RestorationError("program-elsewhere", wanted, got, "look at what the program crops, or which axes it turns")


class EclareProgram(External):
    """ECLARE."""

    name: ClassVar[str] = "eclare"
    known: ClassVar[str] = "eclare"
    voxels_per_second: ClassVar[float] = 400.0


class SynthSrProgram(External):
    """SynthSR of FreeSurfer."""

    name: ClassVar[str] = "synthsr"
    known: ClassVar[str] = "synthsr"


class SuperSynthProgram(External):
    """SuperSynth of FreeSurfer."""

    name: ClassVar[str] = "supersynth"
    known: ClassVar[str] = "supersynth"


class BmeXProgram(External):
    """BME-X."""

    name: ClassVar[str] = "bme-x"
    known: ClassVar[str] = "bme-x"


def _thickness(scan: Measured) -> str:
    """Width of the slices over the voxel size within them."""
    axis = scan.grid.slice_axis
    spacing, (_, gap) = scan.grid.spacing, scan.forward.slices
    if axis is None:
        return "1"
    return f"{spacing[axis] * (1 - gap) / min(spacing):.6g}"
