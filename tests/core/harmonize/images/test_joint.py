"""Widths, noise and curves mended together: where figures follow them by lines, one round brings all sites together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.harmonize.images.curve import Curves
from core.harmonize.images.fit import JOINT, ROUNDS, Look, fit_again, fit_last, wants_look
from core.harmonize.images.joint import FIGURES, LEVELS, MOST, Mend, Parts
from core.harmonize.images.resolution import Resolution
from core.harmonize.images.texture import EDGES, Texture
from core.harmonize.images.volume import VolumeModel
from core.settings.harmonize import VolumeSteps

SITES = ("reference", "a", "b")
BANDS = len(EDGES) - 1
COUNT = 3 + BANDS + 9
VOXEL = 1.5


def parts() -> Parts:
    """Of three sites, the reference's curve the common one; the last lacks nothing."""
    known = [float(value) for value in range(20, 200, 20)]
    curves = {site: [value + number for value in known] for number, site in enumerate(SITES)}
    widths = {site: (2.0 - number, 1.5 - number / 2, 2.2 - number) for number, site in enumerate(SITES)}
    common = np.linspace(30, 3, BANDS)
    added = {site: (common * (0.4 - 0.2 * number)).tolist() for number, site in enumerate(SITES)}
    none = dict.fromkeys(SITES, (0.0, 0.0, 0.0))
    return Parts(Resolution((1.0, 1.0, 1.0), widths, none, none), Texture(common.tolist(), added), Curves(known, curves))


def lines(seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Slopes of each site, much alike, of parameters by figures, and what figures are beside them."""
    draw = np.random.default_rng(seed)
    common = draw.normal(0, 1, (COUNT, len(FIGURES)))
    slopes = {site: common + draw.normal(0, 0.1, common.shape) for site in SITES}
    for site in SITES:
        slopes[site][12:] *= site != "reference"  # whose curve stays
    return slopes, {site: draw.normal(0, 0.5, len(FIGURES)) + 10 for site in SITES}


def figures(steps: dict[str, np.ndarray], slopes: dict[str, np.ndarray], beside: dict[str, np.ndarray]) -> dict:
    """Of three persons of each site."""
    persons = np.linspace(-1, 1, 3)[:, None] * np.ones(len(FIGURES))
    return {site: (persons + beside[site] + steps[site] @ slopes[site]).tolist() for site in SITES}


def steps_of(known: Parts) -> dict[str, np.ndarray]:
    return {site: known.steps_of(site, VOXEL) for site in SITES}


def apart(seen: dict, which: slice = slice(None)) -> float:
    middles = np.array([np.median(scans, axis=0)[which] for scans in seen.values()])
    return float(np.abs(middles - middles[0]).max())


def test_parameters_in_steps_come_back():
    known = parts()
    again = known.at(steps_of(known), VOXEL)
    for site in SITES:
        assert again.resolution.added[site] == pytest.approx(known.resolution.added[site])
        assert again.texture.added[site] == pytest.approx(known.texture.added[site])
        assert again.curves.sites[site] == pytest.approx(known.curves.sites[site])
    assert again.curves.sites["reference"] == known.curves.common  # to the bit: its scans are left as they are


def test_rounds_bring_the_figures_of_all_sites_together_and_levels_to_the_references():
    known, (slopes, beside) = parts(), lines()
    mend = Mend.of([VOXEL], {site: [slopes[site].tolist()] for site in SITES})
    start = steps_of(known)
    beside = {site: beside[site] - start[site] @ slopes[site] for site in SITES}
    seen = [figures(start, slopes, beside)]
    for _ in range(4):
        known = mend.mended(known, seen[-1], "reference")
        seen.append(figures(steps_of(known), slopes, beside))
    assert apart(seen[-1]) < 0.1 * apart(seen[0])
    levels = slice(0, len(LEVELS))
    assert apart(seen[-1], levels) < 0.1 * apart(seen[0], levels)
    assert known.curves.sites["reference"] == known.curves.common


def test_at_no_place_do_all_sites_get_blur_or_noise_and_a_round_goes_no_further_than_it_may():
    known, (slopes, beside) = parts(), lines(1)
    mend = Mend.of([VOXEL], {site: [slopes[site].tolist()] for site in SITES})
    before = steps_of(known)
    far = {site: (np.array(beside[site]) + 100 * number).reshape(1, -1).tolist() for number, site in enumerate(SITES)}
    after = steps_of(mend.mended(known, far, "reference"))
    added = slice(0, 3 + BANDS)
    assert np.min([values[added] for values in after.values()], axis=0) == pytest.approx(np.zeros(3 + BANDS), abs=1e-9)
    moved = {site: (after[site] - before[site])[added] for site in SITES}
    for site in ("a", "b"):
        assert np.abs(moved[site] - moved["reference"]).max() <= 2 * MOST + 1e-9


def test_where_no_scan_gives_slopes_the_parts_stay_as_they_are_and_no_look_is_wanted_any_more():
    steps = VolumeSteps(resolution=True, curve=True, noise_level=True)
    known = parts()
    model = VolumeModel(steps, mend=Mend()).having(known)
    after = fit_last(model, [], "reference", ROUNDS)
    assert after.parts == known
    assert not wants_look(after, ROUNDS + 1)


LEFT = ("reference", "a")
QUIET = [float(value) for value in range(BANDS, 0, -1)]  # powers before noise is added


def looks_at_those_left(known: Parts) -> list[Look]:
    slopes, beside = lines()
    about = {"landmarks": known.curves.common, "powers": known.texture.common, "quiet": QUIET, "voxel": VOXEL}
    return [
        Look(site, sharpness=[0.0, 0.0, 0.0], figures=list(beside[site]), slopes=slopes[site].tolist(), **about) for site in LEFT
    ]


@pytest.mark.parametrize("number", [0, 1, ROUNDS])
def test_a_site_whose_scans_all_fail_in_a_look_has_no_say_any_more_and_stops_nothing(number):
    known = parts()
    looks = looks_at_those_left(known)
    model = VolumeModel(VolumeSteps(resolution=True, curve=True, noise_level=True)).having(known)
    if number == 0:  # it was lost as scans were prepared
        model = replace(fit_again(replace(model, curves=None), looks, None, "reference"), texture=None)
    if number == ROUNDS:  # of the few scans that slopes are taken of, and of all others in the next look
        model = fit_last(replace(model, mend=Mend()), looks, "reference", number)
    after = fit_last(model, looks, "reference", number + (number == ROUNDS))
    for table in (after.resolution.added, after.resolution.softest, after.texture.added, after.curves.sites):
        assert set(table) == set(LEFT)
    added = np.array([[*after.resolution.added[site], *after.texture.added[site]] for site in LEFT])
    assert added.min(axis=0) == pytest.approx(np.zeros(3 + BANDS), abs=1e-9)  # its blur and noise make nobody's needless


@pytest.mark.parametrize("last", [ROUNDS - 1, ROUNDS + JOINT])
def test_scans_of_other_sites_come_in_the_end_to_where_those_of_the_middle_site_do(last):
    known = parts()
    looks = looks_at_those_left(known)
    model = VolumeModel(VolumeSteps(resolution=True, curve=True, noise_level=True)).having(known)
    if last > ROUNDS:
        model = fit_last(replace(model, mend=Mend()), looks, "reference", ROUNDS)
    before, after = (fit_last(model, looks, "reference", number) for number in (last - 1, last))
    assert before.parts.texture.common == known.texture.common  # by which steps are measured on the way
    assert before.parts.resolution.common == known.resolution.common
    assert not wants_look(after, last + 1)
    noise = np.mean([after.texture.added[site] for site in LEFT], axis=0)  # the middle of two
    assert after.texture.lacking("elsewhere", QUIET) == pytest.approx(noise)
    width = np.sqrt(np.mean(np.square([after.resolution.added[site] for site in LEFT]), axis=0))
    assert after.resolution.widths("elsewhere", after.resolution.own["a"]) == pytest.approx(width)
    assert VolumeModel.from_json(after.to_json(), "T1w", None) == after


def test_one_scan_far_off_moves_a_site_no_further_than_three_deviations():
    known, (slopes, beside) = parts(), lines(3)
    mend = Mend.of([VOXEL], {site: [slopes[site].tolist()] for site in SITES})
    seen = {site: [list(beside[site] + at) for at in np.linspace(-1, 1, 21)] for site in SITES}
    usual = steps_of(mend.mended(known, seen, "reference"))
    seen["a"][0] = [value - 1e6 for value in seen["a"][0]]
    moved = {site: np.abs(values - usual[site]).max() for site, values in steps_of(mend.mended(known, seen, "reference")).items()}
    assert max(moved.values()) < 0.5


def test_a_site_that_was_not_looked_at_keeps_its_own_beside_the_others():
    known, (slopes, beside) = parts(), lines(2)
    mend = Mend.of([VOXEL], {site: [slopes[site].tolist()] for site in ("reference", "a")})
    seen = {site: scans for site, scans in figures(steps_of(known), slopes, beside).items() if site != "b"}
    after = mend.mended(known, seen, "reference")
    assert after.curves.sites["b"] == pytest.approx(known.curves.sites["b"])
    assert Mend.from_json(mend.to_json()) == mend
