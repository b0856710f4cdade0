"""Where the prior's window lies in the scan's world: registration, the way back, measured voxels put back, seams."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import RestorationError
from core.geometry.grid import Box, Grid
from core.methods.base import Measured
from core.methods.inverse_sr.frame import Frame, foreground_inside, moved, picked, registered, rigid_between, seam
from core.operators.forward_model import DroppedSlices, LesionMask, SliceProfile
from core.operators.trilinear import resample
from core.stats import scan_stats

WINDOW = Grid((40, 48, 44), np.array([[4.0, 0, 0, -78], [0, 4, 0, -112], [0, 0, 4, -70], [0, 0, 0, 1]]))


STILL, BOX = np.eye(4), SliceProfile()


def head(points):
    """A head with an inside that has no symmetry, at places in mm (n, 3)."""
    x, y, z = (points / np.array([70.0, 90, 75])).T
    radius = np.sqrt(x**2 + y**2 + z**2)
    inside = 0.5 + 0.3 * np.sin(5 * x + 1) * np.cos(4 * y) + 0.2 * np.sin(6 * z + x)
    return np.where(radius < 0.9, inside, np.where(radius < 1, 1.0, 0.0)).astype(np.float32)


def on(grid, rigid=STILL):
    """The head in a world that a rigid transform leads to, on a grid of it."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    back = np.linalg.inv(rigid)
    return head(grid.world(indices) @ back[:3, :3].T + back[:3, 3]).reshape(grid.shape)


def turn(degrees=(8.0, -5.0, 6.0), shift=(12.0, -20.0, 9.0)):
    a, b, c = np.deg2rad(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = z @ y @ x, shift
    return rigid


def measured(grid, image, forward=BOX, mask=None):
    return Measured(image, grid, scan_stats(image), forward, mask=mask)


THICK = Grid((80, 96, 24), np.array([[2.0, 0, 0, -70], [0, 2, 0, -130], [0, 0, 8, -80], [0, 0, 0, 1]]))


@pytest.fixture(scope="module")
def found() -> Frame:
    return registered(measured(THICK, 300 * on(THICK, turn())), on(WINDOW), WINDOW)


def test_a_turned_head_is_found(found):
    rigid = turn()
    corners = np.array([[60, 0, 0], [-60, 0, 0], [0, 80, 0], [0, 0, 60.0], [0, 0, -60]])
    wanted = Frame(moved(WINDOW, rigid)).window.world(WINDOW.voxel(corners))
    assert np.linalg.norm(found.window.world(WINDOW.voxel(corners)) - wanted, axis=1).max() < 2.0
    assert found.likeness > 0.8


def test_the_same_images_give_the_same_bits(found):
    again = rigid_between(on(WINDOW), WINDOW, 300 * on(THICK, turn()), THICK)
    assert moved(WINDOW, again) == found.window


def test_a_head_whose_air_is_below_zero_is_found_as_its_magnitudes_are(found):
    image = on(THICK, turn())
    shifted = ((image - image.mean()) / image.std()).astype(np.float32)
    np.testing.assert_allclose(
        registered(measured(THICK, shifted), on(WINDOW), WINDOW).window.affine, found.window.affine, atol=0.5
    )


def test_what_the_registration_finds_nothing_in_is_refused():
    with pytest.raises(RestorationError, match=r"not-registered: expected a scan in which a brain can be found"):
        rigid_between(on(WINDOW), WINDOW, np.full(THICK.shape, -1, np.float32), THICK)


def test_what_is_no_head_is_refused():
    noise = np.random.default_rng(0).random(THICK.shape).astype(np.float32)
    with pytest.raises(RestorationError, match=r"not-registered: expected a scan .*0\.4, but got -?0\.\d+\. Check"):
        registered(measured(THICK, noise), on(WINDOW), WINDOW)


def test_a_head_that_leaves_the_window_is_refused():
    low = WINDOW.crop(Box((0, 0, 22), (40, 48, 44)))
    with pytest.raises(RestorationError, match=r"outside-prior: expected at least 75% of the head .*, but got \d+%"):
        registered(measured(THICK, on(THICK)), on(low), low)


def test_a_window_holds_the_voxels_whose_centres_lie_in_it():
    small = Frame(Grid((4, 4, 4), np.eye(4)))
    held = small.holds(Grid((8, 8, 8), np.array([[1.0, 0, 0, -2], [0, 1, 0, -2], [0, 0, 1, -2], [0, 0, 0, 1]])))
    assert held[2:6, 2:6, 2:6].all()
    assert held.sum() == 64
    turned = small.holds(Grid((1, 1, 1), turn(shift=(1.5, 1.5, 1.5))))
    assert turned.all()
    scan = measured(Grid((8, 8, 8), np.eye(4)), np.arange(512, dtype=np.float32).reshape(8, 8, 8))
    assert foreground_inside(scan, small) == pytest.approx(np.mean(small.holds(scan.grid)[scan.image > 255]), abs=0.05)


def test_an_image_of_the_window_comes_back_where_it_was():
    frame = Frame(moved(WINDOW, turn()))
    target = Grid((60, 70, 60), np.array([[2.0, 0, 0, -40], [0, 2, 0, -90], [0, 0, 2, -50], [0, 0, 0, 1]]))
    smooth = np.add.outer(np.add.outer(np.sin(np.arange(40) / 6), np.cos(np.arange(48) / 7)), np.arange(44) / 20).astype(
        np.float32
    )
    places = frame.window.voxel(target.world(np.array([[30.0, 35, 30], [10, 12, 44]])))
    brought = frame.bring(smooth, target, np.full(target.shape, -1, np.float32))
    wanted = [np.sin(x / 6) + np.cos(y / 7) + z / 20 for x, y, z in places]
    assert [brought[30, 35, 30], brought[10, 12, 44]] == pytest.approx(wanted, abs=2e-3)
    far = Grid((4, 4, 4), np.array([[1.0, 0, 0, 900], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert (frame.bring(smooth, far, np.full(far.shape, -1, np.float32)) == -1).all()


@pytest.mark.parametrize("forward", [SliceProfile(), DroppedSlices(factor=4)], ids=lambda one: one.kind)
def test_the_scan_in_the_frame_has_an_exact_adjoint(forward):
    draw = np.random.default_rng(1)
    operator = measured(THICK, on(THICK), forward).operator(moved(WINDOW, turn()))
    x, y = draw.random(WINDOW.shape), draw.random(THICK.shape)
    assert np.vdot(operator.forward(x), y) == pytest.approx(np.vdot(x, operator.adjoint(y)), rel=1e-12)


def test_the_head_of_the_window_explains_the_scan():
    """What the operator says of the window's head is the scan, but for the coarse voxels of both."""
    rigid = turn()
    frame = Frame(moved(WINDOW, rigid))
    scan = measured(THICK, on(THICK, rigid), SliceProfile(slice_profile="point"))
    seen, held = scan.operator(frame.window).forward(on(WINDOW)), frame.holds(THICK)
    assert np.corrcoef(seen[held], scan.image[held])[0, 1] > 0.9
    turned = resample(WINDOW, THICK).forward(on(WINDOW))
    assert np.corrcoef(turned[held], scan.image[held])[0, 1] < 0.8


# -- measured voxels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [0, 2])
def test_dropped_slices_are_put_back_as_they_were(phase):
    sharp = Grid((5, 6, 17), np.eye(4))
    truth = np.random.default_rng(0).random(sharp.shape).astype(np.float32)
    forward = DroppedSlices(factor=4, phase=phase)
    made = forward.degrade(truth, sharp, 2, np.random.default_rng(0))
    scan = measured(made.grid, made.image, forward)
    target = made.grid.isotropic(1.0, "decimation")
    found = picked(scan, target)
    put = found.put(np.zeros(target.shape, np.float32))
    np.testing.assert_array_equal(put[..., ::4], made.image)
    assert put[..., 1].max() == 0


def test_averages_over_slices_are_no_voxels_of_the_target():
    made = SliceProfile(factor=4).degraded_grid(Grid((5, 6, 16), np.eye(4)), 2)
    assert picked(measured(made, np.ones(made.shape, np.float32), SliceProfile(factor=4)), made.isotropic(1.0)) is None


def test_all_but_a_lesion_is_put_back():
    grid = Grid((6, 6, 6), np.eye(4))
    mask = np.zeros(grid.shape, bool)
    mask[2:4, 2:4, 2:4] = True
    truth = np.random.default_rng(0).random(grid.shape).astype(np.float32)
    for forward in (LesionMask(), SliceProfile()):
        put = picked(measured(grid, truth, forward, mask), grid).put(np.full(grid.shape, 9, np.float32))
        np.testing.assert_array_equal(put, np.where(mask, 9, truth))


def test_a_seam_is_seen():
    grid = Grid((6, 6, 16), np.eye(4))
    smooth = np.broadcast_to(np.arange(16, dtype=np.float32), grid.shape).copy()
    made = DroppedSlices(factor=4).degrade(smooth, grid, 2, np.random.default_rng(0))
    found = picked(measured(made.grid, made.image, DroppedSlices(factor=4)), grid)
    assert seam(smooth, found) == 1
    assert seam(found.put(smooth + 2), found) > 1.5
