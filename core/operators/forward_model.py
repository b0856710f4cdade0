"""How a scan came from the anatomy: one value, of one of nine kinds, for all who make, restore, train on or check scans.

kind          the scan is                                                                      source
slice-profile thick slices: averages over a slice by its profile, with a gap                   Brudfors et al. 2018
slice-mask    slices that were dropped: of ``factor`` thin ones the first is kept              InverseSR, section 3.3
in-plane      within the slices an antialiased reduction by one of five kernels                SRMRI, section 3.2
k-space       one phase-encoding line in ``factor`` and the centre, zero-filled                Cartesian undersampling
low-field     thick slices, another contrast, noise                                            Lin et al. 2023
scanner       brightness by tissue, bias field, transfer function, voxels, noise               see ``scanner``
bsrgan-light  within each slice blurred, 4 times coarser, noisy, compressed, as drawn          see ``bsrgan_light``
lesion-mask   the anatomy but for the voxels of a mask                                         InverseSR, figure 3
none          the anatomy

```
sharp axis, factor 4     | x x x x | x x x x | x x     the last two voxels fill no slice: they are left out
slice-profile, low-field |    o    |    o    |         a slice is an average over its thickness, centred on it
slice-mask               | o       | o       |         a slice is the first of its four voxels
```

All act along single axes, so the columns of an image that run along them are degraded alike, whether alone or together.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import Field, TypeAdapter, model_validator

from core.errors import GridError, UsageError
from core.geometry.grid import Array, Box, Centres, Grid, Triple
from core.operators.bsrgan_light import BsrganLight
from core.operators.forward import Beside, Forward, filled
from core.operators.kernels import Kernel, kernel_matrix
from core.operators.kspace import zero_filled_matrix
from core.operators.linear import Mask, Matrix, Separable, apply_axis
from core.operators.profile import FINEST, Profile, gap_in_words, profile_matrix
from core.operators.scanner import Scanner

if TYPE_CHECKING:
    from core.tissues import Tissues


class _ThickSlices(Forward):
    """Slices that are averages over their thickness."""

    slice_profile: Profile = "box"
    slice_gap: float = Field(0.0, ge=0.0, lt=1.0)
    factor: int | None = Field(None, ge=2)  # sharp voxels from slice to slice; None for scans that no one simulated

    def factors(self, axis: int) -> Triple:
        """See ``Forward.factors``."""
        if self.factor is None:
            wanted = "how many sharp voxels there are from slice to slice"
            raise UsageError("factor-missing", wanted, "none", "name the factor of the degradation")
        x, y, z = (self.factor if at == axis else 1 for at in range(3))
        return x, y, z

    def acquired(self, voxel: float) -> dict[str, float]:
        """See ``Forward.acquired``."""
        distance = (self.factor or 1) * voxel
        return {"SliceThickness": round(distance * (1 - self.slice_gap), 4), "SpacingBetweenSlices": round(distance, 4)}

    @property
    def slices(self) -> tuple[Profile, float]:
        """See ``Forward.slices``."""
        return self.slice_profile, self.slice_gap

    def _said(self) -> str:
        """The slices in words."""
        return (
            f"{self.slice_profile} slices"
            + _times(self.factor)
            + (f", with {gap_in_words(self.slice_gap)}" if self.slice_gap else "")
        )


def _times(factor: int | None) -> str:
    return f", ×{factor}" if factor else ""


class SliceProfile(_ThickSlices):
    """Thick slices. The profile "point" is that of slices that were dropped, by a factor that nobody told."""

    kind: Literal["slice-profile"] = "slice-profile"

    @property
    def centres(self) -> Centres:
        """See ``Forward.centres``."""
        return "decimation" if self.slice_profile == "point" else "profile"

    def describe(self) -> str:
        """See ``Forward.describe``."""
        return self._said()

    def digested(self) -> dict[str, Any]:
        """Profile and gap, and the axis only where it is not the coarsest: what digests held before there were other kinds."""
        fields = {"slice_profile": self.slice_profile, "slice_gap": self.slice_gap}
        return fields if self.axis is None else fields | {"axis": self.axis}


class DroppedSlices(Forward):
    """One thin slice in ``factor``, from slice number ``phase`` on; the others were never measured."""

    kind: Literal["slice-mask"] = "slice-mask"
    factor: int = Field(ge=2)
    phase: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _phase_within(self) -> DroppedSlices:
        if self.phase >= self.factor:
            raise ValueError(f"expected a phase below the factor {self.factor}, but got {self.phase}. Count slices from 0.")
        return self

    @property
    def centres(self) -> Centres:
        """See ``Forward.centres``."""
        return "decimation"

    def factors(self, axis: int) -> Triple:
        """See ``Forward.factors``."""
        x, y, z = (self.factor if at == axis else 1 for at in range(3))
        return x, y, z

    def acquired(self, voxel: float) -> dict[str, float]:
        """See ``Forward.acquired``."""
        return {"SliceThickness": round(voxel, 4), "SpacingBetweenSlices": round(self.factor * voxel, 4)}

    def describe(self) -> str:
        """See ``Forward.describe``."""
        return "dropped slices" + _times(self.factor) + (f", from slice {self.phase}" if self.phase else "")

    @property
    def slices(self) -> tuple[Profile, float]:
        """See ``Forward.slices``."""
        return "point", 0.0

    def _first(self, factor: int, *, across: bool) -> float:  # noqa: ARG002
        return float(self.phase)

    def _coarser(self, grid: Grid, axis: int, factor: int, *, across: bool) -> Grid:  # noqa: ARG002
        count = filled(grid, axis, factor).shape[axis] // factor
        start, stop = [0, 0, 0], list(grid.shape)
        start[axis], stop[axis] = self.phase, self.phase + (count - 1) * factor + 1
        part = grid.crop(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))
        return part.refine(axis, Fraction(1, factor), "decimation")


class InPlane(Forward):
    """Coarser within the slices, by ``factor`` along both of their axes.

    Across them nothing changes, or one thin slice in ``every`` is kept from the first on, and the others were never measured.
    """

    kind: Literal["in-plane"] = "in-plane"
    kernel: Kernel = "bicubic"
    factor: int = Field(2, ge=2)
    every: int | None = Field(None, ge=2)

    def factors(self, axis: int) -> Triple:
        """See ``Forward.factors``."""
        x, y, z = ((self.every or 1) if at == axis else self.factor for at in range(3))
        return x, y, z

    @property
    def slices(self) -> tuple[Profile, float]:
        """See ``Forward.slices``."""
        return ("point", 0.0) if self.every else super().slices

    def acquired(self, voxel: float) -> dict[str, float]:
        """See ``Forward.acquired``."""
        return DroppedSlices(factor=self.every).acquired(voxel) if self.every else {}

    def describe(self) -> str:
        """See ``Forward.describe``."""
        kept = f", one slice in {self.every} kept" if self.every else ""
        return f"reduced within the slices by the {self.kernel} kernel" + _times(self.factor) + kept

    def averaged(self, grid: Grid) -> tuple[int, ...]:
        """See ``Forward.averaged``: those within the slices."""
        return tuple(at for at in range(3) if at != self._slices(grid))

    def _rows(self, n_target: int, n_source: int, scale: float, offset: float, *, across: bool) -> Matrix:
        if across or scale <= FINEST:
            return profile_matrix(n_target, n_source, scale, offset, self.slices[0] if across else "box")
        return kernel_matrix(n_target, n_source, scale, offset, self.kernel)

    def _first(self, factor: int, *, across: bool) -> float:
        return 0.0 if across else super()._first(factor, across=across)

    def _coarser(self, grid: Grid, axis: int, factor: int, *, across: bool) -> Grid:
        if across:
            return DroppedSlices(factor=factor).degraded_grid(grid, axis)
        return super()._coarser(grid, axis, factor, across=across)


class KSpace(Forward):
    """Of every ``factor`` phase-encoding lines one was measured, and all about the centre; the rest is filled with zeros.

    Images are magnitudes: ``degrade`` takes the absolute value of A x, which differs from it only where ringing dips below 0.
    """

    magnitude: ClassVar[bool] = True
    local: ClassVar[bool] = False

    kind: Literal["k-space"] = "k-space"
    factor: int = Field(4, ge=2)
    centre: float = Field(0.08, ge=0.0, le=1.0)

    def describe(self) -> str:
        """See ``Forward.describe``."""
        along = f" along {self.axis}" if self.axis else ""
        return f"k-space lines left out{along}{_times(self.factor)}, all of the central {100 * self.centre:.3g} %"

    @property
    def sampled(self) -> float:
        """See ``Forward.sampled``."""
        return self.centre + (1 - self.centre) / self.factor

    def _slices(self, grid: Grid) -> int | None:
        return grid.slice_axis

    def _between(self, source: Grid, target: Grid) -> Separable:
        matrices = list(super()._between(source, target).matrices)
        at = self._acts_on(source)
        if at is None:
            wanted = "the phase-encoding axis of a scan whose voxels are cubes"
            raise GridError("axis-missing", wanted, "none", "name the axis of the forward model: R, A or S")
        matrices[at] = zero_filled_matrix(source.shape[at], self.factor, self.centre) @ matrices[at]
        return Separable((matrices[0], matrices[1], matrices[2]))

    def _measure(self, image: Array, axis: int, draw: np.random.Generator, beside: Beside) -> tuple[Array, dict[str, Any]]:  # noqa: ARG002
        return np.abs(apply_axis(zero_filled_matrix(image.shape[axis], self.factor, self.centre), image, axis)), {}


class LowField(_ThickSlices):
    """Low field as in Lin et al. 2023 (see ``low_field``): its A is the slices' alone; contrast and noise are drawn beside it."""

    linear: ClassVar[bool] = False
    needs_tissues: ClassVar[bool] = True
    kind: Literal["low-field"] = "low-field"
    slice_profile: Profile = "gaussian"
    slice_gap: float = Field(0.25, ge=0.0, lt=1.0)
    contrast: Literal["T1w", "FLAIR"] = "T1w"

    def describe(self) -> str:
        """See ``Forward.describe``."""
        return f"low field, {self.contrast}, {self._said()}"

    def on_slices(self, tissues: Tissues, image: Array, grid: Grid, axis: int, maps: Array | None = None) -> Tissues:
        """The tissues as bright as they are on the slices, where the noise is told (Lin et al. 2023 simulate it there).

        Args:
            tissues: of the whole sharp scan.
            image: that scan, not a crop of it.
            grid: of the scan.
            axis: across the slices.
            maps: see ``Beside``.

        Raises:
            GridError: as ``degraded_grid``.
        """
        from core.tissues import GM, WM

        self.degraded_grid(grid, axis)
        thick = self._reduced(image, axis)
        shares = [tissues.share(image, tissue) if maps is None else maps[tissue] for tissue in (GM, WM)]
        grey, white = (_pure(thick, self._reduced(share, axis)) / _pure(image, share) for share in shares)
        return replace(tissues, gm_mean=tissues.gm_mean * grey, wm_mean=tissues.wm_mean * white)

    def _measure(self, image: Array, axis: int, draw: np.random.Generator, beside: Beside) -> tuple[Array, dict[str, Any]]:
        from core.operators.low_field import changed_tissue, draw_snr, low_field, noise_sd

        if beside.tissues is None:
            raise UsageError("tissues-missing", "the tissues of the scan", "none", "fit them with Tissues.fit")
        tissue = changed_tissue(self.contrast)
        snr = draw_snr(self.contrast, draw)
        sd = noise_sd(beside.tissues, self.contrast, snr)
        share = beside.tissues.share(image, tissue) if beside.maps is None else beside.maps[tissue]
        thick, changed = self._reduced(image, axis), self._reduced(share, axis)
        mean = low_field(thick, changed, self.contrast, snr, beside.tissues)
        noise = draw.standard_normal(mean.shape, np.float32)
        return mean + np.float32(sd) * noise, {"SNR": {"WM": snr[0], "GM": snr[1]}, "NoiseSD": sd}


def _pure(image: Array, share: Array) -> float:
    """Mean where a tissue fills nine tenths of a voxel, or as much as of its fullest voxels."""
    from core.tissues import SURE

    return float(image[share >= min(SURE, float(share.max()))].mean(dtype=np.float64))


class LesionMask(Forward):
    """Sharp, but for voxels that were not measured: a lesion that is to be filled. The mask lies beside the scan."""

    needs_mask: ClassVar[bool] = True

    kind: Literal["lesion-mask"] = "lesion-mask"

    def describe(self) -> str:
        """See ``Forward.describe``."""
        return "voxels in a mask left out"

    def _measure(self, image: Array, axis: int, draw: np.random.Generator, beside: Beside) -> tuple[Array, dict[str, Any]]:  # noqa: ARG002
        if beside.mask is None:
            raise GridError("mask-missing", f"the mask of a scan of kind {self.kind}", "none", "give the mask beside the scan")
        x, y, z = image.shape
        return Mask(~beside.mask, (x, y, z)).forward(image), {}


class Identity(Forward):
    """Nothing came between: the scan is the anatomy."""

    kind: Literal["none"] = "none"

    def describe(self) -> str:
        """See ``Forward.describe``."""
        return "as the anatomy"


ForwardModel = Annotated[
    SliceProfile | DroppedSlices | InPlane | KSpace | LowField | Scanner | BsrganLight | LesionMask | Identity,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[Forward]] = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(ForwardModel)[0])}
_ADAPTER: TypeAdapter[ForwardModel] = TypeAdapter(ForwardModel)


def forward_of(value: dict[str, Any]) -> ForwardModel:
    """The forward model of a JSON value with its ``kind`` (without one, a slice profile: see ``Forward.digested``).

    Raises:
        pydantic.ValidationError: for an unknown kind or a field that cannot be.
    """
    return _ADAPTER.validate_python({"kind": "slice-profile"} | value)
