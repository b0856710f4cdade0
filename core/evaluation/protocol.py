"""A protocol: how scans are degraded, which of them count, where and by which figures methods are scored, and in what parts.

A shared one is a module of ``core.evaluation.protocols`` that holds ``PROTOCOL``; a family declares its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError
from core.evaluation.metrics.restoration import restoration_scores
from core.evaluation.metrics.ring_correlation import invented
from core.geometry.grid import Array, Grid
from core.methods.base import Measured, Method

Mask = NDArray[np.bool_]
Entities = Mapping[str, str]
Distance = Callable[[Array, Array], float]


@dataclass(frozen=True)
class Metric:
    """A figure of the tables.

    Attributes:
        name: in the scores.
        title: in tables.
        places: digits after the point.
        meaning: in a sentence.
        higher: whether more is better.
        nominal: the value that is best, where less and more are both worse; None where ``higher`` says it.
    """

    name: str
    title: str
    places: int
    meaning: str
    higher: bool = True
    nominal: float | None = None

    def merit(self, value: float) -> float:
        """How good a value is, as the tables show it; more is better."""
        shown = round(value, self.places)
        if self.nominal is not None:
            return -round(abs(shown - self.nominal), self.places)
        return shown if self.higher else -shown


@dataclass(frozen=True)
class Measure:
    """Figures of a restored scan and its truth.

    Attributes:
        of: of restored scan and truth, float32 (x, y, z), and the mask or None, to figures by name.
        metrics: what they are; of a protocol's own, for the tables know the shared ones.
        placed: more figures, by where the scan was measured: of restored scan, truth, their grid and that of the scan.
        perceptual: more figures, where LPIPS is scored: of restored scan, truth and the LPIPS of two slices, (x, y).
        version: changes with their definition, so that rows of before are scored anew.
    """

    of: Callable[[Array, Array, Mask | None], Mapping[str, float]]
    metrics: Sequence[Metric] = ()
    placed: Callable[[Array, Array, Grid, Grid], Mapping[str, float]] | None = None
    perceptual: Callable[[Array, Array, Distance], Mapping[str, float]] | None = None
    version: int = 1


def _shared(restored: Array, truth: Array, mask: Mask | None) -> Mapping[str, float]:
    return restoration_scores(restored, truth, mask)


ONLY = ""  # name of the degradation of a protocol that has one
RESTORATION = Measure(_shared, placed=invented)  # see ``core.evaluation.metrics.restoration`` and ``ring_correlation``


@dataclass(frozen=True)
class Probe:
    """A case and what a method made of it, for figures that need more than the two images.

    Attributes:
        measured: the scan of low resolution.
        image: float32, restored.
        truth: float32, of the same shape.
        target: grid of both.
        method: by which it was restored.
        restore: restores another scan on the same grids by the same method.
        other: another person's truth, laid on ``target`` centre on centre; None where the cohort has none.
        repaired: whether the image was brought to agree with the scan; else it is as the method made it.
    """

    measured: Measured
    image: Array
    truth: Array
    target: Grid
    method: Method
    restore: Callable[[Measured], Array]
    other: Array | None = None
    repaired: bool = False


@dataclass(frozen=True)
class Entry:
    """A row of an evaluation, for a protocol's own tables.

    Attributes:
        person: label.
        contrast: BIDS suffix of the scan; empty where it has none.
        degradation: name of the protocol's.
        method: label.
        figures: by name.
        spacing: distance of the slices' centres on the scan's own grid, mm; None where it is not known.
        scan: key of the truth; empty where a person has one of a contrast.
    """

    person: str
    contrast: str
    degradation: str
    method: str
    figures: Mapping[str, float]
    spacing: float | None = None
    scan: str = ""


def every_scan(entities: Entities) -> bool:  # noqa: ARG001 - what a protocol is asked with
    """All scans count."""
    return True


@dataclass(frozen=True)
class Protocol:
    """How methods are evaluated.

    Attributes:
        name: as the registry has it.
        degradations: settings of ``Degradation`` by which sharp scans are degraded, by a name of letters and digits: each scan in
            each way, and tables have a line for each; ``ONLY`` names that of a protocol with one. A user may say other settings.
        measures: figures of a restored scan beside the segmenter's and LPIPS.
        mask: of a truth, float32 (x, y, z), to the voxels that count; None: all.
        takes: whether a scan with these BIDS entities counts.
        folds: parts of the persons for cross-validation; 1: all together.
        lpips: whether LPIPS is scored unless the user says.
        probe: further figures of a case by a method; tables of methods show those that ``probe_metrics`` names.
        probe_metrics: what some of them are.
        probed: changes with their definition, so that rows of before are scored anew.
        tables: of all rows to texts by file name (".md", ".json"), which lie beside the other tables.
        baseline: whether the baseline (``core.methods.registry.baseline``) takes part even where nobody names it.
    """

    name: str
    degradations: Mapping[str, Mapping[str, Any]]
    measures: Sequence[Measure] = (RESTORATION,)
    mask: Callable[[Array], Mask] | None = None
    takes: Callable[[Entities], bool] = every_scan
    folds: int = 1
    lpips: bool = False
    probe: Callable[[Probe], Mapping[str, float]] | None = None
    probe_metrics: Sequence[Metric] = ()
    probed: int = 1
    tables: Callable[[Sequence[Entry]], Mapping[str, str]] | None = None
    baseline: bool = False

    @property
    def identity(self) -> tuple[Any, ...]:
        """What its figures depend on beyond the two images; empty for the shared figures of whole volumes."""
        if self.mask is None and tuple(self.measures) == (RESTORATION,) and self.probe is None:
            return ()
        return (self.name, [measure.version for measure in self.measures], *([self.probed] if self.probe else []))

    def score(
        self, restored: Array, truth: Array, grids: tuple[Grid, Grid] | None = None, perceptual: Distance | None = None
    ) -> dict[str, float]:
        """All figures of a restored scan, by name.

        Args:
            restored: float32 (x, y, z).
            truth: float32, of the same shape and in the same unit.
            grids: of these two, and of the measured scan; without them figures by place are left out.
            perceptual: LPIPS of two slices, (x, y); without it figures by it are left out.

        Raises:
            UsageError: figure-twice, for two measures that call a figure alike: one would stand for the other.
        """
        mask = self.mask(truth) if self.mask else None
        parts = [measure.of(restored, truth, mask) for measure in self.measures]
        if grids:
            parts += [measure.placed(restored, truth, *grids) for measure in self.measures if measure.placed]
        if perceptual:
            parts += [measure.perceptual(restored, truth, perceptual) for measure in self.measures if measure.perceptual]
        names = Counter(name for part in parts for name in part)
        if twice := [name for name, count in names.items() if count > 1]:
            remedy = "rename it in one of the protocol's measures"
            raise UsageError("figure-twice", f"each figure of {self.name} by one measure", ", ".join(twice), remedy)
        return {name: value for part in parts for name, value in part.items()}

    def fold(self, persons: Sequence[str], number: int) -> set[str]:
        """The persons of a part: of all in the order of their labels, every ``folds``-th.

        Args:
            persons: labels of all persons of the cohort.
            number: of the part, from 1.

        Raises:
            UsageError: a part that there is not.
        """
        if not 1 <= number <= self.folds:
            wanted = f"a fold from 1 to {self.folds} of {self.name}"
            raise UsageError("fold-unknown", wanted, str(number), "correct --fold, or leave it out to score all persons")
        return set(sorted(set(persons))[number - 1 :: self.folds])
