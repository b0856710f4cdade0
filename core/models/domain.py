"""Which scans a model or a method is for, and what disagrees about a scan: the handshake of the plan.

Every field may be left out: what is not stated refuses nothing, and what is not known of a scan is not held against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

from core.errors import WeightsError
from core.geometry.grid import Grid
from core.geometry.slices import across
from core.io import files
from core.operators.forward_model import ForwardModel
from core.settings.base import Settings, wrong

FILE = "domain.json"
ROUNDING = 1e-3  # relative: of voxel sizes in headers
RINGING = 0.05  # of the 99.9th percentile: interpolation leaves values so far below 0, z-scores go further

Anatomy = Literal["brain", "head"]
Orientation = Literal["axial", "coronal", "sagittal"]
NORMALS: dict[str, Orientation] = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "R": "sagittal", "L": "sagittal"}
NAMES = {"head": "whole head", "brain": "skull-stripped brain"}
CONTRASTS = {
    *("T1w", "T2w", "PDw", "FLAIR", "T2starw", "inplaneT1", "inplaneT2", "PDT2", "angio", "UNIT1", "T1rho", "SWI", "swi"),
    *("bold", "sbref", "dwi", "asl", "epi", "MP2RAGE", "MEGRE", "MESE", "T1map", "T2map", "R1map", "PDmap"),
}


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= ends[0] <= ends[1] < math.inf:
        raise ValueError("two numbers, 0 <= least <= most")
    return ends


Range = Annotated[tuple[float, float], AfterValidator(_rising)]  # least and most, both included


class GainCell(Settings):
    """Scans on which a model was held against cubic interpolation, and how it did; see ``core.evaluation.gains``.

    Attributes:
        contrast: as evaluations call it, see ``look_of``; empty where it was not known.
        factor: distance of the slices' centres over the restored voxels' size.
        gap: between slices, as a fraction of their distance.
        gain: in PSNR, dB, mean over persons.
        least: the lower end of its one-sided 95 % interval; None of a single person.
        persons: how many.
    """

    contrast: str
    factor: float
    gap: float
    gain: float
    least: float | None
    persons: int

    @property
    def helps(self) -> bool:
        """Whether the model is better than cubic interpolation there, by all that is known."""
        return (self.gain if self.least is None else self.least) > 0

    def scans(self) -> str:
        """Which scans, in words."""
        return f"{self.contrast} of factor {self.factor:g}, gap {self.gap:g} ({self.persons} persons)".lstrip()

    def told(self) -> str:
        """Gain, its least and the persons, as cells of a table."""
        least = "–" if self.least is None else f"{self.least:+.2f}"
        return f"{self.gain:+.2f} | {least} | {self.persons}"


class Domain(Settings):
    """Scans that a model was trained and tested for.

    Attributes:
        contrasts: BIDS suffixes.
        slice_spacing: distance of the slices' centres, mm.
        slice_thickness: mm.
        slice_gap: between slices, as a fraction of their distance.
        slice_profiles: sensitivity across a slice.
        kinds: of forward models by which scans come from the anatomy.
        factor: distance of the slices' centres over the restored voxels' size.
        in_plane: voxel sizes within the slices, mm.
        plane_factor: voxel sizes within the slices over the restored voxels', of scans that are coarser within them.
        anatomy: skull-stripped brains or whole heads.
        sign: "non-negative" where background is 0, or dark and above it.
        noise: standard deviation, as a fraction of the scan's range, see ``core.models.scaling.values_of``.
        orientations: of the slices; where they are stated scans without slices are refused too.
        voxel_size: of the restored scan, mm: what the model gives.
        tested: where it was held against cubic interpolation: a scan whose nearest cell is no gain is refused.
        persons: how many it has seen; told, nothing is refused by it.
    """

    contrasts: tuple[str, ...] | None = None
    slice_spacing: Range | None = None
    slice_thickness: Range | None = None
    slice_gap: Range | None = None
    slice_profiles: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    factor: Range | None = None
    in_plane: Range | None = None
    plane_factor: Range | None = None
    anatomy: tuple[Anatomy, ...] | None = None
    sign: Literal["non-negative"] | None = None
    noise: Range | None = None
    orientations: tuple[Orientation, ...] | None = None
    voxel_size: Range | None = None
    tested: tuple[GainCell, ...] | None = None
    persons: int | None = None

    @property
    def stated(self) -> bool:
        """Whether it can refuse anything."""
        return any(getattr(self, name) is not None for name in Domain.model_fields if name != "persons")

    @property
    def of_values(self) -> bool:
        """Whether it hangs on a scan's values, for which all of it is read."""
        return self.sign is not None or self.noise is not None


@dataclass(frozen=True)
class Facts:
    """What is known of a scan and of how it would be restored; None where it is not.

    Attributes:
        contrast: BIDS suffix.
        slice_spacing, slice_thickness: mm.
        slice_gap: fraction of the spacing.
        slice_profile: as assumed of the scan.
        kind: of its forward model.
        in_plane: the two voxel sizes within the slices, mm.
        anatomy: as the sidecar says.
        lowest: smallest value over the 99.9th percentile.
        orientation: of the slices; None also where no axis is theirs.
        voxel_size: of the restored scan, mm.
        repaired: whether the result is brought to agree with the scan afterwards.
        agent: contrast agent that the person was given, by the BIDS entity ``ce``.
        pixel: the two voxel sizes within the slices as slice-wise methods see them, mm: the axis across them is that whose slices
            have the pixels nearest to squares, however thin they are.
        noise: standard deviation over the range.
    """

    contrast: str | None = None
    slice_spacing: float | None = None
    slice_thickness: float | None = None
    slice_gap: float | None = None
    slice_profile: str | None = None
    kind: str | None = None
    in_plane: tuple[float, float] | None = None
    anatomy: Anatomy | None = None
    lowest: float | None = None
    orientation: Orientation | None = None
    voxel_size: float | None = None
    repaired: bool = True
    agent: str | None = None
    pixel: tuple[float, float] | None = None
    noise: float | None = None

    @property
    def look(self) -> str | None:
        """The contrast as evaluations call it: with an agent it is another one, see ``look_of``."""
        return look_of(self.contrast, self.agent) if self.contrast else None

    @property
    def sliced(self) -> bool | None:
        """Whether an axis is that of slices; None where the voxel sizes are not known."""
        return None if self.in_plane is None else self.orientation is not None

    @property
    def factor(self) -> float | None:
        """Distance of the slices' centres over the restored voxels' size."""
        return self.slice_spacing / self.voxel_size if self.slice_spacing and self.voxel_size else None

    @property
    def plane_factor(self) -> tuple[float, float] | None:
        """Edges of the slices' pixels over the restored voxels' size."""
        return (self.pixel[0] / self.voxel_size, self.pixel[1] / self.voxel_size) if self.pixel and self.voxel_size else None


def facts_of(
    grid: Grid,
    forward: ForwardModel,
    *,
    voxel_size: float | None = None,
    suffix: str | None = None,
    skull_stripped: bool | None = None,
    lowest: float | None = None,
    noise: float | None = None,
    agent: str | None = None,
) -> Facts:
    """What a scan's header, name and sidecar tell.

    Args:
        grid: of the scan, canonical.
        forward: how it came from the anatomy.
        voxel_size: of the restored scan, mm.
        suffix: of its BIDS name; one that is no contrast of BIDS tells nothing.
        skull_stripped: as its sidecar says.
        lowest: its smallest value over its 99.9th percentile.
        noise: its standard deviation over its range.
        agent: of its BIDS name, ``ce``.
    """
    axis = grid.slice_axis
    first, second, spacing = sorted(grid.spacing) if axis is None else [*_but(grid.spacing, axis), grid.spacing[axis]]
    profile, gap = forward.slices
    return Facts(
        contrast=suffix if suffix in CONTRASTS else None,
        slice_spacing=spacing,
        slice_thickness=None if profile == "point" else spacing * (1 - gap),
        slice_gap=gap,
        slice_profile=profile,
        kind=forward.kind,
        in_plane=(first, second),
        anatomy=None if skull_stripped is None else "brain" if skull_stripped else "head",
        lowest=lowest,
        orientation=None if axis is None else NORMALS[grid.codes[axis]],
        voxel_size=voxel_size,
        agent=agent,
        pixel=_two(_but(grid.spacing, across(grid))),
        noise=noise,
    )


def look_of(suffix: str, agent: str | None) -> str:
    """What a contrast is called that may be due to an agent: "T1w", "ce-gadolinium_T1w".

    Args:
        suffix: of BIDS.
        agent: of the BIDS entity ``ce``; None or empty without.
    """
    return f"ce-{agent}_{suffix}" if agent and suffix else suffix


def _but(spacing: Sequence[float], axis: int) -> list[float]:
    return [size for each, size in enumerate(spacing) if each != axis]


def _two(sizes: Sequence[float]) -> tuple[float, float]:
    first, second = sizes
    return first, second


def disagreements(domain: Domain, facts: Facts) -> list[str]:
    """What of a scan lies outside a domain, by name and figures; empty where nothing does.

    Args:
        domain: of a model or a method.
        facts: of the scan.
    """
    return [*_names(domain, facts), *_figures(domain, facts), *_sign(domain, facts), *_held(domain, facts)]


def _names(domain: Domain, facts: Facts) -> Iterator[str]:
    """Disagreements of what has a name."""
    stated: tuple[tuple[str | None, tuple[str, ...] | None, str], ...] = (
        (facts.contrast, domain.contrasts, "{}"),
        (facts.anatomy, domain.anatomy, "a {}"),
        (facts.slice_profile, domain.slice_profiles, "a {} slice profile"),
        (facts.kind, domain.kinds, "a scan degraded as by {}"),
        (facts.orientation, domain.orientations, "{} slices"),
    )
    for got, allowed, text in stated:
        if got is not None and allowed is not None and got not in allowed:
            names = [NAMES.get(name, name) for name in (got, *allowed)]
            yield f"{text.format(names[0])}; trained for {' or '.join(names[1:])}"


def _figures(domain: Domain, facts: Facts) -> Iterator[str]:
    """Disagreements of what has a size."""
    stated = (
        (facts.slice_spacing, domain.slice_spacing, "slices {} mm apart", "mm"),
        (facts.slice_thickness, domain.slice_thickness, "slices of {} mm", "mm"),
        (facts.slice_gap, domain.slice_gap, "a gap of {} % of the slices' distance", "%"),
        (facts.factor, domain.factor, "a factor of {}", ""),
        (facts.voxel_size, domain.voxel_size, "restored voxels of {} mm", "mm"),
        (facts.noise, domain.noise, "noise of {} of the brightest", ""),
    )
    for size, ends, text, unit in stated:
        if size is not None and ends is not None and not _within(size, ends):
            yield f"{text.format(_number(size, unit))}; trained for {_span(ends, unit)}"
    of_planes = (
        (facts.in_plane, domain.in_plane, "voxels of {} mm within the slices", "mm"),
        (facts.plane_factor, domain.plane_factor, "a factor of {} within the slices", ""),
    )
    for edges, ends, text, unit in of_planes:
        if edges and ends and not all(_within(edge, ends) for edge in edges):
            yield f"{text.format(' x '.join(map(_number, edges)))}; trained for {_span(ends, unit)}"
    if domain.orientations and facts.sliced is False:
        yield f"no slices; trained for {' or '.join(domain.orientations)} ones"


def _sign(domain: Domain, facts: Facts) -> Iterator[str]:
    if domain.sign is not None and facts.lowest is not None and facts.lowest < -RINGING:
        yield f"values down to {facts.lowest:.3g} of the brightest; trained for none below 0"


def _held(domain: Domain, facts: Facts) -> Iterator[str]:
    """What tests against cubic interpolation say of a scan: of the nearest cell, by the logarithm of the factor, then the gap."""
    contrast = facts.look if any(cell.contrast == facts.look for cell in domain.tested or ()) else facts.contrast
    cells = [cell for cell in domain.tested or () if contrast is None or cell.contrast in {"", contrast}]
    if facts.factor is None or not cells:
        return
    factor, gap = facts.factor, facts.slice_gap or 0.0
    nearest = min(cells, key=lambda cell: (round(abs(math.log(cell.factor / factor)), 6), abs(cell.gap - gap)))
    if not nearest.helps:
        yield f"slices like {nearest.scans()}, where it gains {nearest.gain:+.2f} dB over cubic interpolation"


def _within(got: float, allowed: tuple[float, float]) -> bool:
    return allowed[0] - ROUNDING * max(allowed[0], 1) <= got <= allowed[1] + ROUNDING * max(allowed[1], 1)


def _number(value: float, unit: str = "") -> str:
    return f"{100 * value if unit == '%' else value:.3g}"


def _span(ends: tuple[float, float], unit: str) -> str:
    least, most = (_number(end, unit) for end in ends)
    return (least if least == most else f"{least} to {most}") + (f" {unit}" if unit else "")


def statements(domain: Domain) -> list[str]:
    """What a domain states, in words for a line of text: "T1w", "slices of 3.5 to 4.5 mm"; empty where it states nothing."""
    words = (*(domain.contrasts or ()), *(NAMES[part] for part in domain.anatomy or ()), *(domain.orientations or ()))
    figures = (
        (domain.slice_spacing, "slices {} apart", "mm"),
        (domain.slice_thickness, "slices of {}", "mm"),
        (domain.slice_gap, "gaps of {}", "%"),
        (domain.factor, "factor {}", ""),
        (domain.in_plane, "{} within the slices", "mm"),
        (domain.plane_factor, "factor {} within the slices", ""),
        (domain.voxel_size, "restored to {}", "mm"),
        (domain.noise, "noise of {} of the brightest", ""),
    )
    profiles = [f"{name} slice profile" for name in domain.slice_profiles or ()]
    return [*words, *(text.format(_span(ends, unit)) for ends, text, unit in figures if ends is not None), *profiles]


def unknown(domain: Domain, facts: Facts) -> list[str]:
    """What a domain states and is not known of a scan before its voxels are read: "contrast", "head or brain"."""
    facets = (
        ("contrast", domain.contrasts, facts.contrast),
        ("head or brain", domain.anatomy, facts.anatomy),
    )
    return [name for name, stated, known in facets if stated is not None and known is None]


# -- as a file ------------------------------------------------------------------------------------------------------------------


def read_domain(folder: str) -> Domain:
    """The domain of a model; one that states nothing where there is no file of it.

    Raises:
        WeightsError: a domain that cannot be meant.
    """
    try:
        return Domain.model_validate(files.read_json(files.join(folder, FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return Domain()
    except ValueError as error:
        raise WeightsError("domain-unreadable", f"a model's {FILE} in {folder}", wrong(error), "correct or remove it") from error


def write_domain(folder: str, domain: Domain) -> None:
    """Write the domain of a model beside its config; the model's digest stays."""
    files.write_json(files.join(folder, FILE), domain.model_dump(mode="json", exclude_none=True))


def both(first: Domain, second: Domain) -> Domain:
    """The scans that are in two domains: of a method and of its model.

    Raises:
        WeightsError: there can be none.
    """
    met = {name: _met(name, getattr(first, name), getattr(second, name)) for name in Domain.model_fields if name != "persons"}
    return Domain(**met, persons=second.persons if second.persons is not None else first.persons)


def _met(name: str, a: object, b: object) -> object:
    """What two statements of a field have in common."""
    if a is None or b is None or name in {"sign", "tested"}:
        return b if a is None else a
    assert isinstance(a, tuple) and isinstance(b, tuple)  # noqa: S101, PT018 - all other fields are
    if isinstance(a[0], str):
        common = tuple(member for member in a if member in b)
    else:
        common = (max(a[0], b[0]), min(a[1], b[1]))
        common = common if common[0] <= common[1] else ()
    if not common:
        raise WeightsError("domain-empty", f"a method and a model for the same {name}", f"{a} and {b}", "choose another model")
    return common
