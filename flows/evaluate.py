"""Methods held against one another on a cohort whose truth is known: who takes part, and how they are scored."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from core.errors import IsovoxError, RestorationError, UsageError
from core.settings.evaluate import EvaluationSettings
from core.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.engine.plan import Weights
    from tasks.evaluate.candidates import Candidate
    from tasks.evaluate.cases import Case
    from tasks.evaluate.evaluation import Score
    from tasks.evaluate.scorers import Scorer, Scoring
    from tasks.registry.promotion import PairedScores


REPAIR = "+repair"  # after a method's name


# -- who takes part ---------------------------------------------------------------------------------------------------------


def candidates_of(settings: EvaluationSettings) -> list[Candidate]:
    """The methods that the settings name, each with its weights; a method without weights takes part in its failed rows alone.

    Raises:
        UsageError: an unknown method, an option of a method that does not take part, or a method named twice.
    """
    from core.methods import registry

    asked, baseline = registry.protocol(settings.protocol).baseline, registry.baseline()
    named = settings.methods if not asked or baseline in settings.methods else (baseline, *settings.methods)
    words = [word for method in named for word in _champions(method, settings)]
    entrants = [_said(word) for word in words]
    plain = Counter((method, repair) for method, repair, _ in entrants)
    candidates = [_candidate(each, settings, alone=plain[each[:2]] == 1) for each in entrants]
    candidates = [_told_apart(candidate, candidates) for candidate in candidates]
    labels = Counter(candidate.label for candidate in candidates)
    if twice := [label for label, count in labels.items() if count > 1]:
        raise UsageError("method-twice", "each method once", twice[0], "name it once, or with another model")
    if alien := {name.partition(".")[0] for name in settings.method_options} - {
        name for candidate in candidates for name in candidate.names
    }:
        raise UsageError("method-options", "options of methods that take part", ", ".join(sorted(alien)), "correct their names")
    return candidates


def _told_apart(candidate: Candidate, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate, with the start of its model's digest in its label where another one's model has the same name."""
    alike = [other for other in candidates if other.label == candidate.label]
    return (
        replace(candidate, label=f"{candidate.label} {candidate.weights.sha256[:8]}")
        if len(alike) > 1 and candidate.weights
        else candidate
    )


def _champions(word: str, settings: EvaluationSettings) -> list[str]:
    """``champion`` stands for all methods of which the registry has one (or isovox brings one); likewise ``challenger``."""
    if word not in {"champion", "challenger"}:
        return [word]
    from core.methods.registry import learned, method_entry

    pairs = [(method, f"models:/{method_entry(method).model_name}@{word}") for method in learned()]
    there = [f"{method}={model}" for method, model in pairs if not _weighed(method, model, settings)[1]]
    if not there:
        remedy = "train one (isovox train METHOD COHORT) and promote it"
        raise UsageError("champion-missing", f"a method with a {word} in the registry", "none", remedy)
    return there


def _said(word: str) -> tuple[str, bool, str | None]:
    """Method, whether what it makes is repaired, and model, of METHOD, METHOD+repair, METHOD=MODEL or METHOD+repair=MODEL."""
    from core.methods.registry import methods, pickers, unknown

    name, _, model = word.partition("=")
    method = name.removesuffix(REPAIR)
    if method not in (known := [*methods(), *pickers()]):
        raise unknown("unknown-method", name, [*known, "champion"], "correct --methods")
    if model.endswith(REPAIR):
        right = f"{method}{REPAIR}={model.removesuffix(REPAIR)}"
        raise UsageError("repair-misplaced", f"METHOD{REPAIR}=MODEL", word, f"write {right}")
    if model and method in pickers():
        raise UsageError("model-unneeded", f"{method} without a model", model, f"name {method} alone: it takes the champions")
    return method, name != method, model or None


def _weighed(method: str, model: str | None, settings: EvaluationSettings) -> tuple[Weights | None, str]:
    """A method's weights, or why it has none."""
    from core.methods.registry import needs_model
    from flows.weights import resolve_weights

    if model is None and not needs_model(method, _options(method, settings)):
        return None, ""
    run = RunSettings(input="", out=settings.out, method=method, model=model, tracking_uri=settings.tracking_uri)
    try:
        return resolve_weights(run), ""
    except IsovoxError as error:
        return None, str(error)


def _options(method: str, settings: EvaluationSettings) -> dict[str, Any]:
    """What is said of a method's own settings."""
    pairs = ((name.partition("."), value) for name, value in settings.method_options.items())
    return {option: value for (of, _, option), value in pairs if of == method}


def _candidate(word: tuple[str, bool, str | None], settings: EvaluationSettings, *, alone: bool) -> Candidate:
    """Who takes part by the name, the repair and the model that were told.

    Args:
        word: of ``_said``.
        settings: of the evaluation.
        alone: whether no other model of that name takes part.
    """
    from core.methods.registry import candidates, pickers
    from tasks.evaluate.candidates import Candidate

    method, repair, model = word
    label = f"{method}{REPAIR}" if repair else method
    if method in pickers():
        among = tuple(_of_method(name, None, settings) for name in candidates(method))
        return Candidate(label, method, choices=among, repair=repair, reason=among[-1].reason)
    candidate = replace(_of_method(method, model, settings), label=label, repair=repair)
    return candidate if alone else replace(candidate, label=f"{label} ({candidate.model or _short(model)})")


def _of_method(method: str, model: str | None, settings: EvaluationSettings) -> Candidate:
    from tasks.evaluate.candidates import Candidate
    from tasks.evaluate.cases import trained_of

    weights, reason = _weighed(method, model, settings)
    trained = trained_of(weights.folder) if weights else None
    candidate = Candidate(method, method, _options(method, settings), weights, trained, reason=reason)
    if reason:
        return candidate
    built = candidate.build()  # a wrong option is told before anything is done
    try:
        return replace(candidate, domain=built.domain, revision=built.revision, depends_on=built.depends_on)
    except RestorationError as error:  # a program that is not there takes no part, and its rows say why
        return replace(candidate, domain=built.domain, reason=str(error))


def _short(model: str | None) -> str:
    return (model or "champion").removeprefix("models:/").rstrip("/").rpartition("/")[2] or "model"


# -- the flow ---------------------------------------------------------------------------------------------------------------


def scoring_of(settings: EvaluationSettings) -> tuple[Scoring, Scorer]:
    """What is scored beside PSNR and SSIM: as a value for the workers, and here, with why a figure cannot be had.

    Raises:
        UsageError: a segmenter that is not there.
        WeightsError: a model that does not segment.
    """
    from core.io import files
    from core.methods import registry
    from flows.weights import resolve_model
    from tasks.evaluate.scorers import Scoring, lpips_missing, scorer_of

    segmenter = settings.segmenter
    is_model = "{" not in segmenter and (segmenter.startswith("models:") or files.is_folder(segmenter))
    wanted = registry.protocol(settings.protocol).lpips if settings.lpips is None else settings.lpips
    why = lpips_missing() if wanted else ""
    weights = resolve_model(segmenter, settings.tracking_uri) if is_model else None
    scoring = Scoring(segmenter, settings.contrast, weights, lpips=wanted and not why)
    return scoring, replace(scorer_of(scoring), missing=(("lpips", why),) if why else ())


def evaluate(settings: EvaluationSettings) -> list[Score]:
    """Degrade, restore, score and compare, with progress bars; tables in the output.

    Returns:
        a row a scan and method.

    Raises:
        UsageError: no such cohort, an unknown method, or a setting that cannot be meant.
        AccessError: storage that may not be written to.
        PlanError: disk-too-small.
        BusyError: another run works on the same output.
        ClusterError: the cluster cannot be had.
    """
    from core.io import claim
    from core.io.lock import cohort_lock
    from core.io.output import Output
    from flows.runs.address import tell_addresses
    from flows.runs.home import tracking_uri
    from flows.runs.progress import note, waiting
    from tasks.evaluate import report as evaluation_report
    from tasks.evaluate.room import check_room

    claim.check(settings.out, [settings.cohort], "evaluate")
    waiting("looking at methods and their models")
    candidates, (scoring, scorer) = candidates_of(settings), scoring_of(settings)
    check_room(settings, candidates)
    with cohort_lock(Output(settings.out).lock):
        claim.begin(settings.out, "evaluate")
        cases, rows = _scored(settings, candidates, scoring)
        waiting("writing tables and page, and telling MLflow")
        evaluation_report.write(settings, cases, rows, scorer)
        tell_addresses(note, evaluation_report.tell_mlflow(tracking_uri(settings.tracking_uri), settings, rows))
    return rows


def _scored(settings: EvaluationSettings, candidates: Sequence[Candidate], scoring: Scoring) -> tuple[list[Case], list[Score]]:
    """The cases and their rows, made where the settings say that work runs."""
    from core.io.output import Output
    from flows.runs.beside import counted_beside
    from flows.runs.progress import bars
    from infra.dispatch import run_bounded
    from tasks.evaluate import cases, evaluation
    from tasks.evaluate.beside import with_beside

    course = Output(settings.out).course
    with counted_beside(settings.compute, settings.cohort, settings.selection) as (pool, scans):
        dispatch = partial(run_bounded, pool)
        with bars("making cases", {"scans": scans * len(settings.degradations)}, told_at=course) as tell:
            chosen = cases.find_cases(settings, tell, dispatch)
        chosen = with_beside(chosen, [name for candidate in candidates for name in candidate.names], settings)
        work = evaluation.Evaluation(settings, tuple(chosen), tuple(candidates), scoring)
        with bars("restoring and scoring", {"restored": len(chosen) * len(candidates)}, told_at=course) as tell:
            return chosen, evaluation.evaluate(work, tell, dispatch)


def paired_scores(models: Sequence[str], cohort: str, out: str, **settings: Any) -> PairedScores:
    """Two models on the same scans, as ``isovox models promote`` compares them.

    Args:
        models: two, each a folder or models:/name@alias.
        cohort: a frozen one: simulated scans with their truth, or sharp ones that ``settings`` say how to degrade.
        out: folder of the evaluation; scans that it holds already are not restored again.
        **settings: of ``EvaluationSettings``, such as ``protocol`` ("thick-slice" unless said) and ``tracking_uri``.

    Returns:
        psnr, ssim and ms_ssim, and lpips and miou where they were asked for: those of the first model as the challenger's, of the
        second as the champion's, scans in one order.

    Raises:
        UsageError: scores-missing, where a scan could not be scored by both.
    """
    from tasks.evaluate.comparisons import COMPARED
    from tasks.registry.promotion import PairedScores

    uri = settings.get("tracking_uri")
    methods = tuple(f"{method_of(model, uri)}={model}" for model in models)
    defaults = {"protocol": "thick-slice", "segmenter": "none", "lpips": False} | settings
    rows = evaluate(EvaluationSettings.model_validate(defaults | {"cohort": cohort, "out": out, "methods": methods}))
    labels = list(dict.fromkeys(row.method for row in rows))[-len(models) :]  # the baseline of a protocol stands before them
    rows = [row for row in rows if row.method in labels]
    if failed := [row for row in rows if row.state == "failed"]:
        got = f"{len(failed)} of {len(rows)} failed, the first: {failed[0].scan}, {failed[0].reason}"
        raise UsageError("scores-missing", "a score of every scan by both models", got, "mend or leave out these scans")
    first, second = (rows[n :: len(methods)] for n in range(2))
    names = [name for name in COMPARED if all(name in row.figures for row in rows)]
    challenger, champion = ({name: [row.figures[name] for row in half] for name in names} for half in (first, second))
    persons = tuple(row.person or row.scan for row in first)
    return PairedScores(challenger, champion, persons, tuple(name for name in names if name == "lpips"))


def method_of(model: str, tracking_uri: str | None) -> str:
    """The method that a model is for, by its network."""
    from core.methods.registry import method_for
    from core.models.bundle import read_bundle
    from flows.weights import resolve_model

    return method_for(read_bundle(resolve_model(model, tracking_uri).folder).network)
