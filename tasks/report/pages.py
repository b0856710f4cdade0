"""The pages: what the templates need, computed; text of others passes through ``public`` and is escaped."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from core import __version__
from core.engine.plan import FINER
from core.engine.quality import CHECKS, Check, brief, limit_of
from core.engine.records import ScanRecord, State
from core.geometry.grid import Grid
from core.io import files
from core.methods.maps import meaning_of
from core.operators.profile import gap_in_words
from core.operators.width import SliceWidth
from core.settings.run import QualityThresholds
from core.stats import foreground_threshold
from tasks.report.charts import Chart, course, distribution, intensities, signed
from tasks.report.pictures import PlanePictures, drawing, scan_pictures, thinned
from tasks.report.views import CohortView, ScanView

PATH = re.compile(r"(?<![\w.:/])(?:\w+://|/|~/|[A-Za-z]:[\\/])[^\s'\"()]*[\\/](?=[^\s'\"\\/()]+)")  # a path up to its last name
STATES = get_args(State)
UNFINISHED = ("interrupted", "running", "waiting")
SPOKEN = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}
FACTS = {"contrast": "what kind of image it is", "site": "where the person was scanned, by participants.tsv"}
SCORES = ("psnr", "psnr_cubic", "ssim", "ssim_cubic")  # that the cohort page shows
PLACED = ("left", "right", "up", "down")
TITLES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "nrmse": "NRMSE",
    "non_finite": "voxels that are not finite",
    "psnr_cubic": "PSNR of cubic, dB",
    "ssim_cubic": "SSIM of cubic",
    "psnr_masked": "PSNR in the foreground, dB",
    "ssim_masked": "SSIM in the foreground",
    "nrmse_masked": "NRMSE in the foreground",
    "noise_sd": "noise SD of the measured scan, its units",
    "volume_mm3": "head or brain in the restored scan, ml",
    "measured_volume_mm3": "head or brain in the measured scan, ml",
    "banding": "brightness of even slices over odd ones, %",
    "banding_limit": "banding from which it is taken out, %",
    "banding_removed": "banding that was taken out, %",
    "fit_kept": "whether what was learnt of the scan is used: 1, or 0",
    "held_out_gain": "gain of held-out parts by what was learnt, dB",
    "local_cubic": "largest local difference of cubic interpolation, %",
    "consistency_cubic": "consistency of cubic interpolation, noise SD",
}


def public(text: str) -> str:
    """The text with absolute paths and addresses shortened to their last name."""
    return PATH.sub("…/", str(text))


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, escaping all they are given."""
    made = Environment(
        loader=PackageLoader("tasks.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"public": public, "signed": signed}
    made.globals["version"] = __version__
    return made


def render(template: str, **values: Any) -> str:
    """A page."""
    return environment().get_template(template).render(**values)


def number(value: float | None) -> str:
    """A number, or an en dash for none."""
    return "–" if value is None else signed(brief(value))


def shown(name: str, value: float) -> float:
    """A figure as its title says it: some in per cent, volumes in ml."""
    per_cent = title_of(name).endswith(", %") or any(check.figure == name and check.unit == "%" for check in CHECKS)
    return value * 100 if per_cent else value / 1000 if name.endswith("_mm3") else value


def title_of(name: str) -> str:
    """What to call a figure."""
    return TITLES.get(name) or name.replace("_", " ")


@dataclass(frozen=True)
class QualityRow:
    """A line of the table of quality."""

    title: str
    value: str
    limit: str
    passed: bool


def quality_rows(record: ScanRecord, thresholds: QualityThresholds) -> Iterator[QualityRow]:
    """Checked figures first, then the others."""
    figures = dict(record.quality)
    if "non_finite" in figures:
        bad = figures.pop("non_finite")
        yield QualityRow(title_of("non_finite"), number(bad), "0", bad == 0)
    for check in CHECKS:
        if check.figure in figures:
            limit = limit_of(check, record.quality, thresholds)
            value = figures.pop(check.figure)
            bound = f"{'±' if two_sided(check) else '≤'} {check.tell(limit)}"
            yield QualityRow(check.title, signed(check.tell(value)), bound, abs(value) <= limit)
    for name, value in figures.items():
        yield QualityRow(title_of(name), number(shown(name, value)), "", passed=True)


def two_sided(check: Check) -> bool:
    """Whether the figure has a sign."""
    return check.figure in {"gain_error", "volume_change"}


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a JSON value with their dotted names; a list of numbers or words is a leaf."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name} › {public(key)}" if name else public(key))
    elif value not in (None, "", []):
        yield name, public(value if isinstance(value, str) else json.dumps(_short(value), ensure_ascii=False))


def _short(value: Any) -> Any:
    """A JSON value whose numbers have six digits."""
    if isinstance(value, list | tuple):
        return [_short(element) for element in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def grid_text(grid: Grid) -> str:
    """Shape and voxel size, and whether the grid is oblique."""
    size = " × ".join(f"{millimetres:.3g}" for millimetres in grid.spacing)
    return f"{' × '.join(map(str, grid.shape))} voxels of {size} mm{', oblique' if grid.oblique else ''}"


def _plane(pictures: PlanePictures) -> dict[str, Any]:
    plane = pictures.plane
    spoken = ", ".join(f"{SPOKEN[side]} {place}" for side, place in zip(plane.sides, PLACED, strict=True))
    facts = {"name": plane.name, "sides": list(zip(plane.sides, PLACED, strict=True)), "spoken": spoken}
    middle = len(pictures.places) // 2
    return {
        "plane": facts,
        "strips": pictures.strips,
        "places": pictures.places,
        "ratio": pictures.width / pictures.height,
        "middle": middle,
    }


def _histogram(view: ScanView, high: float) -> Chart:
    images = {"input": view.source} | ({} if view.cubic is None else {"cubic": view.cubic}) | {"restored": view.restored}
    return intensities(images, foreground_threshold(view.source[thinned(view.source.shape)]) / 2, high * 1.1)


def scan_page(view: ScanView) -> str:
    """The page of one scan: one HTML text that needs nothing beside itself.

    Args:
        view: what to show; the links are written as they are given.

    Raises:
        GridError: for grids that are not canonical or not parallel.
    """
    record, pictures = view.record, scan_pictures(view)
    return render(
        "scan.html",
        record=record,
        links={"cohort": "", "viewer": "", "image": ""} | dict(view.links),
        planes=[_plane(plane) for plane in pictures.planes],
        columns=" ".join(f"minmax(0, {plane.width:.1f}fr)" for plane in pictures.planes),
        has_cubic=view.cubic is not None,
        baseline=pictures.baseline,
        window=pictures.window,
        difference=pictures.difference,
        consistency=pictures.consistency,
        maps=[(name, _map_title(name, about := _about(record, name)), scale, about) for name, scale in pictures.maps.items()],
        histogram=_histogram(view, pictures.window.high),
        quality=list(quality_rows(record, view.thresholds)),
        scores=scores(record),
        drawings=[(title_of(name).capitalize(), drawing(rows), _about_drawing(rows)) for name, rows in record.pictures.items()],
        step_seconds=record.step_seconds,
        courses=[course(title_of(name).capitalize(), rows) for name, rows in record.steps.items() if rows],
        measured=grid_text(view.measured_grid),
        slices=_slices(record),
        restored=grid_text(view.target),
        oblique=view.target.oblique,
        provenance=list(_provenance(record)),
        together=_together(record),
        coarser=_coarser(view),
        banding=banding_taken_out(record),
    )


def _about_drawing(rows: list[list[float]]) -> str:
    """What the greys of a small array mean."""
    values = [value for row in rows for value in row]
    return f"{len(rows)} by {len(rows[0])} values; black is {signed(f'{min(values):.3g}')}, white {signed(f'{max(values):.3g}')}"


def _slices(record: ScanRecord) -> str:
    """How thick the slices are by the scan's voxels, and what was taken; empty where someone told it and they do not overlap."""
    if overlap := record.provenance.get("SliceOverlap"):
        return f"they overlap: {overlap}"
    if "SliceWidth" not in record.provenance:
        return ""
    width, gap = SliceWidth.model_validate(record.provenance["SliceWidth"]), record.provenance["Acquisition"].get("slice_gap")
    taken = f"taken as {gap_in_words(gap)}" if gap else "taken as without gaps, which the interval does not exclude"
    return f"{width.describe()} thick by the voxels, with the 90 % interval, as nobody tells it; {taken}"


def _together(record: ScanRecord) -> list[str]:
    """The scans that went into a fused one; none where one scan is its own."""
    return [public(files.name_of(path)) for path in record.inputs] if len(record.inputs) > 1 else []


def _coarser(view: ScanView) -> str:
    """What resolution a restored scan has lost, in words; "" where none."""
    before, after = min(view.measured_grid.spacing), min(view.target.spacing)
    return f"voxels of {before:.3g} mm became {after:.3g} mm: finer detail was left out" if before < FINER * after else ""


def banding_taken_out(record: ScanRecord) -> str:
    """By how much a scan's slices were evened before it was restored, in words; "" where they were not."""
    gain = record.quality.get("banding_removed")
    if gain is None:
        return ""
    step = f"{100 * abs(gain):.1f} % {'brighter' if gain > 0 else 'darker'}"
    return f"every second measured slice was {step} than those beside it; that was taken out before restoring"


def _map_title(name: str, about: str) -> str:
    """Over a map: an interval is nominal unless what is told of the map says that it was calibrated."""
    title = meaning_of(name).title
    return title if about.startswith("Calibrated") else title.replace("the 90 % interval", "the nominal 90 % interval")


def _about(record: ScanRecord, name: str) -> str:
    """How a map was made, in words; empty where its method does not say."""
    return str(record.provenance.get("Maps", {}).get(name, {}).get("Description", ""))


def scores(record: ScanRecord) -> list[tuple[str, str, str]]:
    """Figures against the reference: title, restored, cubic interpolation."""
    names = dict.fromkeys(name.removesuffix("_cubic") for name in record.metrics)
    figures = record.metrics
    return [(title_of(name), number(figures.get(name)), number(figures.get(f"{name}_cubic"))) for name in names]


def _provenance(record: ScanRecord) -> Iterator[tuple[str, str]]:
    facts = {name: value for name, value in record.provenance.items() if name != "Quality"}
    inputs = {} if "Inputs" in facts else {"inputs, sha256": record.inputs}
    digest = {} if "Digest" in facts else {"digest": record.digest}
    yield from flat({**inputs, "outputs, sha256": record.outputs, **facts, **digest, "seconds": record.seconds})


@dataclass(frozen=True)
class Column:
    """A column of the cohort's table."""

    title: str
    long: str
    number: bool = True


def _columns(view: CohortView) -> tuple[list[Column], list[str]]:
    """The columns, and the names of the figures in those that hold numbers."""
    metrics = [name for name in SCORES if any(name in record.metrics for record in view.records)]
    short = {"consistency": "Consistency", "local": "Local", "shift": "Shift", "seam": "Seam", "volume_change": "Volume"}
    figures = [check for check in CHECKS if check.figure in short]
    columns = [Column("Scan", "name of the scan", number=False), Column("State", "what became of it, and why", number=False)]
    columns += [Column(name.capitalize(), FACTS[name], number=False) for name in _known(view)]
    columns += [Column(title_of(name), f"{title_of(name)} against the reference") for name in metrics]
    columns += [Column(f"{short[check.figure]}{', ' + check.unit if check.unit else ''}", check.title) for check in figures]
    columns += [Column("Seconds", "time it took")]
    return columns, [*metrics, *(check.figure for check in figures), "seconds"]


def _known(view: CohortView) -> list[str]:
    """The facts that are known of some scan."""
    return [name for name in FACTS if any(name in facts for facts in view.facts.values())]


def _choices(view: CohortView) -> dict[str, list[str]]:
    """The values of each fact that scans may be chosen by."""
    every = {name: sorted({facts[name] for facts in view.facts.values() if name in facts}) for name in _known(view)}
    return {name: [public(value) for value in values] for name, values in every.items()}


def _cell(record: ScanRecord, name: str, thresholds: QualityThresholds) -> dict[str, Any]:
    check = next((check for check in CHECKS if check.figure == name), None)
    seconds = {"seconds": sum(record.seconds.values())} if record.seconds else {}
    value = (record.metrics | record.quality | seconds).get(name)
    if value is None or check is None:
        return {"value": value, "text": number(value), "flagged": False}
    text = signed(brief(shown(name, value)))
    return {"value": value, "text": text, "flagged": abs(value) > limit_of(check, record.quality, thresholds)}


def _further(view: CohortView, names: Collection[str]) -> dict[str, str]:
    """The figures that some scan has and no column shows, with their titles: scans are sorted and chosen by them too."""
    checks = {check.figure: f"{check.title}{', ' + check.unit if check.unit else ''}" for check in CHECKS}
    known = dict.fromkeys(name for record in view.records for name in record.metrics | record.quality)
    return {name: checks.get(name) or title_of(name) for name in known if name not in names}


def _plain(record: ScanRecord, name: str) -> str:
    """A figure as pages tell it, in per cent or ml where they do; empty where the scan has none."""
    value = (record.metrics | record.quality).get(name)
    if value is None:
        return ""
    return f"{shown(name, value):.4g}"


def _row(
    record: ScanRecord, view: CohortView, names: list[str], further: Iterable[str], thresholds: QualityThresholds
) -> dict[str, Any]:
    return {
        "further": ",".join(_plain(record, name) for name in further),
        "key": public(record.key),
        "link": view.links.get(record.key),
        "viewer": view.viewers.get(record.key),
        "thumbnail": view.thumbnails.get(record.key),
        "facts": [public(view.facts.get(record.key, {}).get(name, "")) for name in _known(view)],
        "state": (state := view.unfinished.get(record.key, record.state)),
        "order": ("failed", *UNFINISHED, "flagged", "done", "skipped").index(state),
        "cells": [_cell(record, name, thresholds) for name in names],
        "reason": public(record.reason),
    }


def _charts(view: CohortView, thresholds: QualityThresholds) -> Iterator[dict[str, Any]]:
    """A distribution of each checked figure and of each metric that some scan has."""
    for check in CHECKS:
        times = 100 if check.unit == "%" else 1
        limit = getattr(thresholds, check.threshold)
        values = [
            (public(record.key), record.quality[check.figure] * times)
            for record in view.records
            if check.figure in record.quality
        ]
        out = frozenset(
            public(record.key)
            for record in view.records
            if abs(record.quality.get(check.figure, 0.0)) > limit_of(check, record.quality, thresholds)
        )
        limits = (-limit * times, limit * times) if two_sided(check) else (limit * times,)
        if values:
            yield {"chart": distribution(check.title.capitalize(), values, out, limits), "unit": check.unit}
    for name in SCORES:
        values = [(public(record.key), record.metrics[name]) for record in view.records if name in record.metrics]
        if values:
            yield {"chart": distribution(title_of(name), values, frozenset()), "unit": ""}


def cohort_page(view: CohortView) -> str:
    """The page of a cohort: one HTML text that needs nothing beside itself.

    Args:
        view: what to show; the links are written as they are given.
    """
    thresholds = QualityThresholds.model_validate(view.settings.get("quality") or {})
    counts = Counter(view.unfinished.get(record.key, record.state) for record in view.records)
    columns, names = _columns(view)
    further = _further(view, names)
    return render(
        "cohort.html",
        title=public(view.title),
        planned=len(view.records),
        notes=[public(note) for note in view.notes],
        counts=[(state, counts[state]) for state in (*STATES, *UNFINISHED) if state in STATES or counts[state]],
        settings=view.settings,
        plan_digest=view.plan_digest,
        columns=columns,
        choices=_choices(view),
        further=further,
        rows=[_row(record, view, names, further, thresholds) for record in sorted(view.records, key=lambda record: record.key)],
        charts=list(_charts(view, thresholds)),
        citation=view.citation,
        said=list(flat({"settings": view.settings, "versions": view.versions})),
    )
