"""The scan as its own teacher: what it teaches, what the planes' network makes of a scan, and when a fit is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from core.engine.iterate import Checkpoint
from core.engine.restore import restore_whole
from core.errors import UsageError
from core.geometry.grid import Array, Grid
from core.methods import registry
from core.methods.anyscan.inputs import SUB, slab_grid
from core.methods.base import Measured
from core.methods.iterative import IterativeMethod
from core.methods.registry import build_method
from core.methods.self_sr import method as self_sr
from core.methods.self_sr import planes
from core.methods.self_sr.lesson import Lesson, lesson_of
from core.methods.self_sr.pupils import Beginner, Experienced
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats
from tests.core.engine.driving import drive

BOX = SliceProfile()
ROOT = Path(__file__).resolve().parents[4]


def texture(shape: tuple[int, int, int], seed: int = 0) -> Array:
    """Tissue of three intensities with sharp borders."""
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    smooth /= smooth.std()
    return np.where(smooth > 0.5, 1.0, np.where(smooth > -0.4, 0.6, 0.2)).astype(np.float32)


def thick(axis: int = 2, factor: int = 4, n: int = 48) -> tuple[Measured, Grid, Array]:
    """A scan with thick slices, the grid of the truth, and the truth."""
    grid, truth = Grid((n, n, n), np.eye(4)), texture((n, n, n)) * 200
    how = SliceProfile(factor=factor)
    made = how.degrade(truth, grid, axis, np.random.default_rng(0))
    return Measured(made.image, made.grid, scan_stats(made.image), BOX, (3, 4)), grid, truth


def lesson(axis: int = 2, *, planar: bool = False, noise: float = 0.0) -> Lesson:
    made = lesson_of(texture((64, 56, 72)), 1.0, axis, BOX, 4.0, noise, planar=planar)
    assert made is not None
    return made


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model of the network that it begins with, with random weights."""
    registry.resolve(registry.family_of("self-sr").mock)(str(tmp_path / "model"), "self-sr")
    return str(tmp_path / "model")


def itself(source: Grid, patch: Grid) -> Grid:
    """Of networks that work on the patch's own grid."""
    return patch


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_held_out_slabs_and_what_is_learnt_from_have_no_voxel_in_common(axis: int, planar: bool) -> None:
    made = lesson(axis, planar=planar)
    size = made.size[axis]
    held = {at for start in made.starts(held=True) for at in range(start, start + size)}
    seen = {at for start in made.starts(held=False) for at in range(start, start + size)}
    assert held
    assert seen
    assert not held & seen
    assert held | seen == set(range(made.image.shape[axis]))
    assert size == (1 if planar else min(32, made.image.shape[axis] // 8 // 2 * 2))


@pytest.mark.parametrize("across", [0, 1])
def test_the_truth_is_the_volume_and_the_inputs_lack_what_slices_across_an_axis_within_them_lose(across: int) -> None:
    made = lesson()
    shown, truth = made.draw(np.random.default_rng(1), across, itself)
    assert shown.shape == (6, *made.size)
    assert truth.shape == (1, *made.size)
    places = np.argwhere(made.image == truth[0, 0, 0, 0])
    (start,) = [
        at
        for at in places
        if np.array_equal(made.image[tuple(slice(a, a + n) for a, n in zip(at, made.size, strict=True))], truth[0])
    ]
    assert start[2] in made.starts(held=False)

    def fine(image: Array, axis: int) -> float:
        """Power of what slices 4 mm apart cannot hold."""
        lines = np.moveaxis(image, axis, -1)
        power = np.abs(np.fft.rfft(lines * np.hanning(lines.shape[-1]))) ** 2
        return float(power[..., np.fft.rfftfreq(lines.shape[-1]) > 1 / 5].sum())

    kept = {axis: fine(shown[0], axis) / fine(truth[0], axis) for axis in made.within}
    assert kept.pop(across) < 0.5 * min(kept.values())
    assert shown[3].max() == shown[3].min() == 0.5
    assert np.abs(shown[:2].sum(0) - truth[0]).mean() < np.abs(shown[0] - truth[0]).mean()


def test_truth_and_inputs_lie_on_the_grid_that_the_network_works_on() -> None:
    made = lesson()
    shown, truth = made.draw(np.random.default_rng(1), 0, slab_grid)
    assert shown.shape[1:] == truth.shape[1:]
    assert truth.shape[1] % SUB == 0
    error = np.abs(shown[:2].sum(0) - truth[0]).mean()
    assert error < 0.5 * np.abs(np.roll(shown[:2].sum(0), SUB, 0) - truth[0]).mean()


def test_an_example_depends_on_its_draw_alone() -> None:
    first, again, other = (lesson(noise=0.02).draw(np.random.default_rng(seed), 0, itself) for seed in (5, 5, 6))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert first[0].tobytes() != other[0].tobytes()


def test_noise_makes_up_for_what_the_average_over_a_slice_takes() -> None:
    flat = np.full((64, 64, 64), 0.5, np.float32) + np.float32(0.05) * np.random.default_rng(0).standard_normal(
        (64,) * 3, np.float32
    )
    made = lesson_of(flat, 1.0, 2, BOX, 4.0, 0.05, planar=True)
    assert made is not None
    coarse = [made.draw(np.random.default_rng(seed), 0, itself)[0] for seed in range(20)]
    centres = np.concatenate([shown[0][shown[2] < 0.13] for shown in coarse])
    assert np.std(centres) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize(("shape", "spacing"), [((64, 64, 64), 1.05), ((6, 64, 64), 4.0), ((64, 64, 12), 4.0), ((1, 1, 1), 4.0)])
def test_a_volume_that_cannot_teach_is_none(shape: tuple[int, int, int], spacing: float) -> None:
    assert lesson_of(np.ones(shape, np.float32), 1.0, 2, BOX, spacing, 0.0, planar=False) is None


class Curvature(torch.nn.Module):
    """Second differences along the last axis: alike in all flips, and of no other axis."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        image = torch.nn.functional.pad(inputs[:, :1], (1, 1, 0, 0), mode="replicate")
        return image[..., 2:] - 2 * image[..., 1:-1] + image[..., :-2]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_of_both_directions_come_back_to_their_places(axis: int) -> None:
    channels = np.random.default_rng(0).normal(size=(6, 13, 16, 18)).astype(np.float32)
    even = [slice(None), *(slice(0, n // 2 * 2) for n in channels.shape[1:])]
    channels = channels[tuple(even)]
    image = np.pad(channels[0], [(1, 1) if at == axis else (0, 0) for at in range(3)], mode="edge")
    wanted = np.diff(image, 2, axis=axis)
    np.testing.assert_allclose(planes.restored(Curvature(), channels, axis, "cpu"), wanted, atol=1e-5)


def test_the_planes_network_adds_nothing_before_it_learns_and_takes_odd_planes() -> None:
    channels = np.random.default_rng(0).normal(size=(6, 7, 9, 11)).astype(np.float32)
    made = planes.restored(planes.seeded(), channels, 2, "cpu")
    np.testing.assert_allclose(made, channels[0] + channels[1], atol=1e-6)
    weights = [torch.nn.utils.parameters_to_vector(planes.seeded().parameters()) for _ in range(2)]
    assert torch.equal(*weights)


@pytest.mark.parametrize("axis", [0, 2])
def test_patches_are_turned_as_the_network_sees_scans(axis: int, model: str) -> None:
    pupil, array = Experienced(model), np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 2, 3, 4)
    across = 1
    np.testing.assert_array_equal(pupil.ordered(array, axis, across), array.transpose(0, 1, 3, 2))
    flat = array[:, :1] if axis == 0 else array[..., :1]
    np.testing.assert_array_equal(Beginner().ordered(flat, axis, across)[0], flat[0, 0].T if axis == 0 else flat[0, :, :, 0])


def learnt(
    measured: Measured, target: Grid, model: str | None, **options: object
) -> tuple[Array, dict[str, list[tuple[int, float]]]]:
    method = build_method("self-sr", dict(options), model)
    assert isinstance(method, IterativeMethod)
    (image,), figures = drive(method, [measured], target)
    return image, figures


def test_a_fit_that_helps_is_kept_and_restores_otherwise(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Experienced, "rate", lambda *_: 1e-3)
    measured, target, _ = thick()
    image, figures = learnt(measured, target, model, steps=12)
    ((step, gain),) = figures["held_out_gain"]
    assert step == 12
    assert gain >= self_sr.GAIN
    assert image.tobytes() != restore_whole(build_method("anyscan", {}, model), [measured], target).tobytes()


def test_a_fit_that_does_not_help_leaves_what_there_was_to_the_last_bit(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_sr, "GAIN", 99.0)
    measured, target, _ = thick()
    image, _ = learnt(measured, target, model, steps=2)
    assert image.tobytes() == restore_whole(build_method("anyscan", {}, model), [measured], target).tobytes()


def test_from_no_model_the_scan_alone_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearer than the interpolation, repaired or not, to the truth that nobody showed it."""
    monkeypatch.setattr(Beginner, "batch", 4)
    monkeypatch.setattr(self_sr, "GAIN", 0.0)
    measured, target, truth = thick(axis=1)
    image, figures = learnt(measured, target, None, start="none", steps=60)

    def error(of: Array) -> float:
        return float(np.mean((of - truth) ** 2))

    cubic = build_method("cubic").restore([measured], target)[0]
    untaught = Beginner().untaught(cubic, measured, target)
    assert figures["held_out_gain"][0][1] > 0
    assert error(image) < error(untaught) < error(cubic)


def test_what_is_told_beside_it(model: str) -> None:
    measured, target, _ = thick()
    method = build_method("self-sr", {"steps": 1}, model)
    assert isinstance(method, IterativeMethod)
    problem = method.prepare([measured], target)
    *_, state = method.steps(problem, method.start(problem))
    (figures,) = method.beside(problem, state).figures
    assert figures == {"fit_kept": float(state.values["kept"]), "held_out_gain": state.figures["held_out_gain"][0][1]}


def test_an_image_by_which_nothing_learnt_is_used_says_what_it_is(model: str) -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    taught, alone = build_method("self-sr", {}, model), build_method("self-sr", {"start": "none"})
    assert taught.about(grid, grid, {"fit_kept": 1.0, "held_out_gain": 0.3}) == {}
    unused = taught.about(grid, grid, {"fit_kept": 0.0, "held_out_gain": -1.2})["learnt"]
    assert "nothing that is used (held-out parts of it gained -1.20 dB, and 0.05 are asked)" in unused
    assert unused.endswith(": restored by the any-scan network as it was")
    small = alone.about(grid, grid, {"fit_kept": 0.0})["learnt"]
    assert small.startswith("nothing that is used (the scan is too small, or its slices too thin): restored by cubic")


@pytest.mark.parametrize("start", ["anyscan", "none"])
def test_a_scan_that_teaches_nothing_is_restored_as_before(start: str, model: str) -> None:
    image = texture((40, 40, 40)) * 100
    grid = Grid(image.shape, np.eye(4))
    measured = Measured(image, grid, scan_stats(image), BOX)
    made, figures = learnt(measured, grid, model if start == "anyscan" else None, start=start)
    assert not figures
    assert made.shape == grid.shape
    if start == "none":
        np.testing.assert_allclose(made, image, rtol=1e-4, atol=1e-3)


def test_from_none_no_model_is_needed_and_none_is_taken(model: str) -> None:
    assert not registry.needs_model("self-sr", {"start": "none"})
    assert registry.needs_model("self-sr", {})
    assert build_method("self-sr", {"start": "none"}).total() == 1500
    assert build_method("self-sr", {}, model).total() == 150
    with pytest.raises(UsageError, match=r"model-missing: expected weights for the method self-sr, but got none\. Name them"):
        build_method("self-sr")
    with pytest.raises(
        UsageError, match=r"model-not-used: expected no --model with the method self-sr, but got .*\. Leave it out"
    ):
        build_method("self-sr", {"start": "none"}, model)


def test_a_run_from_none_asks_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.settings.run import RunSettings
    from flows.weights import resolve_weights

    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path))
    settings = RunSettings(input="", out=str(tmp_path / "out"), method="self-sr", method_options={"start": "none"})
    assert resolve_weights(settings) is None


KILLED = """
import hashlib, os, signal, sys
sys.path.insert(0, {root!r})
from tests.core.engine.driving import drive
from core.engine.iterate import Checkpoint
from core.methods.registry import build_method
from tests.core.methods.self_sr.test_self_sr import thick
measured, target, _ = thick()
method = build_method("self-sr", {{"steps": 6}}, {model!r})
def tell(step, of):
    if step == 4 and {dies}:
        os.kill(os.getpid(), signal.SIGKILL)
class Every(Checkpoint):
    def offer(self, state):
        self.save(state)
(image,), _ = drive(method, [measured], target, Every({state!r}, "digest", 0), tell)
print(hashlib.sha256(image.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_killed_without_warning_it_goes_on_to_the_same_bytes(model: str, tmp_path: Path) -> None:
    def run(state: str, *, dies: bool) -> subprocess.CompletedProcess[str]:
        code = KILLED.format(root=str(ROOT), model=model, state=str(tmp_path / state), dies=dies)
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False
        )

    undisturbed = run("other", dies=False)
    assert run("state", dies=True).returncode == -signal.SIGKILL
    kept = Checkpoint(str(tmp_path / "state"), "digest", 0).load()
    assert kept is not None
    assert kept.step == 3
    assert run("state", dies=False).stdout == undisturbed.stdout != ""
