"""How a volume model is fitted: by looks at its sites' scans as they are, prepared, and harmonised.

    look_first --fit_first--> look_again --fit_again--> look_last --fit_last--> look_last --fit_last--> ...

Where resolution, curve and noise are all wanted, and each site has scans enough to be told from its persons, what was fitted of
each is mended together at the end (``joint``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core.geometry.grid import Array
from core.harmonize.features import measure
from core.harmonize.images.bias import Fields, Trend, field_of
from core.harmonize.images.curve import Curves, Landmarks, landmarks
from core.harmonize.images.intensity import Normaliser, Reading, read
from core.harmonize.images.joint import DARKEST, FIGURES, Mend
from core.harmonize.images.joint import ROUNDS as JOINT
from core.harmonize.images.resolution import Resolution, sharpness
from core.harmonize.images.texture import Powers, Texture, powers
from core.harmonize.images.volume import Scan, VolumeModel
from core.settings.harmonize import VolumeSteps
from core.tissues import Contrast

ROUNDS = 6  # looks at harmonised scans, by which each part of what was fitted is mended
FEWEST = 8  # scans of a site: of fewer the mean is their persons' rather than its own


@dataclass(frozen=True)
class Look:
    """What a fit needs to know of a scan, in three looks.

    Attributes:
        site: whose it is.
        trend: of the restored scan's bias field; empty where that is left.
        sharpness: of the restored scan, in the last looks of the mapped one; empty where resolution is left.
        reading: of the prepared scan, for the normaliser.
        landmarks: of the prepared scan, for its site's curve; empty where that is left.
        powers: of the scan as harmonised; empty where noise is left.
        quiet: likewise, before noise was added.
        figures: likewise, ``joint.FIGURES``; empty before all is mended together.
        slopes: of each parameter: what a step of it changes of each figure; empty but in the look that takes them.
        voxel: edge of the harmonised voxels, mm, in that look.
        person: whose scan it is, in the first look; empty where no other scan of the site is that person's.
    """

    site: str
    trend: Trend = field(default_factory=list, hash=False)
    sharpness: list[float] = field(default_factory=list, hash=False)
    reading: Reading = field(default_factory=list, hash=False)
    landmarks: Landmarks = field(default_factory=list, hash=False)
    powers: Powers = field(default_factory=list, hash=False)
    quiet: Powers = field(default_factory=list, hash=False)
    figures: list[float] = field(default_factory=list, hash=False)
    slopes: list[list[float]] = field(default_factory=list, hash=False)
    voxel: float = 0.0
    person: str = ""

    def to_json(self) -> dict[str, Any]:
        """What was seen, not where and of whom; bit for bit."""
        return {name: value for name, value in vars(self).items() if name not in {"site", "person"} and value}

    def seen(self, more: Mapping[str, Any]) -> Look:
        """With what another look gave."""
        return replace(self, **more)


def look_first(steps: VolumeSteps, scan: Scan, contrast: Contrast = "T1w") -> Look:
    """Bias field and sharpness of a restored scan, where they are wanted; sharpness without all that N4 takes for a field.

    Raises:
        InputError: sharpness-unknown.
    """
    trend = scan.own_trend() if steps.bias_field else []
    if not steps.resolution:
        return Look(scan.site, trend)
    even = scan.image / field_of(trend, scan.mask) if trend else scan.image
    return Look(scan.site, trend, sharpness(even, scan.mask, scan.grid, contrast))


def look_again(model: VolumeModel, method: str, scan: Scan) -> Look:
    """What the normaliser and the curves are fitted on: of the scan as ``model`` prepares it.

    Raises:
        InputError: as ``VolumeModel.map``.
    """
    made = model.prepare(scan)
    known: Any = method
    reading = [] if method == "none" else read(known, made.image, made.mask, model.contrast)
    marks = landmarks(made.image, made.mask, model.contrast) if model.steps.curve else []
    return Look(scan.site, reading=reading, landmarks=marks)


def look_last(model: VolumeModel, scan: Scan) -> Look:
    """What the model is mended by: sharpness of the scan as mapped, landmarks and powers as harmonised; at the end its figures.

    Noise widens what lies around a tissue's peak: the curves of sites of unlike noise are mended where all have the same.

    Raises:
        InputError: as ``VolumeModel.map`` and ``core.harmonize.features.measure``.
    """
    if model.mend is not None:
        return _look_together(model, scan) if model.mend.slopes else _look_at_slopes(model, scan)
    mapped, made = model.made(scan)
    sharp = sharpness(mapped.image, mapped.mask, scan.grid, model.contrast) if model.steps.resolution else []
    quiet, loud = [powers(each.image, mapped.mask) for each in (mapped, made)] if model.steps.noise_level else ([], [])
    if not model.steps.curve:
        return Look(scan.site, sharpness=sharp, powers=loud, quiet=quiet)
    mask = mapped.mask if model.texture is None else model.brain_of(made.image, scan)
    return Look(scan.site, sharpness=sharp, landmarks=landmarks(made.image, mask, model.contrast), powers=loud, quiet=quiet)


def _look_together(model: VolumeModel, scan: Scan) -> Look:
    mapped, made = model.made(scan)
    return Look(scan.site, quiet=powers(mapped.image, mapped.mask), figures=_figures(model, scan, made.image))


def _look_at_slopes(model: VolumeModel, scan: Scan) -> Look:
    """What a step of each of its site's parameters changes of the scan's figures."""
    parts, voxel = model.parts, min(scan.grid.spacing)
    known = parts.steps_of(scan.site, voxel)
    models = [model] + [model.having(parts.at({scan.site: known + step}, voxel)) for step in np.eye(len(known))]
    before, *moved = (np.array(_figures(each, scan, each.made(scan)[1].image)) for each in models)
    slopes = [(figures - before).tolist() for figures in moved]
    return Look(scan.site, slopes=slopes, voxel=voxel)


def _figures(model: VolumeModel, scan: Scan, image: Array) -> list[float]:
    mask = model.brain_of(image, scan)
    figures = measure(image, scan.grid, mask, model.contrast) | {DARKEST: landmarks(image, mask, model.contrast)[0]}
    return [figures[name] for name in FIGURES]


def fit_first(steps: VolumeSteps, looks: Sequence[Look], reference: str | None, contrast: Contrast = "T1w") -> VolumeModel:
    """The model after the first look: all that prepares a scan."""
    fields = Fields.fit(_trends(looks), reference) if steps.bias_field else None
    resolution = Resolution.fit(_by_site(looks, "sharpness")) if steps.resolution else None
    return VolumeModel(steps, contrast, fields, resolution)


def _trends(looks: Sequence[Look]) -> dict[str, list[Trend]]:
    """Of each site's persons, the mean of a person's scans."""
    persons: dict[str, dict[str | int, list[Trend]]] = defaultdict(lambda: defaultdict(list))
    for number, look in enumerate(looks):
        persons[look.site][look.person or number].append(look.trend)
    return {site: [np.mean(np.array(scans), axis=0).tolist() for scans in theirs.values()] for site, theirs in persons.items()}


def fit_again(model: VolumeModel, looks: Sequence[Look], normaliser: Normaliser | None, reference: str | None) -> VolumeModel:
    """The model after the second look: with the normaliser and the sites' curves, all but the noise."""
    model, curves = _of_those_left(model, looks), None
    if model.steps.curve:
        mapped = [replace(look, landmarks=_on_scale(look, normaliser)) for look in looks]
        curves = Curves.fit(_by_site(mapped, "landmarks"), reference)
    return replace(model, normaliser=normaliser, curves=curves)


def last_looks(steps: VolumeSteps) -> int:
    """How often harmonised scans are looked at, at most: each part is mended alone, then all together."""
    return _alone(steps) + (1 + JOINT if _together(steps) else 0)


def wants_look(model: VolumeModel, number: int) -> bool:
    """Whether harmonised scans are to be looked at once more, ``number`` looks being done."""
    return number < _alone(model.steps) or model.mend is not None


def _alone(steps: VolumeSteps) -> int:
    return ROUNDS if steps.resolution or steps.curve or steps.noise_level else 0


def _together(steps: VolumeSteps) -> bool:
    return steps.resolution and steps.curve and steps.noise_level


def fit_last(model: VolumeModel, looks: Sequence[Look], reference: str | None, number: int) -> VolumeModel:
    """The model after a look at harmonised scans: widths, curves and noise are mended, in the end what is common of them is told.

    Where noise is matched, the first of these looks is of scans without any: it is fitted, and curves are mended from the next
    on, where all have the same.

    Args:
        model: as it was when the scans were looked at.
        looks: a scan each; of no more than ``VolumeModel.shown`` scans of a site.
        reference: site.
        number: of the look, from 0.
    """
    mended = _mended(model, looks, reference, number)
    return mended if wants_look(mended, number + 1) or not looks else _settled(mended, looks)


def _settled(model: VolumeModel, looks: Sequence[Look]) -> VolumeModel:
    """With the sharpness and the noise that known sites' scans are brought to, after all, for scans of other sites."""
    resolution = None if model.resolution is None else model.resolution.settled()
    texture = None if model.texture is None else model.texture.settled(_by_site(looks, "quiet"))
    return replace(model, resolution=resolution, texture=texture)


def _mended(model: VolumeModel, looks: Sequence[Look], reference: str | None, number: int) -> VolumeModel:
    if model.mend is None:
        alone = _mended_alone(_of_those_left(model, looks), looks, reference)
        several = min(len(scans) for scans in _by_site(looks, "site").values()) >= FEWEST
        return replace(alone, mend=Mend()) if several and _together(model.steps) and number == ROUNDS - 1 else alone
    if not looks:  # none of the few scans that were asked came through: each part stays as it was mended alone
        return replace(model, mend=None)
    if not model.mend.slopes:
        return replace(model, mend=Mend.of([look.voxel for look in looks], _by_site(looks, "slopes")))
    left = _of_those_left(model, looks)
    better = left.having(model.mend.mended(left.parts, _by_site(looks, "figures"), reference))
    return replace(better, mend=None) if number == last_looks(model.steps) - 1 else better


def _of_those_left(model: VolumeModel, looks: Sequence[Look]) -> VolumeModel:
    """The model without sites of which no scan came through a look at all: they have no say in what the others come to."""
    sites = {look.site for look in looks}
    parts = {name: getattr(model, name) for name in ("fields", "resolution", "curves", "texture")}
    return replace(model, **{name: _of_sites(part, sites) for name, part in parts.items() if part is not None})


def _of_sites(part: Any, sites: set[str]) -> Any:
    """A part of a model, whose tables are all by site."""
    tables = {name: table for name, table in vars(part).items() if isinstance(table, dict)}
    kept = {name: {site: value for site, value in table.items() if site in sites} for name, table in tables.items()}
    return replace(part, **kept)


def _mended_alone(model: VolumeModel, looks: Sequence[Look], reference: str | None) -> VolumeModel:
    early = model.steps.noise_level and model.texture is None
    curves = model.curves if model.curves is None or early else model.curves.refined(_by_site(looks, "landmarks"), reference)
    resolution = None if model.resolution is None else model.resolution.refined(_by_site(looks, "sharpness"))
    seen = _by_site(looks, "powers")
    texture = None
    if model.steps.noise_level:
        texture = Texture.fit(seen) if model.texture is None else model.texture.refined(seen)
    return replace(model, resolution=resolution, curves=curves, texture=texture)


def _on_scale(look: Look, normaliser: Normaliser | None) -> Landmarks:
    """Landmarks of a prepared scan where the normaliser puts them."""
    if normaliser is None:
        return look.landmarks
    line = np.array(look.landmarks, np.float32).reshape(-1, 1, 1)
    return [float(value) for value in normaliser.apply_by(line, look.reading).ravel()]


def _by_site(looks: Sequence[Look], what: str) -> dict[str, list[Any]]:
    parts: dict[str, list[Any]] = defaultdict(list)
    for look in looks:
        parts[look.site].append(getattr(look, what))
    return dict(parts)
