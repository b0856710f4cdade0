"""Whether a challenger becomes champion: both on the same scans, compared, decided, and the decision kept with its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.digest import digest_of
from core.errors import UsageError
from core.evaluation.metrics.significance import Comparison, Scores, compare, is_better
from core.io import files, simulated
from core.io.bids import Source, discover
from core.settings.scans import Selection
from tasks.registry.models import Models, Version, now


@dataclass(frozen=True)
class PairedScores:
    """Scores of two models on the same scans, in the same order.

    Attributes:
        challenger: a score a scan, by metric.
        champion: likewise.
        persons: of whom each scan is.
        lower_is_better: metrics of which it is.
    """

    challenger: Scores
    champion: Scores
    persons: tuple[str, ...]
    lower_is_better: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cohort:
    """On which scans models of a name are compared.

    Attributes:
        uri: as it was named.
        sha256: of its scans, their truth and how they are degraded.
    """

    uri: str
    sha256: str


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
        cohort: on which both were compared; None where there was nothing to compare.
        scores: of both.
        comparisons: challenger against champion, by metric.
    """

    promoted: bool
    challenger: str
    champion: str
    reasons: tuple[str, ...]
    at: str
    cohort: Cohort | None = None
    scores: PairedScores | None = None
    comparisons: tuple[Comparison, ...] = ()


def cohort_of(uri: str, selection: Selection, how: Any) -> Cohort:
    """The digest of an evaluation cohort: of every scan, of its truth where one is named, and of how they are degraded.

    Args:
        uri: BIDS dataset, folder of NIfTI, or TSV table.
        selection: which of its scans.
        how: settings of the comparison, a JSON value.

    Raises:
        UsageError: no such cohort.
    """
    return Cohort(uri, digest_of(how, spaced=True, lines=_files_of(uri, selection)))


def _files_of(uri: str, selection: Selection) -> Iterator[str]:
    for scan in discover(uri, selection):
        if isinstance(scan, Source):
            truth = scan.reference or (simulated.truth_of(scan.uris[0], uri) if scan.kind != "dicom" else None)
            yield from (f"{scan.key} {files.sha256(name)}\n" for name in (*scan.uris, *([truth] if truth else [])))


def promote(
    models: Models,
    name: str,
    score: Scorer | None,
    cohort: Cohort | None,
    *,
    thaw: bool = False,
) -> Decision:
    """Make the challenger champion if it is the better one by ``core.evaluation.metrics.significance.is_better``.

    Where there is no champion to be better than, the challenger becomes it. The decision is kept with its figures. The cohort is
    frozen by the first comparison: choosing another until one suits the challenger would make any test worthless.

    Args:
        models: of a registry.
        name: of the model.
        score: runs both on the evaluation cohort; None only where there is no champion.
        cohort: the evaluation cohort; None only where there is no champion.
        thaw: take another cohort than before, and freeze that.

    Raises:
        UsageError: no challenger, no cohort or another one than before, or other aliases than at the beginning.
        WeightsError: a pickle, or other weights than were registered.
        IsovoxError: scores that are no pairs, or not finite.
    """
    challenger, champion = models.pair(name)
    models.check(challenger)
    if champion is None:
        reasons = ("there is no champion to compare it with",)
        decision = Decision(promoted=True, challenger=challenger.version, champion="", reasons=reasons, at=now())
    else:
        models.check(champion)
        if score is None or cohort is None:
            raise UsageError("no-cohort", "a cohort to compare champion and challenger on", "none", "name one by --cohort")
        if not thaw:
            _check_frozen(models, name, cohort)
        decision = replace(_against(models, challenger, champion, score), cohort=cohort)
        models.freeze_cohort(name, asdict(cohort))
    if decision.promoted:
        models.crown(name, challenger.version, "promoted" if champion else "first")
    _keep(models, name, decision)
    return decision


def _check_frozen(models: Models, name: str, cohort: Cohort) -> None:
    before = models.cohort(name)
    if before and before["sha256"] != cohort.sha256:
        wanted = f"the evaluation cohort of {name} as it was frozen: {before['uri']}, sha256 {before['sha256'][:12]}"
        got = f"{cohort.uri}, sha256 {cohort.sha256[:12]}"
        raise UsageError("cohort-changed", wanted, got, "name that one with its settings, or freeze this by --new-cohort")


def _against(models: Models, challenger: Version, champion: Version, score: Scorer) -> Decision:
    decision = decide(challenger.version, champion.version, score(challenger.uri, champion.uri))
    if [each and each.version for each in models.pair(challenger.name)] != [challenger.version, champion.version]:
        wanted = f"champion and challenger of {challenger.name} as they were"
        raise UsageError("models-moved", wanted, "other versions meanwhile", "promote again")
    return decision


def decide(challenger: str, champion: str, scores: PairedScores) -> Decision:
    """Compare two versions by their scores.

    Raises:
        IsovoxError: scores that are no pairs, or not finite.
    """
    lower = scores.lower_is_better
    comparisons = compare(scores.challenger, scores.champion, persons=scores.persons, lower_is_better=lower)
    better, reasons = is_better(comparisons)
    return Decision(better, challenger, champion, tuple(reasons), now(), scores=scores, comparisons=tuple(comparisons))


def _keep(models: Models, name: str, decision: Decision) -> None:
    whole = asdict(decision)
    settings = {key: value for key, value in whole.items() if key not in {"scores", "comparisons"}}
    models.note_decision(name, decision.challenger, settings, whole)
    models.note_figures(name, decision.challenger, {f"gain_{each.metric}": each.gain[1] for each in decision.comparisons})
