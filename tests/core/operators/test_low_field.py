"""Low field: what is drawn has the published mean and covariance, and what is made shows what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.operators.forward import Beside
from core.operators.forward_model import LowField, SliceProfile
from core.operators.low_field import COVARIANCES, MEANS, draw_snr
from core.tissues import CSF, GM, WM, Tissues, maps_of_labels
from tests.phantoms import MEANS as BRIGHTNESS
from tests.phantoms import brain


@pytest.mark.parametrize("contrast", ["T1w", "FLAIR"])
def test_snrs_are_drawn_as_published(contrast):
    draw = np.random.default_rng(0)
    drawn = np.array([draw_snr(contrast, draw) for _ in range(4000)])
    spread = np.array(COVARIANCES[contrast])
    assert np.abs(drawn.mean(0) - MEANS[contrast]).max() < 4 * np.sqrt(spread.max() / 4000)
    assert np.cov(drawn.T) == pytest.approx(spread, rel=0.1)
    assert (drawn > 0).all()


def test_a_pair_that_is_not_above_zero_is_drawn_again():
    class Draw:
        pairs = iter([(-1.0, 3.0), (5.0, 0.0), (5.0, 4.0)])

        def multivariate_normal(self, *_):
            return next(self.pairs)

    assert draw_snr("FLAIR", Draw()) == (5.0, 4.0)


class Drawn:
    """A generator whose SNRs are told beforehand."""

    def __init__(self, snr, seed):
        self.snr, self.standard_normal = snr, np.random.default_rng(seed).standard_normal

    def multivariate_normal(self, *_):
        return self.snr


def simulated(contrast, snr, *, maps: bool, seed=0):
    """A noise-free phantom at low field in slices of 2: image, tissue by slice voxel, scale of the noise in the air."""
    image, labels = brain((64, 64, 64), contrast, noise=0.0)
    given = maps_of_labels(labels.astype(np.float32))
    tissues = Tissues.of_maps(image, given)
    how = LowField(factor=2, slice_profile="box", slice_gap=0.0, contrast=contrast)
    grid = Grid(image.shape, np.eye(4))
    made = how.degrade(image, grid, 2, Drawn(snr, seed), Beside(tissues, given if maps else None))
    scan, sd = made.image, tissues.wm_mean / snr[0] if contrast == "T1w" else tissues.gm_mean / snr[1]
    assert made.drawn == {"SNR": {"WM": snr[0], "GM": snr[1]}, "NoiseSD": pytest.approx(sd)}
    pairs = labels.reshape(64, 64, 32, 2)
    return scan, np.where(pairs[..., 0] == pairs[..., 1], pairs[..., 0], -1)


@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("contrast", ["T1w", "FLAIR"])
@pytest.mark.parametrize("snr", [(64.5, 54.1), (30.0, 40.0)])
def test_noise_and_contrast_are_those_drawn(contrast, snr, maps):
    scan, pure = simulated(contrast, snr, maps=maps)
    air = scan[pure == 0]
    assert abs(air.mean()) < 4 * air.std() / np.sqrt(air.size)
    for tissue, wanted in ((WM, snr[0]), (GM, snr[1])):
        inside = scan[pure == tissue + 1]
        assert inside.mean() / air.std() == pytest.approx(wanted, rel=0.02)
        assert inside.std() == pytest.approx(air.std(), rel=0.05)
    kept = {"T1w": WM, "FLAIR": GM}[contrast]
    for tissue in (kept, CSF):
        assert scan[pure == tissue + 1].mean() == pytest.approx(BRIGHTNESS[contrast][tissue], rel=0.02)


def test_noise_is_white_and_normal():
    scan, pure = simulated("T1w", (20.0, 18.0), maps=True)
    corner = scan[:12, :12, :6]
    assert (pure[:12, :12, :6] == 0).all()
    sd = corner.std()
    for axis in range(3):
        ahead, behind = (np.take(corner, range(*ends), axis) for ends in ((1, corner.shape[axis]), (0, corner.shape[axis] - 1)))
        assert abs((ahead * behind).mean()) < 4 * sd**2 / np.sqrt(ahead.size)
    assert (np.abs(corner) < sd).mean() == pytest.approx(0.6827, abs=0.06)


def test_what_is_of_no_tissue_keeps_its_brightness():
    image = np.full((8, 8, 8), 40.0, np.float32)
    tissues = Tissues((10.0, 60.0, 100.0), (5.0, 5.0, 5.0), (0.2, 0.4, 0.4), 60.0, 100.0)
    none = np.zeros((3, 8, 8, 8), np.float32)
    grid = Grid(image.shape, np.eye(4))
    made = LowField(factor=2).degrade(image, grid, 2, Drawn((1e6, 2e6), 0), Beside(tissues, none))
    assert made.image == pytest.approx(40.0, abs=1e-3)


def test_a_real_brain_has_the_snrs_drawn(scans):
    """On the slices, where their maps are above 0.9, as the paper measures it."""
    from core.io import nifti

    image, grid, _ = nifti.load(str(scans / "labels" / "T1w.nii.gz"))
    maps = maps_of_labels(nifti.load(str(scans / "labels" / "aparc_aseg.nii.gz"))[0])
    at = np.s_[64:192, 64:192, 64:192]  # the middle of the brain, to be quick
    image, maps = np.ascontiguousarray(image[at]), np.ascontiguousarray(maps[(slice(None), *at)])
    tissues, snr = Tissues.of_maps(image, maps), (64.0, 54.0)
    grid = Grid(image.shape, grid.affine)
    thick = SliceProfile(factor=8, slice_profile="gaussian", slice_gap=0.25)
    shares = [thick.degrade(one, grid, 2, np.random.default_rng(0)).image for one in maps]
    seen = LowField(factor=8).on_slices(tissues, image, grid, 2, maps)
    made = LowField(factor=8).degrade(image, grid, 2, Drawn(snr, 1), Beside(seen, maps))
    scan, sd = made.image, made.drawn["NoiseSD"]
    assert scan[shares[WM] > 0.9].mean() / sd == pytest.approx(snr[0], rel=0.005)
    assert scan[shares[GM] > 0.9].mean() / sd == pytest.approx(snr[1], rel=0.02)
    assert seen.wm_mean > 1.02 * tissues.wm_mean  # by the sharp scan, partial volume and all, there would be so much less noise


@pytest.mark.parametrize("given", [True, False])
def test_brightness_is_that_of_pure_slices(given):
    """Five bright planes, of which the fifth is brighter still and shares its slice with grey matter."""
    image = np.full((4, 4, 12), 50.0, np.float32)
    image[..., :4], image[..., 4] = 100.0, 200.0
    maps = np.zeros((3, *image.shape), np.float32)
    maps[WM, ..., :5], maps[GM, ..., 5:] = 1, 1
    tissues = Tissues((10.0, 50.0, 120.0), (5.0, 5.0, 30.0), (0.2, 0.4, 0.4), 50.0, 120.0)
    how = LowField(factor=4, slice_profile="box", slice_gap=0.0)
    seen = how.on_slices(tissues, image, Grid(image.shape, np.eye(4)), 2, maps if given else None)
    assert (seen.gm_mean, seen.wm_mean) == (pytest.approx(50), pytest.approx(100))
    assert seen.means == tissues.means


def test_the_published_numbers():
    """Lin et al. 2023, table of signal-to-noise ratios: (white, grey) at 0.36 T."""
    assert MEANS == {"T1w": (64.50, 54.14), "FLAIR": (35.031, 42.329)}
    assert COVARIANCES["T1w"] == ((78.47, 71.50), (71.50, 73.91))
    assert COVARIANCES["FLAIR"] == ((34.048, 39.850), (39.850, 50.293))
