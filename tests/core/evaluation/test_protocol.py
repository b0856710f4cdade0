"""A protocol's parts: which voxels count, which persons, and what its figures depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from core.errors import UsageError
from core.evaluation.metrics.restoration import restoration_scores
from core.evaluation.protocol import RESTORATION, Measure, Metric, Protocol
from core.geometry.grid import Grid
from core.methods import registry
from core.settings.evaluate import EvaluationSettings

PLAIN = Protocol("plain", {})
BIAS = Measure(
    lambda restored, truth, _: {"bias": float((restored - truth).mean())}, (Metric("bias", "Bias", 2, "mean", higher=False),)
)


def images() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    truth = draw.gamma(4, 20, (24, 24, 24)).astype(np.float32)
    return truth + draw.normal(0, 4, truth.shape).astype(np.float32), truth


def test_without_a_mask_the_figures_are_those_of_the_whole_volume() -> None:
    assert PLAIN.score(*images()) == restoration_scores(*images())
    assert PLAIN.identity == ()


def test_a_mask_leaves_out_what_is_wrong_outside_it() -> None:
    restored, truth = images()
    inner = np.zeros(truth.shape, bool)
    inner[:12] = True
    spoilt = restored.copy()
    spoilt[20:] += 50
    masked = replace(PLAIN, mask=lambda _: inner)
    assert masked.score(spoilt, truth)["psnr"] == masked.score(restored, truth)["psnr"]
    assert PLAIN.score(spoilt, truth)["psnr"] < PLAIN.score(restored, truth)["psnr"] - 3
    assert masked.identity


def test_own_measures_come_beside_the_shared_ones_and_rows_of_before_are_not_taken_for_theirs() -> None:
    own = replace(PLAIN, measures=(RESTORATION, BIAS))
    assert set(own.score(*images())) == {*restoration_scores(*images()), "bias"}
    assert own.identity != replace(own, measures=(RESTORATION, replace(BIAS, version=2))).identity != ()


def test_two_measures_that_call_a_figure_alike_are_refused() -> None:
    """One stood for the other, and nobody was told."""
    placed = Measure(lambda *_: {}, placed=lambda *_: {"bias": 0.0})
    both, grid = replace(PLAIN, measures=(BIAS, placed)), Grid((24, 24, 24), np.eye(4))
    with pytest.raises(UsageError, match=r"figure-twice: expected each figure of plain by one measure, but got bias\. Rename it"):
        both.score(*images(), (grid, grid))


def test_a_fold_that_there_is_not_is_refused() -> None:
    five = replace(PLAIN, folds=5)
    assert five.fold(["b", "a", "c", "c"], 2) == {"b"}
    with pytest.raises(UsageError, match=r"fold-unknown: expected a fold from 1 to 5 of plain, but got 6\. Correct --fold"):
        five.fold(["a"], 6)


def test_a_protocol_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        (UsageError, ValidationError), match=r"one of .*iqt, thick-slice.*got thin-slice.*Did you mean thick-slice\?"
    ):
        EvaluationSettings(protocol="thin-slice", cohort="", out="")


def test_shared_protocols_are_listed_without_importing_them() -> None:
    assert [(one.name, one.title) for one in registry.shared_protocols().values()] == [
        ("any-scan", "Slices 2 to 8 sharp voxels apart, without and with gaps, of box and Gaussian profiles"),
        (
            "domain",
            "Averaged slices over a grid of factors and gaps: for which scans a method is better than cubic interpolation",
        ),
        ("faults", "Averaged slices, factor 4, with faults planted in what methods restore: which of them the checks find"),
        ("iqt", "Low field, factor 8, Kim et al. 2023"),
        ("thick-slice", "Averaged slices, factor 4"),
        ("ulf-enc", "Low field, factor 4, scored as the 2025 ultra-low-field enhancement challenge (ULF-EnC) announced it"),
    ]
