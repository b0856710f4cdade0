"""Scores as tables: a row a scan and method, and a row a method; of a protocol with several degradations, each for itself."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.protocol import Metric
from tasks.evaluate.evaluation import Score

METRICS = (
    Metric("psnr", "PSNR dB", 2, "whole volume; peak: the truth's 99.9th percentile"),
    Metric("ssim", "SSIM", 4, "whole volume, gaussian window of 11 voxels; range: the truth's 99.9th percentile"),
    Metric("ms_ssim", "MS-SSIM", 4, "the same over five scales"),
    Metric("lpips", "LPIPS", 4, "VGG features of 8 slices, each scaled to 0..1; less is better", higher=False),
    Metric("miou", "mIoU", 4, "mean overlap of the segmenter's labels on the restored scan and on the truth"),
    Metric("psnr_head", "PSNR head dB", 2, "where the truth is above 0; peak: the truth's 99.9th percentile"),
    Metric("psnr_minmax", "PSNR min–max dB", 2, "Kim et al. 2023: border trimmed, both scaled to 0..1 by their own extremes"),
    Metric("ms_ssim_minmax", "MS-SSIM min–max", 4, "of the images so scaled"),
    Metric("iou_csf", "IoU CSF", 4, "of cerebrospinal fluid"),
    Metric("iou_gm", "IoU GM", 4, "of grey matter"),
    Metric("iou_wm", "IoU WM", 4, "of white matter"),
    Metric(
        "invented",
        "invented %",
        1,
        "share of the head's windows of 32 voxels that part from the truth within the frequencies that the scan measured: "
        "correlation of a Fourier shell below 0.5",
        higher=False,
    ),
    Metric(
        "coverage",
        "coverage",
        3,
        "share of the head's voxels whose truth lies in the interval of 90 % that the method tells; best near 0.9",
        nominal=0.9,
    ),
    Metric("half_width", "half width %", 2, "mean of that interval's, of the truth's 99.9th percentile", higher=False),
)
NOT_AVAILABLE = "not available"
BY_NAME = {metric.name: metric for metric in METRICS}


def metrics_of(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names, in the tables' order: those that are shared, then those of protocols."""
    wanted = set(names)
    others = _declared() if wanted - set(BY_NAME) else []
    return [metric for metric in (*METRICS, *others) if metric.name in wanted]


def metric_of(name: str) -> Metric:
    """The metric of that name."""
    return metrics_of([name])[0]


def _declared() -> list[Metric]:
    """What protocols have of their own."""
    from core.methods import registry

    protocols = [registry.protocol(name) for name in registry.protocols()]
    of_measures = [metric for each in protocols for measure in each.measures for metric in measure.metrics]
    of_probes = [metric for each in protocols for metric in each.probe_metrics]
    return list({metric.name: metric for metric in (*of_measures, *of_probes)}.values())


def labelled(method: str, degradation: str) -> str:
    """A method, and of a protocol with several degradations which one it was held against."""
    return f"{method}, {degradation}" if degradation else method


@dataclass(frozen=True)
class Summary:
    """A method over all its scans.

    Attributes:
        method: its label.
        degradation: of the scans; empty of a protocol with one.
        model: of a learned method.
        means: by metric.
        sds: sample standard deviations; none for a single scan.
        seconds: a scan, mean.
        scans: that were scored.
        failed: that were not.
    """

    method: str
    degradation: str
    model: str
    means: dict[str, float]
    sds: dict[str, float]
    seconds: float | None
    scans: int
    failed: int

    @property
    def label(self) -> str:
        """Of the line: the method and what it was held against."""
        return labelled(self.method, self.degradation)

    def text(self, metric: Metric) -> str:
        """Mean ± standard deviation."""
        if metric.name not in self.means:
            return "–"
        mean = f"{self.means[metric.name]:.{metric.places}f}"
        return f"{mean} ± {self.sds[metric.name]:.{metric.places}f}" if metric.name in self.sds else mean


def by_degradation(rows: Sequence[Score]) -> dict[str, list[Score]]:
    """The rows of each degradation, in the order in which they came."""
    grouped: dict[str, list[Score]] = {}
    for row in rows:
        grouped.setdefault(row.degradation, []).append(row)
    return grouped


def by_method(rows: Sequence[Score]) -> dict[str, list[Score]]:
    """The rows of each method, in the order in which they came."""
    grouped: dict[str, list[Score]] = {}
    for row in rows:
        grouped.setdefault(row.method, []).append(row)
    return grouped


def metric_names(rows: Sequence[Score]) -> list[str]:
    """The metrics that any row has, in the tables' order."""
    return [metric.name for metric in metrics_of(name for row in rows for name in row.figures)]


def summaries(rows: Sequence[Score]) -> list[Summary]:
    """A line a degradation and method, in the order in which they came."""
    return [_summary(method, mine) for some in by_degradation(rows).values() for method, mine in by_method(some).items()]


def _summary(method: str, rows: Sequence[Score]) -> Summary:
    done = [row for row in rows if row.state == "done"]
    values = {name: [row.figures[name] for row in done if name in row.figures] for name in metric_names(done)}
    means = {name: float(np.mean(each)) for name, each in values.items()}
    sds = {name: float(np.std(each, ddof=1)) for name, each in values.items() if len(each) > 1 and math.isfinite(sum(each))}
    seconds = [row.seconds for row in done if row.seconds is not None]
    mean = float(np.mean(seconds)) if seconds else None
    return Summary(method, rows[0].degradation, rows[0].model, means, sds, mean, len(done), len(rows) - len(done))


def _with_missing(rows: Sequence[Score], missing: Sequence[str]) -> list[str]:
    return [metric.name for metric in metrics_of({*metric_names(rows), *missing})]


def scores_csv(rows: Sequence[Score], missing: Sequence[str] = ()) -> str:
    """A row a scan and method; metrics in ``missing`` say that they are not available."""
    names = _with_missing(rows, missing)
    head = ["scan", "method", "model", "state", *names, "seconds", "note", "reason"]
    return _csv(head, [_cells(row, names, missing) for row in rows], [row.degradation for row in rows])


def summary_csv(rows: Sequence[Score], missing: Sequence[str] = ()) -> str:
    """A row a method: each metric's mean and its standard deviation; metrics in ``missing`` say that they are not available."""
    names = _with_missing(rows, missing)
    head = ["method", *(column for name in names for column in (name, f"{name}_sd")), "seconds", "scans", "failed", "model"]
    lines = summaries(rows)
    return _csv(head, [_summary_cells(line, names, missing) for line in lines], [line.degradation for line in lines])


def _cells(row: Score, names: Sequence[str], missing: Sequence[str]) -> list[object]:
    figures = (NOT_AVAILABLE if name in missing else row.figures.get(name) for name in names)
    return [row.scan, row.method, row.model, row.state, *figures, row.seconds, row.note, row.reason]


def _summary_cells(line: Summary, names: Sequence[str], missing: Sequence[str]) -> list[object]:
    means = {**line.means, **dict.fromkeys(missing, NOT_AVAILABLE)}
    figures = (value for name in names for value in (means.get(name), line.sds.get(name)))
    return [line.method, *figures, line.seconds, line.scans, line.failed, line.model]


def _csv(head: Sequence[str], lines: Sequence[Sequence[object]], degradations: Sequence[str]) -> str:
    """The table; its first column is the degradation, where any line has one."""
    if any(degradations):
        head = ["degradation", *head]
        lines = [[degradation, *line] for degradation, line in zip(degradations, lines, strict=True)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(
        [[f"{cell:.6g}" if isinstance(cell, float) else "" if cell is None else cell for cell in line] for line in lines]
    )
    return buffer.getvalue()
