"""Contrasts that are drawn: air stays air, units stay units, draws repeat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.geometry.grid import Array
from core.training.data import contrasts

SPACING = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def brain() -> Array:
    """Three tissues in a ball, air around it, over the 99.9th percentile."""
    draw = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij"))
    tissue = np.digitize(gaussian_filter(draw.normal(size=(48,) * 3), 3), [-0.03, 0.03])
    image = np.array([0.25, 0.6, 0.95])[tissue] + draw.normal(0, 0.02, (48,) * 3)
    return np.where((places**2).sum(0) < 0.8, image, 0).astype(np.float32)


@pytest.fixture(scope="module")
def look(brain: Array) -> contrasts.Look:
    return contrasts.look_of(brain, 1.0)


def test_tissues_are_found_where_there_are_three(look: contrasts.Look) -> None:
    assert look.tissues is not None
    np.testing.assert_allclose(look.tissues.means, (0.25, 0.6, 0.95), atol=0.05)


@pytest.mark.parametrize("kind", ["curve", "tissues"])
def test_air_stays_and_the_brightest_is_one(brain: Array, look: contrasts.Look, kind: str) -> None:
    assert look.tissues is not None
    for seed in range(8):
        draw = np.random.default_rng(seed)
        made = contrasts.by_curve(brain, look, draw) if kind == "curve" else contrasts.by_tissues(brain, look.tissues, look, draw)
        assert not made[brain == 0].any()
        assert made.dtype == np.float32
        assert 0.6 < np.percentile(made, 99.9) < 1.6


def test_half_of_the_curves_rise(look: contrasts.Look) -> None:
    line = np.linspace(0, 1.2, 200, dtype=np.float32)
    rising = [bool((np.diff(contrasts.by_curve(line, look, np.random.default_rng(seed))) >= 0).all()) for seed in range(100)]
    assert 35 <= sum(rising) <= 75


def test_lesions_are_within_the_head_and_of_either_sign(brain: Array) -> None:
    signs = set()
    for seed in range(12):
        changed = contrasts.with_lesions(brain, SPACING, np.random.default_rng(seed)) - brain
        assert not changed[brain == 0].any()
        signs |= set(np.sign(changed).ravel().tolist())
    assert signs == {-1.0, 0.0, 1.0}


def test_a_bias_is_slow_and_about_one() -> None:
    field = contrasts.bias_field((40, 40, 40), np.random.default_rng(3))
    assert 0.7 < field.min() < field.max() < 1.4
    assert np.abs(np.diff(field, axis=0)).max() < 0.02


def test_the_same_draw_gives_the_same_contrast(brain: Array, look: contrasts.Look) -> None:
    one, other = (contrasts.draw_contrast(brain, look, SPACING, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
