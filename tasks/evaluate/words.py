"""Words to cite of an evaluation: what was compared, on what and by which figures, with the papers behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from core import __version__
from core.errors import counted
from core.evaluation.metrics.significance import LEVEL
from core.methods import registry
from core.methods.family import Reference
from core.settings.evaluate import EvaluationSettings
from tasks.evaluate.comparisons import PairwiseComparison, too_few
from tasks.evaluate.evaluation import Score
from tasks.evaluate.tables import by_method, metric_names, metrics_of
from tasks.report.citation import Citation, Numbers, cited, ran_on, titled

SSIM = Reference(
    "Wang et al. (2004). Image quality assessment: from error visibility to structural similarity. "
    "IEEE Transactions on Image Processing.",
    "10.1109/TIP.2003.819861",
)
MS_SSIM = Reference(
    "Wang et al. (2003). Multiscale structural similarity for image quality assessment. Asilomar Conference on Signals, Systems "
    "and Computers.",
    "10.1109/ACSSC.2003.1292216",
)
LPIPS = Reference(
    "Zhang et al. (2018). The unreasonable effectiveness of deep features as a perceptual metric. CVPR.",
    "10.1109/CVPR.2018.00068",
)
PAPERS = {"ssim": (SSIM,), "ms_ssim": (MS_SSIM,), "ms_ssim_minmax": (MS_SSIM,), "lpips": (LPIPS,)}


def _methods(settings: EvaluationSettings, rows: Sequence[Score], numbers: Numbers) -> str:
    parts = []
    for label, own in by_method(rows).items():
        name = registered(label)
        options = {key: value for key, value in settings.method_options.items() if key.partition(".")[0] == name}
        restored = " and ".join(dict.fromkeys(_restored_by(row, numbers) for row in own))
        described = f"{name}, which chose {restored}" if own[0].chosen else restored
        parts.append(described + (f", as {label}" if label != name else "") + (f", {json.dumps(options)}" if options else ""))
    return f"Methods: {'; '.join(parts)}." if parts else ""


def _restored_by(row: Score, numbers: Numbers) -> str:
    """The method and model behind a row, of a choice among several those that it chose."""
    return titled(row.chosen or registered(row.method), numbers) + (f", model {row.model}" if row.model else "")


def registered(label: str) -> str:
    """The method of a row's label, which may go on with what sets it apart: "METHOD+repair", "METHOD (champion)"."""
    return label.partition(" ")[0].partition("+")[0]


def _figures(rows: Sequence[Score], numbers: Numbers) -> str:
    metrics = metrics_of(metric_names(rows))
    titles = ", ".join(f"{metric.title}{numbers.of(PAPERS.get(metric.name, ()))}" for metric in metrics)
    return f"Figures: {titles}." if titles else ""


def _scored(rows: Sequence[Score]) -> str:
    done = sum(row.state == "done" for row in rows)
    lost = f"; {counted(len(rows) - done, 'other')} could not be made or scored" if done < len(rows) else ""
    return f"{counted(done, 'restored volume')} {'was' if done == 1 else 'were'} scored against the truth{lost}."


def _compared(pairs: Sequence[PairwiseComparison]) -> str:
    """By which rule a method is called better; nothing where the persons are too few for any to be."""
    if not pairs or too_few(pairs):
        return ""
    return (
        "Pairs of methods were compared on the same persons, whose scans were averaged. One is called better where the 95 % "
        "interval of the mean difference by Student's t excludes 0 and p of the sign-flip permutation test, adjusted after Holm "
        f"over all {len(pairs)} comparisons, is below {LEVEL:g}."
    )


def words(
    settings: EvaluationSettings,
    rows: Sequence[Score],
    pairs: Sequence[PairwiseComparison],
    degraded: str,
    versions: Mapping[str, str],
) -> Citation:
    """What to say of an evaluation.

    Args:
        settings: of it.
        rows: of all scans and methods.
        pairs: of methods that were compared.
        degraded: how scans of low resolution came from sharp ones.
        versions: of what the numbers depend on, by name.
    """
    numbers, scans, persons = Numbers(), {row.scan for row in rows}, {row.person or row.scan for row in rows}
    protocol = f"{settings.protocol} ({registry.protocols()[settings.protocol].title.rstrip('.')})"
    on = f"{counted(len(scans), 'scan')} of {counted(len(persons), 'person')} whose truth is known"
    sentences = (
        f"Methods were compared with isovox {__version__} [1] by its protocol {protocol} on {on}, degraded so: {degraded}.",
        _methods(settings, [row for row in rows if row.state == "done"], numbers),
        _scored(rows),
        _figures(rows, numbers),
        _compared(pairs),
        f"Random numbers began at seed {settings.seed}.",
        ran_on(versions),
    )
    return cited(sentences, numbers)
