"""Votes of slices: a scan whose slices are known to lie elsewhere is found, and the measures are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from core.errors import GridError
from core.evaluation import pairing
from core.evaluation.pairing import Stacks, stacks_of, vote
from core.geometry.grid import Grid
from core.operators.kernels import resize_matrix
from core.settings.pairs import Voting


def anatomy(shape: tuple[int, int, int] = (48, 60, 44), seed: int = 0) -> np.ndarray:
    """Blobs in a head: no two slices are alike."""
    draw = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(draw.standard_normal(shape), 2.5) * 40
    where = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    return np.asarray(np.clip(1 + blobs, 0.1, None) * ((where**2).sum(0) < 0.95), np.float32)


def planted(image: np.ndarray, offset: float, drift: float) -> tuple[np.ndarray, Grid, np.ndarray]:
    """A scan of half the pixels and slices, noise of 2 %, whose slices lie elsewhere than its header says."""
    count = image.shape[1] // 2
    places = 2 * np.arange(count) + 0.5 + offset + drift * np.arange(count)
    at = np.clip(places, 0, image.shape[1] - 1)
    slices = np.stack([ndimage.map_coordinates(image, np.mgrid[:48, p : p + 1, :44], order=1)[:, 0] for p in at], 1)
    matrices = [resize_matrix(n, 0.5, "bicubic") for n in (48, 44)]
    coarse = np.einsum("ai,ijk,bk->ajb", matrices[0], slices, matrices[1])
    noise = np.random.default_rng(1).normal(0, 0.02 * image.max(), coarse.shape)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 0.5
    return (coarse + noise).astype(np.float32), Grid(coarse.shape, affine), at


def test_a_planted_offset_and_drift_are_found_to_a_slice() -> None:
    image = anatomy()
    coarse, grid, at = planted(image, -2.0, 0.1)
    pairs = vote(stacks_of(image, Grid(image.shape, np.eye(4)), coarse, grid, 1), Voting(window=8))
    assert len(pairs) >= 24
    for pair in pairs:
        assert pair.fine is not None
        assert abs(pair.fine - at[pair.coarse]) <= 1, pair
    assert np.mean([pair.count >= 2 for pair in pairs]) > 0.9


def test_it_is_found_in_a_scan_that_is_turned_and_one_that_is_elsewhere_is_refused() -> None:
    image = anatomy()
    coarse, grid, at = planted(image, -2.0, 0.0)
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]]
    turned = Grid(image.shape, turn)
    seen = ndimage.affine_transform(image, turn[:3, :3], order=3).astype(np.float32)  # what lies at the turned grid's voxels
    stacks = stacks_of(seen, turned, coarse, grid, 1)
    pairs = vote(stacks, Voting(window=8))
    first = np.linalg.solve(grid.affine, stacks.sharp_grid.affine[:, 3])[1] * 2 + 0.5  # of the turned stack's slice 0
    middle = [pair for pair in pairs if 6 <= pair.coarse <= 23]
    assert np.mean([abs(pair.fine + first - at[pair.coarse]) <= 1 for pair in middle if pair.fine is not None]) > 0.9
    far = Grid(grid.shape, grid.affine @ np.array([[1.0, 0, 0, 0], [0, 1, 0, 500], [0, 0, 1, 0], [0, 0, 0, 1]]))
    with pytest.raises(GridError, match=r"pairs-apart: expected scans that show the same within 8 mm .* Check the headers"):
        vote(stacks_of(image, Grid(image.shape, np.eye(4)), coarse, far, 1), Voting(window=8))


def made_of(coarse: np.ndarray, fine: np.ndarray) -> Stacks:
    grid = Grid((4, 4, 4), np.eye(4))
    return Stacks(1, coarse.astype(np.float32), fine.astype(np.float32), fine, grid, np.arange(len(coarse)) * 1.0, 1.0)


def test_ssim_is_scikit_images() -> None:
    from skimage.metrics import structural_similarity

    draw = np.random.default_rng(0)
    both = made_of(draw.random((1, 40, 30)), draw.random((1, 40, 30)))
    made = pairing.structural_distances(both, np.ones((1, 1), bool), Voting())
    options = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5, "data_range": 1.0}
    assert 1 - made[0, 0] == pytest.approx(structural_similarity(both.coarse[0], both.fine[0], **options), abs=1e-5)


def test_components_of_all_dimensions_keep_distances_and_gmsd_is_nought_of_equals() -> None:
    draw = np.random.default_rng(0)
    coarse, fine = draw.random((3, 6, 5)), draw.random((4, 6, 5))
    both, near = made_of(coarse, fine), np.ones((3, 4), bool)
    wanted = np.linalg.norm(coarse.reshape(3, 1, -1) - fine.reshape(1, 4, -1), axis=2)
    np.testing.assert_allclose(pairing.principal_distances(both, near, Voting(dimension=7)), wanted, rtol=1e-5)
    assert (pairing.principal_distances(both, near, Voting(dimension=0.5)) < wanted).all()
    same = pairing.gradient_distances(made_of(fine, fine), np.ones((4, 4), bool), Voting())
    assert np.diag(same).max() < 1e-12 < same[0, 1]


@pytest.mark.parametrize(("ties", "wanted"), [("ranks", 1), ("drop", None)])
def test_where_all_differ_the_rule_decides(ties: str, wanted: int | None) -> None:
    rows = {"pca": np.array([0.0, 1, 9]), "gmsd": np.array([5.0, 0, 9]), "ssim": np.array([5.0, 1, 0])}
    pair = pairing._elected(4, rows, Voting.model_validate({"ties": ties}))
    assert (pair.fine, pair.count, pair.tied) == (wanted, 1, True)
    rows["ssim"] = rows["pca"]
    pair = pairing._elected(4, rows, Voting.model_validate({"ties": ties}))
    assert (pair.fine, pair.count, pair.tied) == (0, 2, False)
