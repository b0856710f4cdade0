"""What an evaluation leaves behind: tables, the page, and a run in MLflow."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np

from core.errors import IsovoxError
from core.evaluation.metrics.ring_correlation import measured_frequency, windows
from core.evaluation.protocol import Entry, Metric
from core.geometry.resample import interpolate
from core.io import files, nifti
from core.io.output import Output
from core.methods import registry
from core.settings.evaluate import EvaluationSettings
from tasks.evaluate.cases import Case, degradation_told
from tasks.evaluate.comparisons import COMPARED, PairwiseComparison, beaten, comparisons_csv, pairwise_comparisons, too_few
from tasks.evaluate.evaluation import CaseEvaluation, Score
from tasks.evaluate.scorers import Scorer
from tasks.evaluate.tables import (
    BY_NAME,
    NOT_AVAILABLE,
    Summary,
    by_degradation,
    by_method,
    labelled,
    metric_names,
    metric_of,
    metrics_of,
    scores_csv,
    summaries,
    summary_csv,
)
from tasks.evaluate.words import words
from tasks.pipeline.export import versions
from tasks.report.evaluation import INPUT, Cell, Detail, EvaluationView, Line, evaluation_page, letters

EXPERIMENT = "isovox evaluation"
PAGE = "report.html"
DRAWN = (*COMPARED, "psnr_minmax")  # as box plots
SHOWN = (*DRAWN, "psnr_head", "ms_ssim_minmax", "invented", "coverage", "half_width")  # in the page's table; scores.csv has all
MINMAX = (
    "The min–max figures scale each image by its own two extreme voxels, so that one voxel that overshoots costs decibels "
    "and a lack of contrast costs none: compare them with the paper's, not with the others."
)
LONGEST = 300  # characters of a warning

_log = logging.getLogger(__name__)


def write_tables(out: str, rows: Sequence[Score], pairs: Sequence[PairwiseComparison], scorer: Scorer) -> None:
    """scores.csv, summary.csv and comparisons.csv; a figure that could not be had is a column that says so."""
    missing = [name for name, _ in scorer.missing]
    tables = {"scores": scores_csv(rows, missing), "summary": summary_csv(rows, missing), "comparisons": comparisons_csv(pairs)}
    for name, text in tables.items():
        files.write_atomic(files.join(out, f"{name}.csv"), text.encode())


def write_own(settings: EvaluationSettings, rows: Sequence[Score]) -> list[str]:
    """The protocol's own tables; their names."""
    protocol = registry.protocol(settings.protocol)
    done = [row for row in rows if row.state == "done"]
    entries = [
        Entry(row.person or row.scan, row.contrast, row.degradation, row.method, row.figures, row.spacing, row.scan)
        for row in done
    ]
    texts = protocol.tables(entries) if protocol.tables else {}
    for name, text in texts.items():
        files.write_atomic(files.join(settings.out, name), text.encode())
    return list(texts)


def _best(lines: Sequence[Summary], metric: Metric) -> set[str]:
    """The methods whose mean reads as the best among those that have the most scans; none where all of these read alike."""
    most = max((line.scans for line in lines), default=0)
    rated = {line.method: line.means[metric.name] for line in lines if metric.name in line.means and line.scans == most}
    merits = {method: metric.merit(mean) for method, mean in rated.items()}
    best = {method for method, merit in merits.items() if merit == max(merits.values())}
    return best if len(best) < len(merits) else set()


def _shown(rows: Sequence[Score]) -> list[Metric]:
    """The metrics of the page's table: those that some method has; what could not be had is in the notes."""
    return [metric for metric in metrics_of(metric_names(rows)) if metric.name in SHOWN or metric.name not in BY_NAME]


def _lines(rows: Sequence[Score], pairs: Sequence[PairwiseComparison], metrics: Sequence[Metric]) -> list[Line]:
    marks = iter(letters(len(summaries(rows))))
    lines = []
    for degradation, some in by_degradation(rows).items():
        own = [pair for pair in pairs if pair.degradation == degradation]
        lines += _lines_of(summaries(some), own, metrics, marks)
    return lines


def _lines_of(
    summed: Sequence[Summary],
    pairs: Sequence[PairwiseComparison],
    metrics: Sequence[Metric],
    marks: Iterator[str],
) -> list[Line]:
    """The lines of one degradation, with the next letters."""
    won, letter = beaten(pairs), {line.method: next(marks) for line in summed}
    best = {metric.name: _best(summed, metric) for metric in metrics}

    def cell(line: Summary, metric: Metric) -> Cell:
        losers = won.get((line.method, metric.name), [])
        why = f"significantly better than {', '.join(losers)}" if losers else ""
        return Cell(line.text(metric), line.method in best[metric.name], " ".join(letter[name] for name in losers), why)

    return [
        Line(
            letter[line.method],
            line.label,
            line.model,
            [cell(line, metric) for metric in metrics],
            "–" if line.seconds is None else f"{line.seconds:.1f}",
            line.scans,
            line.failed,
        )
        for line in summed
    ]


def _titled(metric: Metric, degradation: str) -> str:
    """Of a box plot."""
    return f"{metric.title}, {degradation}" if degradation else metric.title


def _values(rows: Sequence[Score], metrics: Sequence[Metric]) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Finite scores by a box plot's title and method."""
    values_by_title: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for metric, (degradation, some) in product(metrics, by_degradation(rows).items()):
        for method, mine in by_method(some).items():
            values = [
                (row.scan, row.figures[metric.name]) for row in mine if math.isfinite(row.figures.get(metric.name, math.nan))
            ]
            if values:
                values_by_title.setdefault(_titled(metric, degradation), {})[method] = values
    return values_by_title


def _best_of_plots(rows: Sequence[Score], metrics: Sequence[Metric]) -> dict[str, set[str]]:
    """The best methods by a box plot's title."""
    summed = {degradation: summaries(some) for degradation, some in by_degradation(rows).items()}
    return {_titled(metric, name): _best(lines, metric) for metric in metrics for name, lines in summed.items()}


def _pair_cells(pair: PairwiseComparison) -> tuple[str, ...]:
    comparison, metric = pair.comparison, metric_of(pair.comparison.metric)
    places = metric.places
    interval = (
        "–" if comparison.interval is None else f"{comparison.interval[0]:+.{places}f} to {comparison.interval[1]:+.{places}f}"
    )
    figures = (
        str(comparison.n),
        f"{comparison.difference:+.{places}f}",
        interval,
        f"{comparison.p:.2g}",
        f"{comparison.p_holm:.2g}",
    )
    return _titled(metric, pair.degradation), pair.a, pair.b, *figures, pair.winner or "–"


def _notes(rows: Sequence[Score], pairs: Sequence[PairwiseComparison], scorer: Scorer) -> list[str]:
    notes = [f"{BY_NAME[name].title}: {NOT_AVAILABLE} ({why})" for name, why in scorer.missing]
    few = too_few(pairs)
    uneven = any(len({line.scans for line in summaries(some)}) > 1 for some in by_degradation(rows).values())
    notes += [few] if few else []
    notes += [MINMAX] if any("psnr_minmax" in row.figures for row in rows) else []
    notes += (
        ["Methods were scored on different numbers of scans; only pairs of methods are compared on the same."] if uneven else []
    )
    return notes + sorted({f"{row.method}: {row.note}." for row in rows if row.note})


def _middle(rows: Sequence[Score]) -> str | None:
    """The scan that all methods that work at all have restored, whose mean PSNR is the middle one."""
    working = {row.method for row in rows if row.state == "done"}
    by_scan: dict[str, list[float]] = {}
    for row in rows:
        if row.state == "done":
            by_scan.setdefault(row.scan, []).append(row.figures["psnr"])
    whole = sorted((float(np.mean(each)), scan) for scan, each in by_scan.items() if len(each) == len(working))
    return whole[(len(whole) - 1) // 2][1] if whole else None


def _detail(settings: EvaluationSettings, cases: Sequence[Case], rows: Sequence[Score], scorer: Scorer) -> Detail | None:
    rows = next(iter(by_degradation(rows).values()), [])  # of several the first
    scan, degradation = _middle(rows), rows[0].degradation if rows else ""
    case = next((case for case in cases if (case.scan, case.degradation) == (scan, degradation)), None)
    if case is None:
        return None
    both = CaseEvaluation(settings, case, scorer).images
    limit, voxel = measured_frequency(both.measured.grid), max(both.target.spacing)
    apart = {}
    images = {INPUT: interpolate(both.measured.image, both.measured.grid, both.target, 0)}
    figures = {}
    for row in rows:
        if row.scan == scan and row.state == "done":
            with suppress(IsovoxError):  # an image that was damaged since
                image = images[row.method] = nifti.load(files.join(settings.out, row.image))[0]
                if (seen := windows(image, both.truth, voxel, limit)) is not None:
                    apart[row.method] = seen.picture(both.target.shape)
            figures[row.method] = f"PSNR {row.figures['psnr']:.2f} dB, SSIM {row.figures['ssim']:.4f}"
    return Detail(case.scan, both.truth, both.target, images, figures, apart)


def _facts(settings: EvaluationSettings, cases: Sequence[Case]) -> dict[str, str]:
    degradations = dict.fromkeys(degradation_told(case) for case in cases if case.measured)
    description = "; ".join(degradation or "as its sidecars say" for degradation in degradations) or "; ".join(
        how.forward.describe() for how in settings.degradations.values()
    )
    cohort = files.name_of(settings.cohort.rstrip("/"))
    return {"Protocol": settings.protocol, "Degraded by": description, "Cohort": cohort, "Scans": str(len(cases))}


def view_of(settings: EvaluationSettings, cases: Sequence[Case], rows: Sequence[Score], scorer: Scorer) -> EvaluationView:
    """All that the page shows."""
    pairs, metrics = pairwise_comparisons(rows), _shown(rows)
    facts = _facts(settings, cases)
    return EvaluationView(
        title=f"Evaluation: {settings.protocol}, {files.name_of(settings.cohort.rstrip('/'))}",
        facts=facts,
        columns=[(metric.title, metric.meaning) for metric in metrics],
        lines=_lines(rows, pairs, metrics),
        values=_values(rows, [metric for metric in metrics if metric.name in DRAWN or metric.name not in BY_NAME]),
        best=_best_of_plots(rows, metrics),
        comparisons=[_pair_cells(pair) for pair in pairs],
        notes=_notes(rows, pairs, scorer),
        failures=[(row.scan, labelled(row.method, row.degradation), row.reason) for row in rows if row.state == "failed"],
        settings=settings.model_dump(mode="json", exclude={"tracking_uri"}),
        detail=_detail(settings, cases, rows, scorer),
        citation=words(settings, rows, pairs, facts["Degraded by"], versions()) if rows else None,
    )


def write(settings: EvaluationSettings, cases: Sequence[Case], rows: Sequence[Score], scorer: Scorer) -> str:
    """Write tables, words to cite and page into the output.

    Returns:
        where the page is.
    """
    write_tables(settings.out, rows, pairwise_comparisons(rows), scorer)
    write_own(settings, rows)
    page = files.join(settings.out, PAGE)
    view = view_of(settings, cases, rows, scorer)
    if view.citation is not None:
        files.write_atomic(Output(settings.out).citation, view.citation.markdown().encode())
    files.write_atomic(page, evaluation_page(view).encode())
    return page


def tell_mlflow(uri: str, settings: EvaluationSettings, rows: Sequence[Score]) -> str | None:
    """A run with settings, each method's means, tables and page; one an output, brought up to date by the next evaluation.

    A server that is away is warned of.

    Returns:
        where a server shows it; None where none does.
    """
    try:
        return _tell(uri, settings, rows)
    except Exception as error:  # noqa: BLE001 - whatever ails the tracking, the evaluation stands
        _log.warning(
            "MLflow does not take what this evaluation tells it (%s); its tables are in the output", str(error)[:LONGEST]
        )
        return None


def _tell(uri: str, settings: EvaluationSettings, rows: Sequence[Score]) -> str | None:
    from mlflow import MlflowClient

    from tasks.tracking.address import run_page
    from tasks.tracking.tracker import experiment_id, flat

    client = MlflowClient(tracking_uri=uri)
    unset = {"fold"} if settings.fold is None else set()
    parameters = settings.model_dump(mode="json", exclude={"out", "tracking_uri", "compute"} | unset)
    key = hashlib.sha256(f"{files.absolute(settings.out)} {parameters}".encode()).hexdigest()[:16]
    experiment = experiment_id(client, uri, EXPERIMENT)
    known = client.search_runs([experiment], f"tags.evaluation = '{key}'", max_results=1)
    name = f"{settings.protocol} {files.name_of(settings.cohort.rstrip('/'))}"
    run = known[0] if known else client.create_run(experiment, run_name=name, tags={"evaluation": key})
    for label, value in flat(parameters).items():
        if label not in run.data.params:
            client.log_param(run.info.run_id, label, value)
    for label, figure in figures_of(rows).items():
        client.log_metric(run.info.run_id, label, figure)
    _send(client, run.info.run_id, settings.out)
    failed = any(row.state == "failed" for row in rows)
    client.set_terminated(run.info.run_id, "FAILED" if failed else "FINISHED")
    return run_page(uri, experiment, run.info.run_id)


def figures_of(rows: Sequence[Score]) -> dict[str, float]:
    """Means by "method/metric", for MLflow."""
    figures: dict[str, float] = {}
    for summary in summaries(rows):
        slug = "".join(letter if letter.isalnum() or letter in "-_. /" else "_" for letter in summary.label)
        figures |= {f"{slug}/{name}": value for name, value in summary.means.items() if math.isfinite(value)}
        figures |= {f"{slug}/{name}_sd": value for name, value in summary.sds.items()}
        figures |= {f"{slug}/scans": float(summary.scans), f"{slug}/failed": float(summary.failed)}
    return figures


def _send(client: Any, run_id: str, out: str) -> None:
    from tasks.tracking.copies import send

    if files.is_remote(out):
        return
    for name in ("scores.csv", "summary.csv", "comparisons.csv", PAGE):
        send(client, run_id, files.join(out, name))
