"""Whether a challenger becomes champion: both on the same scans, compared, decided, and the decision kept with its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from core.errors import UsageError
from core.metrics.significance import Comparison, Scores, compare, is_better
from tasks.models import Models, Version, now


@dataclass(frozen=True)
class PairedScores:
    """Scores of two models on the same scans.

    Attributes:
        scans: their names, in the order of the scores.
        challenger: a score a scan, by metric.
        champion: likewise.
        lower_is_better: metrics of which it is.
        cohort: sha256 of the scans and their truth; empty where it is not known.
    """

    scans: tuple[str, ...]
    challenger: Scores
    champion: Scores
    lower_is_better: frozenset[str] = frozenset()
    cohort: str = ""


Scorer = Callable[[str, str], PairedScores]  # of the URIs of challenger and champion, each with its version


@dataclass(frozen=True)
class Decision:
    """What came of a promotion, and why.

    Attributes:
        promoted: whether the challenger is champion now.
        challenger: its version.
        champion: the version that was champion before; empty where there was none.
        reasons: a line each.
        at: time, ISO 8601, UTC.
        evaluated_on: the cohort, as it was named.
        cohort: sha256 of the cohort.
        scans: names of the scans.
        comparisons: challenger against champion, by metric.
    """

    promoted: bool
    challenger: str
    champion: str
    reasons: tuple[str, ...]
    at: str
    evaluated_on: str = ""
    cohort: str = ""
    scans: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


def promote(
    models: Models,
    name: str,
    score: Scorer | None,
    *,
    evaluated_on: str = "",
    margins: Mapping[str, float] | None = None,
) -> Decision:
    """Make the challenger champion if it is the better one by ``core.metrics.significance.is_better``.

    Where there is no champion to be better than, the challenger becomes it. The decision is kept with its figures.

    Args:
        models: of a registry.
        name: of the model.
        score: runs both on the evaluation cohort; None only where there is no champion.
        evaluated_on: the cohort's name, to be kept.
        margins: see ``is_better``.

    Raises:
        UsageError: no challenger, no scores, or other aliases than at the beginning.
        WeightsError: a pickle, or other weights than were registered.
        IsovoxError: scores that are no pairs, or not finite.
    """
    challenger, champion = models.pair(name)
    models.check(challenger)
    if champion is None:
        reasons = ("there is no champion to compare it with",)
        decision = Decision(promoted=True, challenger=challenger.version, champion="", reasons=reasons, at=now())
    else:
        decision = _against(models, challenger, champion, score, margins)
    decision = replace(decision, evaluated_on=evaluated_on)
    if decision.promoted:
        models.crown(name, challenger.version, "promoted" if champion else "first")
    _keep(models, name, decision)
    return decision


def _against(
    models: Models, challenger: Version, champion: Version, score: Scorer | None, margins: Mapping[str, float] | None
) -> Decision:
    models.check(champion)
    if score is None:
        raise UsageError("no-cohort", "a cohort to compare both on", "none", "name one by --cohort")
    scores = score(challenger.uri, champion.uri)
    decision = decide(challenger.version, champion.version, scores, margins)
    if [each and each.version for each in models.pair(challenger.name)] != [challenger.version, champion.version]:
        wanted = f"champion and challenger of {challenger.name} as they were"
        raise UsageError("models-moved", wanted, "others meanwhile", "promote again")
    return decision


def decide(challenger: str, champion: str, scores: PairedScores, margins: Mapping[str, float] | None = None) -> Decision:
    """Compare two versions by their scores.

    Raises:
        IsovoxError: scores that are no pairs, or not finite.
    """
    comparisons = compare(scores.challenger, scores.champion, lower_is_better=scores.lower_is_better)
    better, reasons = is_better(comparisons, margins=margins)
    decision = Decision(better, challenger, champion, tuple(reasons), now())
    return replace(decision, cohort=scores.cohort, scans=scores.scans, comparisons=tuple(comparisons))


def _keep(models: Models, name: str, decision: Decision) -> None:
    whole = asdict(decision)
    said = {key: value for key, value in whole.items() if key not in {"scans", "comparisons"}} | {"scans": len(decision.scans)}
    models.note_decision(name, decision.challenger, said, whole)
    models.note_figures(name, decision.challenger, {f"gain_{each.metric}": each.gain[1] for each in decision.comparisons})
