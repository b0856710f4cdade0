"""Averaged slices, factor 4, with faults planted in what methods restore: which of them the checks find.

Each scan is restored, repaired as a run repairs it, and assessed as a run assesses it: as it is (a flag there is a false alarm),
and with each fault of ``core.evaluation.faults``. A fault of which the checks could see eight standard deviations of the noise
(``size``) ought to be found; one below, or in the null space of the slices, may be unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from core.engine.consistency import repaired, unrepaired
from core.engine.quality import Baseline, assess
from core.evaluation.faults import FAULTS, TITLES, Scene, size
from core.evaluation.protocol import ONLY, Entry, Probe, Protocol
from core.geometry.grid import Array
from core.geometry.resample import interpolate
from core.geometry.tiles import volume
from core.methods.base import Measured
from core.operators.forward_model import SliceProfile
from core.settings.run import QualityThresholds
from core.stats import scan_stats

SEEN = 8.0  # standard deviations of the noise, from which on a fault must be found
LEVEL = 0.95  # of the bound on the share of persons with false alarms
WRONG = SliceProfile(slice_profile="gaussian", slice_gap=0.25)  # of the slices that restorer and check take for a box's
PROFILE = "profile"
ALL_TITLES = {**TITLES, PROFILE: "wrong profile assumed by restorer and check alike"}


def figures(probe: Probe) -> dict[str, float]:
    """Whether a restored scan is flagged as it is ("alarm"), and of each fault its size and whether it is found.

    Args:
        probe: of a case and a method.

    Returns:
        "alarm", and "size_NAME" and "found_NAME" of each fault; 1 for found, 0 for not.
    """
    image = probe.image if probe.repaired else _as_a_run(probe, probe.measured, probe.image)
    scene = Scene(probe.measured, image, probe.target, probe.other, probe.measured.noise[0] % 2**32)
    result = {"alarm": float(_flagged(probe, probe.measured, image))}
    for fault in FAULTS:
        if not fault.needs_other or scene.other is not None:
            changed, scan = fault.plant(scene)
            result[f"size_{fault.name}"] = size(scene, changed, scan)
            result[f"found_{fault.name}"] = float(_flagged(probe, replace(probe.measured, image=scan), changed))
    return result | _wrong_profile(probe, scene)


def _as_a_run(probe: Probe, measured: Measured, image: Array) -> Array:
    """The image, repaired where a run would."""
    return image if unrepaired(probe.method, measured.forward) else repaired(image, probe.target, measured)


def _flagged(probe: Probe, measured: Measured, image: Array) -> bool:
    """Whether a run would flag the image."""
    why = unrepaired(probe.method, measured.forward)
    plain = None if why else Baseline(interpolate(measured.image, measured.grid, probe.target, 3), repaired=True)
    return bool(assess(measured, image, probe.target, volume(probe.target.shape), QualityThresholds(), plain).problems)


def _wrong_profile(probe: Probe, scene: Scene) -> dict[str, float]:
    """The truth seen by other slices, restored and checked as if they were a box's."""
    seen = WRONG.operator(probe.measured.grid, probe.target).forward(probe.truth)
    measured = replace(probe.measured, image=np.asarray(seen, np.float32), stats=scan_stats(seen))
    image = _as_a_run(probe, measured, probe.restore(measured))
    noticed = {f"found_{PROFILE}": float(_flagged(probe, measured, image))}
    return noticed | {f"size_{PROFILE}": size(scene, scene.image, measured.image)}


# -- the table ------------------------------------------------------------------------------------------------------------------


def table(entries: Sequence[Entry]) -> dict[str, str]:
    """The table of faults by contrast and method, and that of false alarms, as Markdown.

    Args:
        entries: rows of an evaluation.
    """
    rows = [entry for entry in entries if "alarm" in entry.figures]
    columns = list(dict.fromkeys((entry.contrast, entry.method) for entry in rows))
    groups = [[entry for entry in rows if (entry.contrast, entry.method) == column] for column in columns]
    heads = [f"{contrast} {method}".strip() for contrast, method in columns]
    parts = [_rows(["fault", "size", *heads], _faults(groups)), _rows(["false alarms", *heads], _alarms(groups))]
    return {"faults.md": "\n\n".join(parts) + "\n"}


def _rows(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _faults(groups: Sequence[Sequence[Entry]]) -> Iterator[Sequence[str]]:
    """A line for each fault: its sizes, and of how many scans it was found by the methods; large ones first."""
    everything = [entry for group in groups for entry in group]
    sizes = {
        name: [entry.figures[f"size_{name}"] for entry in everything if f"size_{name}" in entry.figures] for name in ALL_TITLES
    }
    for name in sorted((name for name in sizes if sizes[name]), key=lambda name: -float(np.median(sizes[name]))):
        least, most = min(sizes[name]), max(sizes[name])
        yield [ALL_TITLES[name], f"{least:,.0f}–{most:,.0f}", *(_found(group, name) for group in groups)]


def _found(group: Sequence[Entry], name: str) -> str:
    """Of how many scans a fault was found, and how many of the missed ones were too small to be seen."""
    both = [(e.figures[f"found_{name}"], e.figures[f"size_{name}"]) for e in group if f"found_{name}" in e.figures]
    missed = [large for noticed, large in both if not noticed]
    small = sum(large < SEEN for large in missed)
    note = f" ({small} below {SEEN:g})" if small else ""
    return f"{len(both) - len(missed)} of {len(both)}{note}" if both else "–"


def _alarms(groups: Sequence[Sequence[Entry]]) -> Iterator[Sequence[str]]:
    counts = []
    for group in groups:
        persons = {entry.person for entry in group}
        alarmed = {entry.person for entry in group if entry.figures["alarm"]}
        counts.append((len(alarmed), len(persons)))
    yield ["persons", *(f"{k} of {n} (at most {bound(k, n):.0%})" for k, n in counts)]


def bound(alarmed: int, persons: int, level: float = LEVEL) -> float:
    """The upper bound on the share of persons with a false alarm (Clopper and Pearson 1934), one-sided.

    Args:
        alarmed: persons with one.
        persons: all.
        level: of confidence.
    """
    from scipy.stats import beta

    return 1.0 if alarmed >= persons else float(beta.ppf(level, alarmed + 1, persons - alarmed))


PROTOCOL = Protocol("faults", {ONLY: {"operator": "slice-profile", "factor": 4}}, probe=figures, tables=table)
