"""The rough brain, the common field of view and the features: of phantoms whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.errors import InputError, UsageError, WeightsError
from core.geometry.grid import Grid
from core.harmonize import model
from core.harmonize.features import FEATURES, NAMES, measure, of_restoration
from core.harmonize.images.brain import bounds, brain, common_view, view
from core.harmonize.images.intensity import Normaliser
from tests.phantoms import brain as phantom


def grid_of(shape, size=2.0) -> Grid:
    return Grid(shape, np.diag([size, size, size, 1.0]))


@pytest.fixture(scope="module")
def stripped():
    image, labels = phantom((64, 64, 64))
    return image, labels, grid_of(image.shape)


def overlap(a, b) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_a_stripped_brain_is_what_is_left_and_a_head_is_opened(stripped):
    image, labels, grid = stripped
    found = brain(image, grid, stripped=True)
    assert overlap(found, labels > 0) > 0.97
    assert found[labels > 1].all()
    head, labels = phantom((80, 80, 80), head=True)
    found = brain(head, grid_of(head.shape, 2.0), stripped=False)
    assert overlap(found, labels > 1) > 0.9
    assert not found[[0, -1]].any()  # the scalp is out


def test_how_bright_fluid_is_and_noise_at_the_border_do_not_move_a_stripped_brain():
    """Fluid lies in sulci and about the brain: it belongs to it by shape, whatever its brightness."""
    axis = np.linspace(-100, 100, 100)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    depth = np.sqrt(x**2 + y**2 + z**2)
    sulcus = (np.abs(np.mod(np.arctan2(y, x) * 70, 22) - 11) < 3) & (depth > 50)

    def scan_of(fluid: float, noise: float, seed: int):
        image = np.select([depth > 80, depth > 72, sulcus], [0.0, fluid, fluid], 1.0)
        image = 100 * gaussian_filter(image, 1.0).astype(np.float32)
        noisy = np.abs(image + np.random.default_rng(seed).normal(0, noise, image.shape)).astype(np.float32)
        return np.where(image > 0.5, noisy, 0)

    dark, bright = (brain(scan_of(*how), grid_of((100,) * 3), stripped=True) for how in ((0.1, 1.0, 0), (0.2, 5.0, 1)))
    assert overlap(dark, bright) > 0.97
    assert overlap(dark, depth < 76) > 0.98
    assert np.mean(dark[sulcus & (depth < 70)]) > 0.95


def test_fat_that_is_far_brighter_than_the_brain_does_not_hide_it():
    head, labels = phantom((80, 80, 80), head=True)
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(*[np.linspace(-1, 1, 80)] * 3, indexing="ij")))
    fat = np.where((radius > 0.9) & (radius < 0.97), 5 * head, head).astype(np.float32)
    assert overlap(brain(fat, grid_of(head.shape, 2.0), stripped=False), labels > 1) > 0.9


def test_no_brain_is_said_so():
    for image in (np.zeros((20, 20, 20), np.float32), np.pad(np.ones((2, 2, 2), np.float32), 9)):
        for is_stripped in (True, False):
            with pytest.raises(InputError, match=r"brain-not-found: expected .*, but got .* litres"):
                brain(image, grid_of(image.shape), stripped=is_stripped)


@pytest.mark.parametrize("extent", [(60.0, 70.0, 80.0), (200.0, 220.0, 240.0), (61.0, 333.0, 20.0)])
def test_a_common_view_has_the_brain_in_its_middle_and_moves_no_voxel(stripped, extent):
    image, labels, grid = stripped
    mask = np.roll(labels > 0, 5, axis=0)
    before, after = common_view(grid, mask, extent)
    seen, shown = grid.pad(before, after), view(np.roll(image, 5, axis=0), before, after)
    assert shown.shape == seen.shape == tuple(round(mm / 2) for mm in extent)
    middle = np.add(bounds(mask).start, bounds(mask).stop) / 2 - 0.5
    centre = (np.array(seen.shape) - 1) / 2
    assert np.abs(seen.world(centre[None]) - grid.world(middle[None])).max() <= 2.0
    here = seen.voxel(grid.world(np.round(middle)[None])).round().astype(int)[0]
    assert shown[tuple(here)] == np.roll(image, 5, axis=0)[tuple(np.round(middle).astype(int))]


def test_features_say_volumes_in_millilitres_and_intensities_in_the_scans_unit(stripped):
    image, labels, grid = stripped
    found = measure(image, grid, labels > 0)
    for label, name in enumerate(("csf", "gm", "wm"), start=1):
        assert found[f"{name}_ml"] == pytest.approx(np.count_nonzero(labels == label) * 0.008, rel=0.12)
        assert found[f"{name}_intensity"] == pytest.approx(image[labels == label].mean(), rel=0.08)
    assert found["brain_ml"] == pytest.approx(sum(found[f"{name}_ml"] for name in ("csf", "gm", "wm")), rel=1e-6)
    assert found["noise"] == pytest.approx(4.0, rel=0.35)
    assert all(map(math.isfinite, found.values()))
    assert set(found) == {feature.name for feature in FEATURES}


def test_a_gain_changes_intensities_and_nothing_else(stripped):
    image, labels, grid = stripped
    one, ten = (measure((gain * image).astype(np.float32), grid, labels > 0) for gain in (1, 10))
    for feature in FEATURES:
        times = 10 if feature.unit == "scan" else 1
        assert ten[feature.name] == pytest.approx(times * one[feature.name], rel=2e-3), feature.name


def test_blur_lowers_sharpness_and_noise_lowers_snr(stripped):
    from scipy.ndimage import gaussian_filter

    image, labels, grid = stripped
    usual = measure(image, grid, labels > 0)
    blurred = measure(gaussian_filter(image, 1.5), grid, labels > 0)
    noisy = measure(phantom((64, 64, 64), noise=12.0)[0], grid, labels > 0)
    assert blurred["sharpness"] < 0.7 * usual["sharpness"]
    assert noisy["snr"] < 0.6 * usual["snr"]


def test_figures_of_a_restoration_that_are_unknown_are_nan():
    found = of_restoration({"consistency": 2.0})
    assert found["consistency"] == 2.0
    assert math.isnan(found["local"])
    assert set(found) | {feature.name for feature in FEATURES} == set(NAMES)


def harmonizer(**changes) -> model.Harmonizer:
    image, labels = phantom((32, 32, 32))
    fitted = Normaliser.fit("nyul", [(image, labels > 0)])
    said = {"contrast": "T1w", "method": "cubic", "voxel_size": 1.0, "field_of_view": (1, 2, 3), "intensity": fitted.to_json()}
    return model.Harmonizer(**(said | changes))


def test_a_harmonizer_is_read_as_written_and_its_digest_is_of_its_numbers(tmp_path):
    made = model.save(str(tmp_path), harmonizer(), "# card")
    found = model.read(str(tmp_path))
    assert found == made
    assert found.digest == made.digest == found.sha256
    assert found.digest != harmonizer(voxel_size=2.0).digest
    assert found.normaliser == Normaliser.from_json(made.intensity)
    assert harmonizer(intensity=None).normaliser is None


def test_a_harmonizer_for_other_scans_or_none_at_all_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"harmonizer-other: expected .*voxel_size 1.0.*got voxel_size 2.0"):
        harmonizer().check_same(voxel_size=2.0, method="cubic")
    with pytest.raises(WeightsError, match="harmonizer-missing"):
        model.read(str(tmp_path))
    (tmp_path / model.FILE).write_text('{"version": 9}')
    with pytest.raises(WeightsError, match="harmonizer-unreadable"):
        model.read(str(tmp_path))
