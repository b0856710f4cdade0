"""A challenger becomes champion only if it is better on the frozen cohort; the decision is kept with its figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.errors import IsovoxError, UsageError, WeightsError
from core.evaluation.metrics import significance
from core.models import weights
from core.settings.scans import Selection
from tasks.registry.models import Models
from tasks.registry.promotion import Cohort, PairedScores, cohort_of, promote

HERE = Cohort("cohort", "ab" * 32)


@pytest.fixture(autouse=True)
def few_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Almost Stochastic Order from 10 bootstraps, not 1000: tenths of a second."""
    order = significance.almost_stochastic_order
    monkeypatch.setattr(significance, "almost_stochastic_order", lambda a, b, **_: order(a, b, seed=0, bootstraps=10))


@pytest.fixture
def models(uri: str, tmp_path: Path, model: Callable[[float], str]) -> Models:
    """A champion, version 1, and a challenger, version 2."""
    found = Models(uri, tmp_path / "cache")
    for number in (1.0, 2.0):
        found.add(model(number), "unet")
    return found


class Scorer:
    """Scores of 8 scans, the challenger's better by ``gain``; remembers of what it was asked."""

    def __init__(self, gain: float = 1.0, loss: float = 0.0) -> None:
        draw = np.random.default_rng(0)
        base, noise = draw.normal(30, 1, 8), draw.normal(0, 0.1, 8)
        self.asked: list[tuple[str, str]] = []
        ours = {"psnr": (base + gain + noise).tolist(), "ssim": [0.9 - loss] * 8, "lpips": [0.2] * 8}
        theirs = {"psnr": base.tolist(), "ssim": [0.9] * 8, "lpips": [0.1] * 8}
        self.scores = PairedScores(ours, theirs, tuple("abcdefgh"), ("lpips",))

    def __call__(self, challenger: str, champion: str) -> PairedScores:
        self.asked.append((challenger, champion))
        return self.scores


def aliases(models: Models) -> dict[str, str]:
    return {alias: each.version for each in models.versions("unet") for alias in each.aliases}


def test_a_better_challenger_becomes_champion(models: Models) -> None:
    score = Scorer(gain=1.0)
    decision = promote(models, "unet", score, HERE)
    assert decision.promoted
    assert score.asked == [("models:/unet/2", "models:/unet/1")]
    assert aliases(models) == {"champion": "2"}
    assert [(event.what, event.before, event.version) for event in models.history("unet")][-1] == ("promoted", "1", "2")
    assert models.rollback("unet").version == "1"


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (Scorer(gain=-1.0), "not significantly better by psnr"),
        (Scorer(gain=0.0), "not significantly better by psnr"),
        (Scorer(gain=1.0, loss=0.01), "might be worse by ssim"),
    ],
    ids=["worse", "alike", "better and worse"],
)
def test_a_challenger_that_is_not_better_stays_one_and_it_is_said_why(models: Models, score: Scorer, said: str) -> None:
    decision = promote(models, "unet", score, HERE)
    assert not decision.promoted
    assert decision.reasons[0].startswith(said)
    assert "interval" in decision.reasons[0]
    assert aliases(models) == {"champion": "1", "challenger": "2"}


def test_a_decision_is_kept_with_its_figures(models: Models) -> None:
    promote(models, "unet", Scorer(gain=-1.0), HERE)
    decision = promote(models, "unet", Scorer(gain=1.0), HERE)
    story = models.show("unet/2")
    assert [each["promoted"] for each in story.decisions] == [False, True]
    assert story.decisions[1]["reasons"] == list(decision.reasons)
    assert story.decisions[1]["cohort"] == {"uri": "cohort", "sha256": HERE.sha256}
    assert story.version.figures["gain_psnr"] == pytest.approx(decision.comparisons[0].gain[1])
    version = models._client.get_model_version("unet", "2")
    local = models._client.download_artifacts(version.run_id, "decisions/000001.json")
    whole = json.loads(Path(local).read_text())
    assert whole["scores"]["challenger"] == Scorer(gain=1.0).scores.challenger
    assert whole["comparisons"][0]["metric"] == "psnr"
    assert whole["comparisons"][0]["eps_min"] == decision.comparisons[0].eps_min


def test_without_a_champion_there_is_nothing_to_compare_with(uri: str, tmp_path: Path, model: Callable[[float], str]) -> None:
    from tasks.registry.resolve import register

    register(model(1.0), "unet", uri, alias="challenger")
    models = Models(uri, tmp_path / "cache")
    decision = promote(models, "unet", None, None)
    assert (decision.promoted, decision.champion, decision.comparisons) == (True, "", ())
    assert aliases(models) == {"champion": "1"}
    assert models.history("unet")[0].what == "first"


def test_the_cohort_is_frozen_by_the_first_comparison(models: Models) -> None:
    promote(models, "unet", Scorer(gain=-1.0), HERE)
    other, score = Cohort("kinder cohort", "cd" * 32), Scorer(gain=1.0)
    with pytest.raises(
        UsageError, match=r"cohort-changed: expected the evaluation cohort of unet as it was frozen: cohort, sha256 ab"
    ):
        promote(models, "unet", score, other)
    assert score.asked == []
    assert promote(models, "unet", score, other, thaw=True).promoted
    assert models.cohort("unet") == {"uri": "kinder cohort", "sha256": other.sha256}


def test_a_cohort_is_its_scans_their_truth_and_how_they_are_degraded(tmp_path: Path) -> None:
    def scan(place: str, value: float) -> Path:
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), value, np.float32), np.eye(4)), path)
        return path

    def digest(**how: object) -> str:
        return cohort_of(str(tmp_path / "data"), Selection(), how).sha256

    first = scan("data/a_T1w.nii.gz", 1)
    truth = scan("truth.nii.gz", 5)
    (tmp_path / "data" / "a_T1w.json").write_text(json.dumps({"TruthURI": str(truth)}))
    kept = digest(factor=4)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, truth)]
    lines = "".join(f"a_T1w {value}\n" for value in hashes)
    assert kept == hashlib.sha256(('{"factor": 4}' + lines).encode()).hexdigest()  # as records of cohorts have it
    assert digest(factor=8) != kept
    scan("truth.nii.gz", 6)
    assert digest(factor=4) != kept
    scan("truth.nii.gz", 5)
    assert digest(factor=4) == kept
    first.unlink()
    scan("data/b_T1w.nii.gz", 1)
    assert digest(factor=4) != kept


def test_a_cohort_must_be_named_where_there_is_a_champion(models: Models) -> None:
    with pytest.raises(UsageError, match=r"no-cohort: .* Name one by --cohort"):
        promote(models, "unet", None, None)


def test_without_a_challenger_nothing_is_compared(models: Models) -> None:
    score = Scorer()
    promote(models, "unet", score, HERE)
    with pytest.raises(UsageError, match=r"no-challenger: .* got champion 2 alone"):
        promote(models, "unet", score, HERE)
    with pytest.raises(UsageError, match="model-unknown"):
        promote(models, "unets", score, HERE)
    assert len(score.asked) == 1


@pytest.mark.parametrize("version", ["1", "2"])
def test_tampered_weights_are_not_even_compared(models: Models, version: str) -> None:
    path = Path(models.check(models.find(f"unet/{version}")).folder) / weights.TENSORS
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    score = Scorer()
    with pytest.raises(WeightsError, match="weights-digest"):
        promote(models, "unet", score, HERE)
    assert score.asked == []
    assert aliases(models) == {"champion": "1", "challenger": "2"}


def test_a_challenger_that_comes_meanwhile_is_not_promoted_by_the_others_scores(
    models: Models, model: Callable[[float], str]
) -> None:
    score = Scorer(gain=1.0)

    def slow(challenger: str, champion: str) -> PairedScores:
        models.add(model(3.0), "unet")
        return score(challenger, champion)

    with pytest.raises(UsageError, match="models-moved"):
        promote(models, "unet", slow, HERE)
    assert aliases(models) == {"champion": "1", "challenger": "3"}


def test_scores_that_are_not_finite_decide_nothing(models: Models) -> None:
    score = Scorer()
    score.scores.challenger["psnr"][3] = float("nan")  # type: ignore[index]
    with pytest.raises(IsovoxError, match=r"scores-finite: .* scans \[3\]"):
        promote(models, "unet", score, HERE)
    assert aliases(models) == {"champion": "1", "challenger": "2"}
    assert models.show("unet/2").decisions == []
    assert models.cohort("unet") is None
