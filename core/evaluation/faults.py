"""Faults that are planted in restored scans, to learn which of them the checks of ``core.engine.quality`` find.

A fault is a change of the restored image x to x + d, or of the scan that it is held against, y to y + e (a lesion that the scan
has and the image lacks). How much a perfect check could see of it is ||A d|| / s, or ||e|| / s, with the scan's noise s: what
lies in the null space of A has 0 of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid
from core.methods.base import Measured
from core.stats import head_threshold

LOW, HIGH = 0.1, 0.4  # brightness of lesions, of the distance between head and air
SIZES = (4, 6, 8, 12)  # their diameters, mm
SEAM = 32  # voxels of the blocks whose gains differ
SIGMA = 2.3548200450309493  # full widths at half maximum to standard deviations


@dataclass(frozen=True)
class Scene:
    """A scan and what a method made of it.

    Attributes:
        measured: the scan.
        image: float32, restored.
        target: its grid, parallel to the scan's.
        other: another person's sharp scan on ``target``; None where there is none.
        seed: of places and noise.
    """

    measured: Measured
    image: Array
    target: Grid
    other: Array | None = None
    seed: int = 0

    @property
    def draw(self) -> np.random.Generator:
        """What places and noise are drawn from; the same for each fault."""
        return np.random.default_rng(self.seed)

    @cached_property
    def axis(self) -> int:
        """Across the slices."""
        steps = [there / here for there, here in zip(self.measured.grid.spacing, self.target.spacing, strict=True)]
        return int(np.argmax(steps))

    @cached_property
    def thick(self) -> int:
        """Planes of the image to a slice, about."""
        return max(1, round(self.measured.grid.spacing[self.axis] / self.target.spacing[self.axis]))

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """The head, 8 mm and more below its surface where it is that thick."""
        from scipy.ndimage import binary_erosion, binary_fill_holes, generate_binary_structure

        head = binary_fill_holes(self.image > head_threshold(self.measured.image, self.measured.stats))
        deep = binary_erosion(head, generate_binary_structure(3, 1), round(8 / min(self.target.spacing)))
        return np.asarray(deep if deep.any() else head)

    def ball(self, diameter: float) -> Array:
        """1 within a sphere at a place drawn within the head, 0 elsewhere; its edge is a voxel wide."""
        places = np.argwhere(self.inside)
        centre = places[self.draw.integers(len(places))]
        lines = ((np.arange(n) - at) * step for n, at, step in zip(self.target.shape, centre, self.target.spacing, strict=True))
        x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)
        edge = min(self.target.spacing)
        return np.asarray(np.clip((diameter / 2 - np.sqrt(x**2 + y**2 + z**2)) / edge + 0.5, 0, 1), np.float32)

    @cached_property
    def slice(self) -> int:
        """First plane of a slice in the middle third of the head, drawn."""
        planes = np.flatnonzero(np.moveaxis(self.inside, self.axis, 0).any(axis=(1, 2)))
        first, last = planes[len(planes) // 3], planes[2 * len(planes) // 3]
        at = int(self.draw.integers(first, last + 1))
        return at // self.thick * self.thick


Changed = tuple[Array, Array]  # the image, and the scan that it is held against


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: in tables of figures.
        title: for readers.
        plant: of a scene to the image and the scan with the fault.
        needs_other: whether it wants another person's scan.
    """

    name: str
    title: str
    plant: Callable[[Scene], Changed]
    needs_other: bool = False


def _of_image(change: Callable[[Scene], Array]) -> Callable[[Scene], Changed]:
    return lambda scene: (np.asarray(change(scene), np.float32), scene.measured.image)


def _shift(scene: Scene, mm: float, across: bool) -> Array:  # noqa: FBT001 - of the table below
    from scipy.ndimage import shift

    axis = scene.axis if across else (scene.axis + 1) % 3
    steps = [mm / scene.target.spacing[at] if at == axis else 0.0 for at in range(3)]
    return np.asarray(shift(scene.image, steps, order=3, mode="nearest"))


def _gamma(scene: Scene, power: float) -> Array:
    upper = max(scene.measured.stats.upper, 1e-6)
    return np.asarray(upper * np.maximum(scene.image / upper, 0) ** power, np.float32)


def _blur(scene: Scene, mm: float) -> Array:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(scene.image, [mm / SIGMA / step for step in scene.target.spacing]))


def _noise(scene: Scene, sds: float) -> Array:
    noise = scene.draw.standard_normal(scene.image.shape, np.float32)
    return scene.image + np.float32(sds * scene.measured.stats.noise_sd) * noise


def _levels(scene: Scene, count: int) -> Array:
    step = max(scene.measured.stats.upper, 1e-6) / count
    return np.asarray(np.round(scene.image / step) * step, np.float32)


def _flipped(scene: Scene, code: str) -> Array:
    axis = next(at for at, name in enumerate(scene.target.codes) if name in code)
    return np.flip(scene.image, axis)


def _planes(scene: Scene, change: Callable[[Array, int, int], None]) -> Array:
    """The image after a change of its planes, in order across the slices: where a slice begins and how many it has."""
    image = scene.image.copy()
    change(np.moveaxis(image, scene.axis, 0), scene.slice, scene.thick)
    return image


def _repeated(planes: Array, at: int, thick: int) -> None:
    planes[at : at + thick] = planes[at + thick : at + 2 * thick]


def _swapped(planes: Array, at: int, thick: int) -> None:
    first = planes[at : at + thick].copy()
    planes[at : at + thick] = planes[at + thick : at + 2 * thick]
    planes[at + thick : at + 2 * thick] = first


def _missing(planes: Array, at: int, thick: int) -> None:
    planes[at : at + thick] = 0


def _one_plane(planes: Array, at: int, thick: int) -> None:
    planes[at + thick // 2] = planes[at + thick // 2 + 1]


def _dimmed(planes: Array, at: int, thick: int) -> None:
    planes[at : at + thick] *= np.float32(0.95)


def _stripes(planes: Array, at: int, thick: int) -> None:  # noqa: ARG001 - all slices
    """Planes of a slice brighter and darker in turn, so that each slice's mean stays, about."""
    signs = np.array([(-1) ** n * (n < thick // 2 * 2) for n in range(thick)], np.float32)
    pattern = np.resize(signs, len(planes))
    planes *= 1 + np.float32(0.1) * pattern[:, None, None]


def _seams(scene: Scene) -> Array:
    """Blocks 3 % brighter and darker in turn, as of tiles that were scaled each for itself."""
    x, y, z = np.ix_(*(np.arange(n) // SEAM for n in scene.image.shape))
    return np.asarray(scene.image * (0.97 + 0.06 * ((x + y + z) % 2)), np.float32)


def _clipped(scene: Scene) -> Array:
    return np.minimum(scene.image, 0.75 * scene.measured.stats.upper)


def _other(scene: Scene) -> Array:
    """Another person's scan, as bright as this one on average."""
    assert scene.other is not None  # noqa: S101 - those who plant it look
    return np.asarray(scene.other * (scene.image.mean() / max(float(scene.other.mean()), 1e-6)), np.float32)


def _invented(scene: Scene, mm: float, contrast: float) -> Array:
    return scene.image + np.float32(contrast * scene.measured.stats.contrast) * scene.ball(mm)


def _erased(scene: Scene, mm: float, contrast: float) -> Changed:
    """The scan has a lesion that the image lacks."""
    lesion = np.float32(contrast * scene.measured.stats.contrast) * scene.ball(mm)
    return scene.image, np.asarray(scene.measured.image + scene.measured.operator(scene.target).forward(lesion), np.float32)


def _lesions() -> list[Fault]:
    kinds = (("low", LOW), ("high", HIGH))
    made = []
    for mm in SIZES:
        for word, contrast in kinds:
            invent = _of_image(partial(_invented, mm=mm, contrast=contrast))
            made.append(Fault(f"invented-{mm}-{word}", f"lesion of {mm} mm invented, {word} contrast", invent))
            erase = partial(_erased, mm=mm, contrast=contrast)
            made.append(Fault(f"erased-{mm}-{word}", f"lesion of {mm} mm erased, {word} contrast", erase))
    return made


FAULTS: tuple[Fault, ...] = (
    Fault("shift-1-in", "shifted 1 mm within the slices", _of_image(partial(_shift, mm=1.0, across=False))),
    Fault("shift-1-across", "shifted 1 mm across the slices", _of_image(partial(_shift, mm=1.0, across=True))),
    Fault("shift-0.25-across", "shifted 0.25 mm across the slices", _of_image(partial(_shift, mm=0.25, across=True))),
    Fault("gain-1.1", "gain 1.1", _of_image(lambda scene: scene.image * 1.1)),
    Fault("gain-1.02", "gain 1.02", _of_image(lambda scene: scene.image * 1.02)),
    Fault("gamma-0.9", "gamma 0.9", _of_image(partial(_gamma, power=0.9))),
    Fault("blur-2", "blur, 2 mm FWHM", _of_image(partial(_blur, mm=2.0))),
    Fault("blur-4", "blur, 4 mm FWHM", _of_image(partial(_blur, mm=4.0))),
    Fault("noise-2", "noise of 2 SD", _of_image(partial(_noise, sds=2.0))),
    Fault("noise-5", "noise of 5 SD", _of_image(partial(_noise, sds=5.0))),
    Fault("levels-8", "8 grey levels", _of_image(partial(_levels, count=8))),
    Fault("levels-32", "32 grey levels", _of_image(partial(_levels, count=32))),
    Fault("flip-left-right", "left and right flipped", _of_image(partial(_flipped, code="RL"))),
    Fault("flip-front-back", "front and back flipped", _of_image(partial(_flipped, code="AP"))),
    Fault("flip-up-down", "up and down flipped", _of_image(partial(_flipped, code="SI"))),
    Fault("inverted", "contrast inverted", _of_image(lambda scene: scene.measured.stats.upper - scene.image)),
    Fault("slice-repeated", "a slice repeated", _of_image(partial(_planes, change=_repeated))),
    Fault("slices-swapped", "two slices swapped", _of_image(partial(_planes, change=_swapped))),
    Fault("slice-missing", "a slice missing", _of_image(partial(_planes, change=_missing))),
    Fault("slice-dimmed", "a slice 5 % darker", _of_image(partial(_planes, change=_dimmed))),
    Fault("plane-repeated", "a plane within a slice repeated", _of_image(partial(_planes, change=_one_plane))),
    *_lesions(),
    Fault("seams", "blocks 3 % brighter and darker in turn", _of_image(_seams)),
    Fault("clipped", "clipped at 3/4 of the range", _of_image(_clipped)),
    Fault("other", "another person's scan", _of_image(_other), needs_other=True),
    Fault("stripes", "stripes within the slices, 10 %", _of_image(partial(_planes, change=_stripes))),
)


def size(scene: Scene, image: Array, scan: Array) -> float:
    """How much of a fault a perfect check could see: the norm of its change of A x - y, in standard deviations of the noise.

    Args:
        scene: without the fault.
        image: with it.
        scan: with it.
    """
    change = scene.measured.operator(scene.target).forward(np.asarray(image - scene.image, np.float32))
    change = change - (scan - scene.measured.image)
    return float(np.sqrt(np.square(change, dtype=np.float64).sum())) / scene.measured.stats.noise_sd


TITLES: Mapping[str, str] = {fault.name: fault.title for fault in FAULTS}
