"""Volumes made alike, against phantoms: tissues where they belong, sharpness and noise met, nothing sharpened."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from core.errors import InputError
from core.geometry.grid import Grid
from core.harmonize.bias import bias_field
from core.harmonize.intensity import Normaliser, read
from core.harmonize.resolution import WIDTHS, Resolution, blurred, sharpness
from core.harmonize.tissue_map import beyond, map_peaks
from core.harmonize.volume import Look, VolumeModel, fit_resolution, fit_rest, look_again, look_first, noise_level
from core.operators.scanner import bias_field as simulated_field
from core.settings.harmonize import VolumeSteps
from tests.phantoms import brain

SHAPE = (48, 48, 48)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
ALL = VolumeSteps(resolution=True, noise_level=True, brain_only=True)


def folded(fluid: float, *, seed: int = 0, noise: float = 3.0):
    """A ball of folded tissues of which a given share is fluid; and its mask."""
    axis = np.linspace(-1, 1, 64)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    depth = np.sqrt(x**2 + y**2 + z**2)
    mask = depth < 0.9
    place = (depth + 0.12 * np.sin(15 * x) * np.sin(15 * y) * np.sin(15 * z))[mask]
    rank = place.argsort().argsort() / place.size
    image = np.zeros(mask.shape, np.float32)
    image[mask] = np.where(rank > 1 - fluid, 30.0, np.where(rank > 0.45 * (1 - fluid), 75.0, 105.0))
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.where(mask, np.maximum(image, 1), 0).astype(np.float32), mask


@pytest.mark.parametrize("gain", [1.0, 7.0])
def test_tissues_stay_where_they_belong_whatever_their_shares(gain):
    """Nyúl's percentiles put grey matter at 48, 54 and 64 of 100 for the same three."""
    fitted = Normaliser.fit("tissues", [folded(0.15)])
    found = []
    for fluid in (0.05, 0.15, 0.3):
        image, mask = folded(fluid, seed=2)
        mapped = fitted.apply(gain * image, mask)
        found.append([np.median(mapped[mask & (np.abs(image - level) < 10)]) for level in (30, 75, 105)])
    assert np.ptp(found, axis=0).max() < 1.5
    assert found[1] == pytest.approx([30, 75, 105], abs=1.5)
    assert Normaliser.from_json(fitted.to_json()) == fitted


def test_the_map_of_tissues_rises_everywhere_and_can_be_undone():
    state, reading = {"peaks": [20.0, 80.0, 110.0], "range": [0.0, 1.0]}, [300.0, 500.0, 900.0]
    values = np.linspace(-50, 2000, 401)
    mapped = map_peaks(values, reading, state, "T1w")
    assert (np.diff(mapped) > 0).all()
    assert map_peaks(np.array(reading), reading, state, "T1w") == pytest.approx(state["peaks"])
    assert map_peaks(np.zeros(1), reading, state, "T1w") == 0
    back = map_peaks(mapped, state["peaks"], state | {"peaks": reading}, "T1w")
    assert back == pytest.approx(values, abs=1e-9)


def test_a_scan_outside_what_was_fitted_is_told_and_not_bent():
    state = {"peaks": [30.0, 75.0, 105.0], "range": [0.5, 0.7]}
    assert beyond([60.0, 150.0, 210.0], state, "T1w") == ""
    odd = [30.0, 95.0, 105.0]
    assert "87 % of the way" in beyond(odd, state, "T1w")
    assert map_peaks(np.array([0.0, 30, 95, 105]), odd, state, "T1w") == pytest.approx([0, 30, 95, 105])
    with pytest.raises(InputError, match="intensity-flat"):
        read("tissues", np.full(SHAPE, 5, np.float32), np.ones(SHAPE, bool))


@cache
def phantom(seed: int, width: float = 0.0, noise: float = 2.0):
    """A brain seen through a Gaussian of ``width`` mm, and then noise."""
    image, labels = brain(SHAPE, noise=0.0)
    seen = blurred(image, GRID, (width, width, width / 2))
    noisy = np.abs(seen + np.random.default_rng(seed).normal(0, noise, SHAPE).astype(np.float32))
    return np.where(labels > 0, noisy, 0).astype(np.float32), labels > 0


def test_sharpness_falls_with_blur_and_knows_neither_noise_nor_unit():
    curve = np.array(sharpness(*phantom(0)))
    assert (np.diff(curve, axis=1) < 0).all()
    loud, scaled = (np.array(sharpness(*pair)) for pair in (phantom(1, 0.0, 6.0), (9 * phantom(0)[0], phantom(0)[1])))
    assert loud[:, 0] == pytest.approx(curve[:, 0], rel=0.05)
    assert scaled == pytest.approx(curve, abs=1e-5)
    with pytest.raises(InputError, match=r"sharpness-unknown: .* too few voxels"):
        sharpness(phantom(0)[0], phantom(0)[1] & (np.abs(np.arange(48) - 23.5) < 2))


def test_the_width_that_parts_two_sites_is_found_and_the_common_one_is_met():
    sites = {"sharp": 0.0, "soft": 4.0}
    curves = {site: [sharpness(*phantom(seed, width)) for seed in range(2)] for site, width in sites.items()}
    fitted = Resolution.fit(curves, 2.0)
    assert fitted.added["soft"] == (0, 0, 0)  # nothing is sharpened
    assert fitted.added["sharp"][:2] == pytest.approx((4, 4), rel=0.35)
    assert 0 < fitted.added["sharp"][2] < fitted.added["sharp"][0]
    image, mask = phantom(5)
    after = sharpness(blurred(image, GRID, fitted.widths("sharp", [], 2.0)), mask)
    assert [line[0] for line in after] == pytest.approx(fitted.common, rel=0.05)
    unknown = fitted.widths("elsewhere", sharpness(image, mask), 2.0)
    assert unknown == pytest.approx(fitted.added["sharp"], rel=0.15)
    softer = sharpness(*phantom(0, 7.0))
    assert fitted.widths("elsewhere", softer, 2.0) == (0, 0, 0)
    assert "it was not sharpened" in fitted.beyond(softer)
    assert Resolution.from_json(fitted.to_json()) == fitted
    assert len(curves["sharp"][0][0]) == len(WIDTHS)


def model_of(scans, steps=ALL) -> VolumeModel:
    """Fitted on (site, image, mask), the first of which is the reference's."""
    looks = [Look(site, look_first(steps, image, GRID, mask)) for site, image, mask in scans]
    model = fit_resolution(steps, looks, 2.0)
    again = [look_again(model, "tissues", image, GRID, mask, site) for site, image, mask in scans]
    looks = [Look(look.site, look.sharpness, *found) for look, found in zip(looks, again, strict=True)]
    return fit_rest(model, looks, Normaliser.fit_readings("tissues", [looks[0].reading]))


def test_all_steps_bring_two_sites_together_and_new_scans_get_the_same_bytes():
    sites = {"sharp": (1.0, 0.0, 1.0), "soft": (5.0, 4.0, 4.0)}
    scans = [
        (site, gain * image, mask) for site, (gain, width, noise) in sites.items() for image, mask in [phantom(0, width, noise)]
    ]
    model = model_of(scans)
    made = {site: model.apply(image, GRID, mask, site, f"{site}/x") for site, image, mask in scans}
    mask = scans[0][2]
    levels = [noise_level(one.image, mask, "T1w")[0] for one in made.values()]
    apart = np.sqrt(np.square(made["sharp"].image - made["soft"].image)[mask].mean())
    before = np.sqrt(np.square(scans[0][1] - scans[1][1] / 5)[mask].mean())
    assert apart < before
    assert levels[0] == pytest.approx(levels[1], rel=0.25)
    again = VolumeModel.from_json(model.to_json(), "T1w", model.normaliser)
    alone = again.apply(scans[1][1], GRID, mask, "soft", "soft/x")
    assert np.array_equal(alone.image, made["soft"].image)
    assert (alone.image[~mask] == 0).all()
    assert not alone.told


def test_noise_is_never_taken_away():
    scans = [("a", *phantom(0)), ("b", *phantom(1))]
    model = model_of(scans, VolumeSteps(noise_level=True))
    image, mask = phantom(3, 0.0, 9.0)
    told = model.apply(image, GRID, mask, "a", "a/loud").told
    assert len(told) == 1
    assert "no noise was taken away" in told[0]


def test_a_bias_field_is_taken_away():
    image, labels = brain(SHAPE)
    field = simulated_field(SHAPE, 0.3, 2, np.random.default_rng(0))
    mask = labels > 0
    found = bias_field(image * field, mask, GRID) / bias_field(image, mask, GRID)
    left = np.log(found / field)[mask]
    assert left.std() < 0.5 * np.log(field)[mask].std()
    assert np.array_equal(bias_field(image, mask, GRID), bias_field(image, mask, GRID))
