"""Volumes made alike, against phantoms: tissues where they belong, sharpness and noise met, nothing sharpened."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.errors import InputError, WeightsError
from core.geometry.grid import Grid
from core.harmonize.images import fit
from core.harmonize.images.bias import POWERS, Fields, bias_field, field_of, trend_of
from core.harmonize.images.curve import Curves, landmarks
from core.harmonize.images.fit import (
    Look,
    fit_again,
    fit_first,
    fit_last,
    last_looks,
    look_again,
    look_first,
    look_last,
    wants_look,
)
from core.harmonize.images.intensity import Normaliser, read
from core.harmonize.images.joint import Mend
from core.harmonize.images.resolution import FWHM, Resolution, blurred, gaussian, sharpness
from core.harmonize.images.spectrum import Spectrum
from core.harmonize.images.texture import MIDDLES, Texture, noise_of, powers
from core.harmonize.images.tissue_map import beyond, fit_peaks, map_peaks
from core.harmonize.images.volume import Scan, VolumeModel
from core.operators.scanner import bias_field as simulated_field
from core.settings.harmonize import VolumeSteps
from tests.phantoms import brain

SHAPE = (48, 48, 48)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
ALL = VolumeSteps(resolution=True, curve=True, noise_level=True, brain_only=True)


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
    assert beyond(odd, fit_peaks([[30.0, 75.0, 105.0]], "T1w"), "T1w")
    assert not beyond(odd, fit_peaks([[30.0, 75.0, 105.0]], "T1w", [[60.0, 190.0, 210.0]]), "T1w")  # another site's contrast
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


def scan_of(image, mask, site="", name="") -> Scan:
    return Scan(image, GRID, mask, site, name)


def test_sharpness_is_a_variance_that_grows_by_that_of_a_blur_and_knows_neither_noise_nor_unit():
    image, mask = phantom(0, 0.0, 0.2)
    known = np.array(sharpness(image, mask, GRID))
    widths = (3.0, 4.0, 5.0)
    grown = np.array(sharpness(blurred(image, GRID, widths), mask, GRID)) - known
    share = grown / np.square(np.array(widths) / FWHM)
    assert ((share > 0.7) & (share < 1.05)).all()  # 0.06 voxels² too little; rounds make up for it, see below
    loud, scaled = (np.array(sharpness(*pair, GRID)) for pair in (phantom(1, 0.0, 2.0), (9 * image, mask)))
    assert loud == pytest.approx(known, abs=0.5)  # mm²: less than a tenth of a voxel
    assert scaled == pytest.approx(known, abs=1e-3)
    with pytest.raises(InputError, match=r"sharpness-unknown: .* too few voxels"):
        sharpness(image, mask & (np.abs(np.arange(48) - 23.5) < 2), GRID)


def test_the_width_that_parts_two_sites_is_found_and_the_common_one_is_met():
    sites = {"sharp": 0.0, "soft": 4.0}
    seen = {site: [sharpness(*phantom(seed, width, 0.5), GRID) for seed in range(2)] for site, width in sites.items()}
    fitted = Resolution.fit(seen)
    assert fitted.added["soft"] == (0, 0, 0)  # nothing is sharpened
    assert fitted.added["sharp"] == pytest.approx((4, 4, 2), rel=0.2)
    image, mask = phantom(5, 0.0, 0.5)
    after = sharpness(blurred(image, GRID, fitted.widths("sharp", [])), mask, GRID)
    assert after == pytest.approx(fitted.common, abs=0.5)
    unknown = fitted.widths("elsewhere", sharpness(image, mask, GRID))
    assert unknown == pytest.approx(fitted.added["sharp"], rel=0.15)
    softer = sharpness(*phantom(0, 7.0, 0.5), GRID)
    assert fitted.widths("elsewhere", softer) == (0, 0, 0)
    assert "it was not sharpened" in fitted.beyond("elsewhere", softer)
    assert "it was not sharpened" in fitted.beyond("sharp", seen["soft"][0])  # it is softer than its site's
    assert not fitted.beyond("sharp", seen["sharp"][0])
    assert not fitted.beyond("soft", seen["soft"][0])
    rounds = replace(fitted, added={"sharp": (1.0, 1.0, 1.0), "soft": (0.0, 0.0, 0.0)}).settled()
    assert (np.array(rounds.common) < fitted.common).all()
    assert not rounds.beyond("elsewhere", seen["soft"][0])  # as soft as what was fitted
    assert Resolution.from_json(fitted.to_json()) == fitted


@pytest.mark.parametrize("variance", [0.05, 0.2, 1.0, 4.0])
def test_a_kernel_lets_through_what_a_gaussian_does(variance: float):
    kernel = gaussian(variance)
    places = np.arange(len(kernel)) - len(kernel) // 2
    frequencies = np.linspace(0, 0.45, 19)
    passed = (kernel * np.cos(2 * np.pi * frequencies[:, None] * places)).sum(axis=1)
    assert passed == pytest.approx(np.exp(-2 * np.pi**2 * variance * frequencies**2), abs=5e-3)
    assert kernel.sum() == pytest.approx(1)


def test_what_sites_still_differ_by_is_taken_back_and_none_gets_more_than_it_needs():
    fitted = Resolution((2.0, 2.0, 2.0), {"a": (2.0, 2.0, 0.0), "b": (0.0, 0.0, 1.0)}, {}, {})
    same = fitted.refined({"a": [[2.0, 2.0, 2.0]], "b": [[2.0, 2.0, 2.0]]})
    assert same.added == {site: pytest.approx(widths) for site, widths in fitted.added.items()}
    more = fitted.refined({"a": [[1.5, 2.5, 2.0]], "b": [[2.0, 2.0, 2.0]]})
    assert np.square(more.added["a"]) == pytest.approx(np.square([2, 2, 0]) + np.array([0.25, -0.25, 0]) * FWHM**2)
    assert more.added["b"] == pytest.approx(fitted.added["b"])
    once = fitted.refined({"a": [[9.0, 2.0, 2.0]], "b": [[2.0, 2.0, 2.0]]})
    assert once.added["a"][0] == 0  # where both would be blurred, neither is
    assert fitted.refined({"b": [[3.0, 2.0, 2.0]]}).added == {s: pytest.approx(w) for s, w in fitted.added.items()}


def test_rounds_bring_sites_to_one_sharpness_and_one_noise():
    sites = {"sharp": (0.0, 1.0), "soft": (4.0, 3.0)}
    scans = [scan_of(*phantom(seed, *how), site, f"{site}/{seed}") for site, how in sites.items() for seed in range(2)]
    model = model_of(scans, VolumeSteps(resolution=True, noise_level=True))
    made = [model.made(scan) for scan in scans]
    sharp = np.array([sharpness(mapped.image, mapped.mask, GRID) for mapped, _ in made]).reshape(2, 2, 3).mean(axis=1)
    assert sharp[0] == pytest.approx(sharp[1], abs=0.1)  # mm²
    loud = np.array([powers(noisy.image, noisy.mask) for _, noisy in made]).reshape(2, 2, -1).mean(axis=1)
    assert loud[0] == pytest.approx(loud[1], rel=0.05)
    # the same scans as of a site that was not in the fit
    new = [model.made(replace(scan, site="elsewhere")) for scan in scans]
    for mapped, noisy in new:
        assert sharpness(mapped.image, mapped.mask, GRID) == pytest.approx(sharp.mean(axis=0), abs=0.25)
        assert powers(noisy.image, noisy.mask) == pytest.approx(loud.mean(axis=0), rel=0.1)
    assert model.apply(scans[0]).notes == ()
    assert model.apply(replace(scans[0], site="elsewhere")).notes == (
        "site elsewhere was not in the fit: made alike by what the scan tells of itself",
    )


def test_noise_has_the_power_that_is_asked_and_white_noise_has_its_variance():
    bands = len(MIDDLES)
    lacking = [0.0, 4.0, 4.0, 4.0] + [9.0] * (bands - 4)
    noise = noise_of(SHAPE, lacking, np.random.default_rng(0))
    found = powers(noise, np.ones(SHAPE, bool))
    assert found[2:4] == pytest.approx([4, 5], rel=0.3)
    assert found[5:] == pytest.approx([9] * (bands - 5), rel=0.1)
    white = np.random.default_rng(1).normal(0, 3, SHAPE).astype(np.float32)
    assert powers(white, np.ones(SHAPE, bool)) == pytest.approx([9.0] * bands, rel=0.15)
    fitted = Texture.fit({"loud": [[4.0] * bands], "calm": [[1.0] * bands]})
    assert fitted.added == {"loud": [0.0] * bands, "calm": [3.0] * bands}
    assert fitted.lacking("elsewhere", [5.0] * bands) == [0.0] * bands  # none is taken away
    assert "no noise was taken away" in fitted.beyond([16.0] * bands)
    assert not fitted.beyond([5.0] * bands)


def test_noise_that_falls_towards_the_corners_of_the_spectrum_is_met_there_too():
    """Interpolated voxels have next to no power in the corners; in one wide band the gain would be the same all over it."""
    white = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    soft = gaussian_filter(10 * white, 0.6)
    mask = np.ones(SHAPE, bool)
    made = noise_of(SHAPE, powers(soft, mask), np.random.default_rng(1))
    (corner,), (wanted,) = (Spectrum.of(each, mask).bands((1.3, 2.0)) for each in (made, soft))
    assert corner == pytest.approx(wanted, rel=0.6)


def test_a_curve_rises_keeps_the_reference_and_finds_what_a_scanner_bent():
    image, mask = folded(0.15)
    seen = np.where(mask, np.interp(image, [0, 30, 75, 105, 140], [0, 30, 75, 90, 125]), 0).astype(np.float32)
    marks = {"reference": [landmarks(image, mask)], "bent": [landmarks(seen, mask)]}
    curves = Curves.fit(marks, "reference")
    assert curves.sites["reference"] == curves.common
    assert curves.apply(image, curves.common) is image
    back = curves.apply(seen, curves.sites["bent"])
    inner = mask & (image > 20) & (image < 115)
    assert np.abs(back - image)[inner].mean() < 0.25 * np.abs(seen - image)[inner].mean()
    values = np.linspace(0, 200, 401).astype(np.float32)
    assert (np.diff(curves.apply(values, curves.sites["bent"])) > 0).all()
    shares = [landmarks(*folded(fluid, seed=2)) for fluid in (0.05, 0.3)]
    assert shares[0] == pytest.approx(shares[1], abs=4)  # six times as much fluid moves no quartile far
    assert Curves.from_json(curves.to_json()) == curves


def model_of(scans, steps=ALL) -> VolumeModel:
    """Fitted on scans, the first site's the reference."""
    reference = scans[0].site
    model = fit_first(steps, [look_first(steps, scan) for scan in scans], reference)
    again = [look_again(model, "tissues", scan) for scan in scans]
    readings = [look.reading for look in again if look.site == reference]
    model = fit_again(model, again, Normaliser.fit_readings("tissues", readings), reference)
    number = 0
    while wants_look(model, number):
        model = fit_last(model, [look_last(model, scan) for scan in scans], reference, number)
        number += 1
    assert number <= last_looks(steps)
    return model


def test_curves_are_mended_by_half_and_the_reference_stays_as_it_is():
    known = [float(value) for value in range(10, 100, 10)]
    curves = Curves(known, {"reference": known, "other": [*known[:8], 95.0]})
    wanted = [value + 2 for value in known]  # noise moved the reference's own landmarks, too
    still = curves.refined({"reference": [wanted], "other": [wanted]}, "reference")
    assert still.sites["other"] == pytest.approx(curves.sites["other"])
    off = curves.refined({"reference": [wanted], "other": [[value + 2 for value in wanted]]}, "reference")
    assert off.sites["other"][1:7] == pytest.approx([value + 1 for value in known[1:7]])  # half of what is left
    assert off.sites["reference"] == known == off.common


def test_all_steps_bring_two_sites_together_and_new_scans_get_the_same_bytes():
    sites = {"sharp": (1.0, 0.0, 1.0), "soft": (5.0, 4.0, 4.0)}
    scans = []
    for site, (gain, width, noise) in sites.items():
        image, mask = phantom(0, width, noise)
        scans.append(scan_of(gain * image, mask, site, f"{site}/x"))
    model = model_of(scans)
    sharp, soft = (model.apply(scan) for scan in scans)
    mask = sharp.mask & soft.mask
    assert 2 * mask.sum() > 0.95 * (sharp.mask.sum() + soft.mask.sum())
    apart = np.sqrt(np.square(sharp.image - soft.image)[mask].mean())
    before = np.sqrt(np.square(scans[0].image - scans[1].image / 5)[mask].mean())
    assert apart < before
    assert powers(sharp.image, mask)[3:] == pytest.approx(powers(soft.image, mask)[3:], rel=0.35)
    again = VolumeModel.from_json(model.to_json(), "T1w", model.normaliser)
    alone = again.apply(scans[1])
    assert np.array_equal(alone.image, soft.image)
    assert (alone.image[~alone.mask] == 0).all()
    assert not alone.notes
    with pytest.raises(WeightsError, match="harmonizer-version"):
        VolumeModel.from_json(model.to_json() | {"version": 1}, "T1w", model.normaliser)


def test_sites_of_several_scans_are_mended_together_and_then_tell_less_of_their_site(monkeypatch):
    monkeypatch.setattr(fit, "ROUNDS", 2)
    sites = {"sharp": (1.0, 0.0, 1.0), "soft": (5.0, 3.0, 4.0)}
    scans = [
        scan_of(gain * image, mask, site, f"{site}/{seed}")
        for site, (gain, width, noise) in sites.items()
        for seed, (image, mask) in enumerate(phantom(n, width, noise) for n in range(2))
    ]
    alone = model_of(scans)  # of two scans a site
    monkeypatch.setattr(fit, "FEWEST", 2)
    together = model_of(scans)
    assert together.mend is alone.mend is None
    assert together != alone

    def apart(model: VolumeModel) -> float:
        again = replace(model, mend=Mend(1.0, {"any": []}))
        figures = np.array([look_last(again, scan).figures for scan in scans]).reshape(2, 2, -1).mean(axis=1)
        return float(np.sqrt(np.mean(np.square((figures[0] - figures[1]) / np.abs(figures).mean(axis=0)))))

    assert apart(together) < 0.7 * apart(alone)


def test_noise_is_never_taken_away():
    model = model_of([scan_of(*phantom(seed), site) for seed, site in enumerate("ab")], VolumeSteps(noise_level=True))
    told = model.apply(scan_of(*phantom(3, 0.0, 9.0), "a", "a/loud")).notes
    assert len(told) == 1
    assert "no noise was taken away" in told[0]


@cache
def fields() -> tuple[list[float], list[float]]:
    """Trends of a phantom as it is, and under a field."""
    image, labels = brain(SHAPE)
    field = simulated_field(SHAPE, 0.3, 2, np.random.default_rng(0))
    mask = labels > 0
    even, bent = (trend_of(bias_field(seen, mask, GRID), mask) for seen in (image, image * field))
    return even, bent


def test_a_trend_is_that_of_a_field_of_low_degree():
    mask = brain(SHAPE)[1] > 0
    trend = np.random.default_rng(0).normal(0, 0.05, len(POWERS)).tolist()
    assert trend_of(field_of(trend, mask), mask) == pytest.approx(trend, abs=1e-4)


def test_a_field_is_what_a_site_has_beyond_the_reference_and_anatomy_is_none():
    even, bent = fields()
    fitted = Fields.fit({"reference": [even, even], "bent": [bent, bent]}, "reference")
    assert fitted.beyond("reference", []) == [0.0] * len(POWERS)  # what N4 takes for a field stays
    mask = brain(SHAPE)[1] > 0
    left = np.log(field_of(fitted.beyond("bent", []), mask) / simulated_field(SHAPE, 0.3, 2, np.random.default_rng(0)))[mask]
    assert left.std() < 0.25 * np.log(simulated_field(SHAPE, 0.3, 2, np.random.default_rng(0)))[mask].std()
    assert Fields.from_json(fitted.to_json()) == fitted


def test_the_one_scan_of_a_site_is_no_field_as_far_as_scans_of_a_site_differ():
    draw, zeros = np.random.default_rng(0), np.zeros(len(POWERS))
    several = draw.normal(0, 0.1, (200, len(POWERS)))
    several -= several.mean(axis=0)
    near, far = ([[size] * len(POWERS)] for size in (0.05, 3.0))
    shares = []
    for own in (near, far):
        fitted = Fields.fit({"reference": several.tolist(), "lone": own}, "reference")
        shares.append(fitted.added["lone"][0] / own[0][0])
        assert fitted.added["reference"] == pytest.approx(zeros, abs=1e-12)
    between = 0.05**2 / 2  # the reference itself lies at 0
    assert shares[0] == pytest.approx(between / (between + 0.01), rel=0.05)
    assert shares[1] > 0.99


def test_a_scan_is_trusted_as_far_as_its_site_varies_more_than_the_calmest():
    draw = np.random.default_rng(0)
    calm, wild = (draw.normal(0, sd, (200, len(POWERS))) for sd in (0.01, 0.03))
    fitted = Fields.fit({"calm": calm.tolist(), "wild": (wild + 0.1).tolist()}, "calm")
    assert fitted.known("calm")
    assert fitted.trust["wild"] == pytest.approx(1 - 1 / 9, abs=0.02)
    own = [0.2] * len(POWERS)
    assert fitted.beyond("wild", own) == pytest.approx([0.1 + 0.1 * fitted.trust["wild"]] * len(POWERS), abs=0.01)
    assert fitted.elsewhere > 0.9


def test_a_persons_scans_count_once_and_few_persons_are_no_calmest_site():
    draw = np.random.default_rng(0)
    wild = {site: draw.normal(0, 0.03, (10, len(POWERS))) for site in "ab"}
    looks = [Look(site, trend.tolist(), person=f"{site}{n}") for site in "ab" for n, trend in enumerate(wild[site])]
    steps = VolumeSteps(bias_field=True)
    usual = fit_first(steps, looks, None).fields
    assert max(usual.trust.values()) < 0.2  # what is left is chance
    again = [Look("c", (wild["a"][0] + draw.normal(0, 0.001, len(POWERS))).tolist(), person="c0") for _ in range(2)]
    alike = [replace(look, person=f"c{n}") for n, look in enumerate(again)]  # two persons, alike by chance
    for few in (again, alike):
        fitted = fit_first(steps, looks + few, None).fields
        assert fitted.trust == usual.trust | {"c": 0.0}
        assert fitted.added["a"] == usual.added["a"]  # what is c's own is no field of the others
    assert fit_first(steps, looks + again, None).fields.added["c"] == pytest.approx(
        fit_first(steps, [*looks, Look("c", np.mean([look.trend for look in again], axis=0).tolist())], None).fields.added["c"]
    )


def test_where_all_sites_have_few_persons_their_spread_is_that_of_all_of_them():
    few = {"a": [[0.01] * len(POWERS), [-0.01] * len(POWERS)], "b": [[0.03] * len(POWERS)] * 2 + [[-0.03] * len(POWERS)]}
    spreads = {site: np.var(trends, axis=0, ddof=1).sum() for site, trends in few.items()}
    pooled = (spreads["a"] + 2 * spreads["b"]) / 3
    fitted = Fields.fit(few, None)
    assert fitted.trust == {"a": 0.0, "b": pytest.approx((spreads["b"] - pooled) / spreads["b"])}
