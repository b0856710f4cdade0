"""What a page is made of; nothing else comes into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.engine.records import ScanRecord
from core.geometry.grid import Array, Grid
from core.settings.run import QualityThresholds
from tasks.report.citation import Citation


@dataclass(frozen=True)
class ScanView:
    """A restored scan, to be looked at.

    Attributes:
        record: its outcome.
        source: the measured scan by nearest neighbour on ``target``: what was measured, as it is.
        cubic: its cubic interpolation on ``target``; None where that is the method itself.
        restored: on ``target``.
        target: canonical grid of these three.
        consistency: (A x - y) in standard deviations of the noise, on ``measured_grid``.
        measured_grid: canonical grid of the scan as measured.
        maps: beside the restored image by name, such as "sd", on ``target``.
        thresholds: by which the scan was judged.
        links: relative addresses by name: "cohort", "viewer", "image".
    """

    record: ScanRecord
    source: Array
    cubic: Array | None
    restored: Array
    target: Grid
    consistency: Array
    measured_grid: Grid
    maps: Mapping[str, Array] = field(default_factory=dict)
    thresholds: QualityThresholds = field(default_factory=QualityThresholds)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CohortView:
    """A run over a cohort, to be looked at.

    Attributes:
        records: one of every planned scan, whatever became of it.
        title: name of the cohort.
        settings: of the run, as JSON; "quality" holds the thresholds.
        plan_digest: of the run's plan.
        versions: of isovox and of the packages it stands on.
        links: relative address of a scan's page by its key; a scan without a page has none.
        viewers: likewise of its page of every slice.
        thumbnails: likewise of its picture for the mosaic.
        facts: what a scan is, by its key: "contrast", "site".
        notes: what is to be known beside the scans, such as which are gone.
        citation: words to cite; None where there are none.
        unfinished: how scans stand to which no run has come yet, by key: "waiting", "running" or "interrupted".
    """

    records: Sequence[ScanRecord]
    title: str
    settings: Mapping[str, Any]
    plan_digest: str
    versions: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=dict)
    viewers: Mapping[str, str] = field(default_factory=dict)
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    citation: Citation | None = None
    unfinished: Mapping[str, str] = field(default_factory=dict)
