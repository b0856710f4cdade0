"""The figures of the evaluation: of slices, and of structure that was invented or lost."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import IsovoxError
from core.evaluation.protocol import Entry
from core.geometry.grid import Grid
from core.methods.latent_zoom import order
from core.methods.latent_zoom.protocol import (
    METRICS,
    PROTOCOL,
    between_scores,
    by_own,
    counted,
    drawn_slices,
    invented_and_lost,
    scores,
    slice_psnr,
)
from core.operators.forward_model import DroppedSlices
from tests.phantoms import brain

TRUTH = brain((32, 34, 33))[0]


PLACES = np.stack(np.meshgrid(*(np.arange(32) - 16 for _ in range(3)), indexing="ij"))
SMOOTH = (100 * np.exp(-(PLACES**2).sum(0) / 150)).astype(np.float32)
SPOTTED = (SMOOTH + 50 * np.exp(-(PLACES**2).sum(0) / 4)).astype(np.float32)


def test_a_spot_is_invented_where_the_truth_has_none_and_lost_where_it_has_one() -> None:
    invented, missing = invented_and_lost(SPOTTED, SMOOTH)
    too_much, lost = invented_and_lost(SMOOTH, SPOTTED)
    assert missing < 0.05 * invented
    assert too_much < 0.05 * lost
    assert lost > 0.03
    assert invented_and_lost(TRUTH, TRUTH) == (0, 0)


def test_half_of_a_structure_is_half_lost_and_twice_more_is_invented() -> None:
    assert invented_and_lost(TRUTH / 2, TRUTH) == pytest.approx((0, 0.5), abs=1e-5)
    assert invented_and_lost(TRUTH * 3, TRUTH) == pytest.approx((2, 0), abs=1e-5)


def test_slices_of_air_do_not_count() -> None:
    padded = np.concatenate([np.zeros_like(TRUTH), TRUTH], axis=2)
    assert counted(padded) == [n + TRUTH.shape[2] for n in counted(TRUTH)]
    assert len(counted(TRUTH)) > 10


def test_psnr_of_slices_is_known_for_a_constant_error_and_bounded() -> None:
    image = np.zeros((20, 20), np.float32)
    assert slice_psnr(image, image + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    assert slice_psnr(image, image) == pytest.approx(60)
    assert scores(TRUTH, TRUTH, None)["psnr_slices"] == pytest.approx(60)
    assert scores(TRUTH, TRUTH, None)["ssim_slices"] == pytest.approx(1)


def test_slices_by_their_own_range_hide_brightness_and_nothing_else() -> None:
    brighter = TRUTH * np.linspace(0.5, 1, TRUTH.shape[2], dtype=np.float32) + 7
    figures = scores(brighter, TRUTH, None)
    assert (figures["psnr_slices_own"], figures["ssim_slices_own"]) == pytest.approx((60, 1))
    assert figures["psnr_slices"] < 30
    assert not [name for name in figures if name.startswith("psnr_slices_own.")]
    noisy = TRUTH + np.random.default_rng(0).normal(0, 5, TRUTH.shape).astype(np.float32)
    own, volume = (scores(noisy, TRUTH, None)[name] for name in ("psnr_slices_own", "psnr_slices"))
    assert own < volume < 40  # dim slices count for more
    half = np.where(np.arange(8) < 4, 2, 6).astype(np.float32)[:, None, None].repeat(8, 1)
    np.testing.assert_array_equal(by_own(np.concatenate([half, half * 0 + 3], 2))[[0, 7], 0], [[0, 0], [1, 0]])


def test_structure_of_new_slices_is_summed_within_them() -> None:
    grid = Grid(SMOOTH.shape, np.eye(4))
    measured = DroppedSlices(factor=4).degraded_grid(grid, 2)
    image = SMOOTH.copy()
    image[16, 16, 16] += 50  # in a measured slice
    figures = between_scores(image, SMOOTH, grid, measured)
    assert figures["structure_invented_between"] < 1e-3 < scores(image, SMOOTH, None)["structure_invented"]
    image[16, 16, 18] += 50
    figures = between_scores(image, SMOOTH, grid, measured)
    assert figures["structure_invented_between"] > 3e-3
    assert figures["structure_lost_between"] < figures["structure_invented_between"]


def test_a_constant_truth_is_refused() -> None:
    flat = np.ones((16, 16, 16), np.float32)
    with pytest.raises(IsovoxError, match=r"metric-range: expected a truth that varies, but got 1 everywhere\. Check the truth"):
        scores(flat, flat, None)


def test_new_slices_are_those_between_measured_ones_and_alone_count() -> None:
    grid = Grid(TRUTH.shape, np.eye(4))
    measured = DroppedSlices(factor=4).degraded_grid(grid, 2)
    image = TRUTH.copy()
    image[..., ::4] = 0  # the measured ones
    image[..., 33 - 33 % 4 :] = 0  # and what lies beyond them
    figures = between_scores(image, TRUTH, grid, measured)
    assert (figures["psnr_between"], figures["ssim_between"]) == (60.0, 1.0)
    new = [n for n in counted(TRUTH) if n % 4 and n < 32]
    assert [name for name in figures if name.startswith("psnr_between.")] == [f"psnr_between.{n}" for n in new]
    assert between_scores(image, TRUTH, grid, grid) == {}
    image[..., 17] += 1
    assert between_scores(image, TRUTH, grid, measured)["psnr_between"] < 60


def test_a_tenth_of_the_slices_is_drawn_of_those_between_two_and_scored() -> None:
    new = np.arange(101) % 2 == 1
    drawn = drawn_slices(new, list(range(10, 90)))
    assert len(drawn) == 8
    assert all(new[n] and 10 <= n < 90 for n in drawn)
    assert min(np.diff(drawn)) > 1
    assert drawn == drawn_slices(new, list(range(10, 90))) != drawn_slices(new, list(range(12, 92)))
    assert drawn_slices(np.arange(101) % 3 > 0, list(range(101))) == []  # two left out side by side
    assert drawn_slices(new, [1, 2]) == [1]
    grid, image = Grid(TRUTH.shape, np.eye(4)), TRUTH.copy()
    measured = DroppedSlices(factor=2).degraded_grid(grid, 2)
    tenth = drawn_slices(np.arange(33) % 2 == 1, counted(TRUTH))
    image[..., [n for n in range(33) if n not in tenth]] = 0
    figures = between_scores(image, TRUTH, grid, measured)
    assert (figures["psnr_tenth"], figures["ssim_tenth"]) == (60.0, 1.0)
    assert (figures["psnr_tenth_own"], figures["ssim_tenth_own"]) == (60.0, 1.0)
    assert figures["psnr_between"] < 60
    assert not [name for name in figures if name.startswith("psnr_tenth.")]


def test_rates_and_new_slices_have_their_columns_and_both_ways_are_joined() -> None:
    assert {"structure_invented", "structure_lost", "psnr_between", "ssim_between"} <= {metric.name for metric in METRICS}
    assert {"psnr_slices_own", "ssim_tenth_own", "structure_lost_between"} <= {metric.name for metric in METRICS}
    assert "invented" not in {metric.name for metric in METRICS}  # the name of a shared figure
    assert PROTOCOL.degradations["plane4gap2"] == {"operator": "in-plane", "factor": 4, "every": 2}


def test_lpips_is_of_each_slice_with_tissue_where_it_is_scored() -> None:
    truth = np.zeros((16, 16, 12), np.float32)
    truth[..., 9:] = 100 + np.arange(256, dtype=np.float32).reshape(16, 16, 1)
    restored = truth + np.arange(12, dtype=np.float32)

    def distance(image: np.ndarray, wanted: np.ndarray) -> float:
        assert image.shape == wanted.shape == (16, 16)
        return float(np.abs(image - wanted).max())

    figures = PROTOCOL.score(restored, truth, perceptual=distance)
    assert {name: value for name, value in figures.items() if name.startswith("lpips")} == {
        "lpips_slices": 10,
        "lpips_slices.9": 9,
        "lpips_slices.10": 10,
        "lpips_slices.11": 11,
    }
    assert not [name for name in PROTOCOL.score(restored, truth) if name.startswith("lpips")]


def entry(person: str, method: str, values: list[float], degradation: str = "gap2") -> Entry:
    each = {f"psnr_between.{n}": value for n, value in enumerate(values)}
    return Entry(person, "T1w", degradation, method, each | {"psnr_between": float(np.mean(values))})


def test_order_is_told_by_person_and_by_slice_and_of_one_person_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two persons and six slices; that the slices are more shows in the bound, and that is what the note warns of."""
    seen: list[tuple[list[float], list[float]]] = []

    def bound(a: np.ndarray, b: np.ndarray, *, seed: int, bootstraps: int) -> float:
        seen.append((a.tolist(), b.tolist()))
        return 0.125

    monkeypatch.setattr(order, "almost_stochastic_order", bound)
    pairs = [entry("01", "latent-zoom", [30, 32, 34]), entry("02", "latent-zoom", [36, 37, 38])]
    pairs += [entry("01", "cubic", [29, 30, 31]), entry("02", "cubic", [33, 34, 35])]
    made = PROTOCOL.tables(pairs)
    assert seen == [([32, 37], [30, 34]), ([30, 32, 34, 36, 37, 38], [29, 30, 31, 33, 34, 35])]
    assert made["order.csv"].splitlines()[1] == "gap2,psnr_between,latent-zoom,cubic,2,0.125,6,0.125"
    assert "not independent" in made["order.md"]
    assert PROTOCOL.tables([pairs[0], pairs[2]]) == {}
    assert PROTOCOL.tables(pairs[2:]) == {}
