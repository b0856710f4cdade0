"""Methods with state: kept, gone on with and spaced by what that costs; many steps at once are the same as one at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.engine.iterate import POINTS, SHARE, Checkpoint, Driver, made_of, thinned
from core.engine.restore import Source, restore_scan
from core.errors import RestorationError
from core.geometry.grid import Array, Grid
from core.methods.base import Measured
from core.methods.iterative import IterativeMethod, State
from core.methods.unires.method import UniRes, UniResSettings
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import ScanStats, scan_stats
from tests.core.engine.driving import drive

GRID = Grid((5, 6, 7), np.eye(4))


class Walk(IterativeMethod[float]):
    """Adds noise of its own generator at each step; its state is the image and the generator's."""

    name = "walk"

    def __init__(self, total: int = 8, stop: int = 100, poison: int = 0, killed: int = -1) -> None:
        super().__init__()
        self._total, self._stop, self._poison, self._killed = total, stop, poison, killed
        self.made: list[int] = []

    def total(self) -> int:
        return self._total

    def prepare(self, measured: Sequence[Measured], target: Grid) -> float:  # noqa: ARG002
        return float(measured[0].image.mean())

    def start(self, problem: float) -> State:
        return State({"image": np.full(GRID.shape, problem, np.float32)}, {"seed": 1, "name": "walk"})

    def step(self, problem: float, state: State) -> dict[str, float]:  # noqa: ARG002
        if state.step == self._killed:
            raise KeyboardInterrupt
        self.made.append(state.step)
        rng = np.random.default_rng(int(state.values["seed"]))
        state.arrays["image"] += rng.normal(0, 1, GRID.shape).astype(np.float32)
        state.values["seed"] = int(rng.integers(2**62))
        state.finished = state.step + 1 >= self._stop
        mean = float(state.arrays["image"].mean())
        figures = {"mean": float("nan") if state.step + 1 == self._poison else mean}
        return figures | ({"even": mean} if state.step % 2 else {})

    def result(self, problem: float, state: State) -> list[Array]:  # noqa: ARG002
        return [state.arrays["image"]]


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def scan() -> Measured:
    return Measured(np.full(GRID.shape, 3, np.float32), GRID, ScanStats(3, 3, 3, 3, 1, 1), SliceProfile())


def at(path: Path, seconds: float = 0.0, digest: str = "d", clock: Clock | None = None) -> Checkpoint:
    """Where a state is kept: by default after each step, as by a clock that stands still it costs nothing."""
    return Checkpoint(str(path / "state.safetensors"), digest, seconds, clock or Clock())


def test_steps_at_once_are_those_with_a_state_kept_and_loaded_after_each(tmp_path: Path) -> None:
    (whole,), told = drive(Walk(), [scan()], GRID)
    made: list[int] = []
    for number in range(1, 8):
        killed = Walk(killed=number)
        with pytest.raises(KeyboardInterrupt):
            drive(killed, [scan()], GRID, at(tmp_path))
        made += killed.made
    last = Walk()
    (image,), figures = drive(last, [scan()], GRID, at(tmp_path))
    assert made + last.made == list(range(8))  # each step was made once: none was begun at 0
    assert image.tobytes() == whole.tobytes()
    assert figures == told
    assert [step for step, _ in told["mean"]] == list(range(1, 9))
    assert [step for step, _ in told["even"]] == [2, 4, 6, 8]


def test_it_ends_early_where_the_method_has_finished(tmp_path: Path) -> None:
    method, told = Walk(stop=3), []
    drive(method, [scan()], GRID, at(tmp_path), lambda *one: told.append(one))
    assert method.made == [0, 1, 2]
    assert told == [(1, 8), (2, 8), (3, 8)]
    again = Walk(stop=3)
    drive(again, [scan()], GRID, at(tmp_path))
    assert again.made == []  # the state says that nothing is left to do


def test_a_state_of_something_else_is_removed(tmp_path: Path) -> None:
    drive(Walk(), [scan()], GRID, at(tmp_path))
    method = Walk(killed=0)
    with pytest.raises(KeyboardInterrupt):
        drive(method, [scan()], GRID, at(tmp_path, digest="another"))
    assert not list(tmp_path.iterdir())


def test_a_state_that_is_not_whole_is_begun_anew_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drive(Walk(), [scan()], GRID, at(tmp_path))
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    method = Walk()
    with caplog.at_level(logging.WARNING):
        (image,), _ = drive(method, [scan()], GRID, at(tmp_path))
    assert method.made == list(range(8))
    assert image.tobytes() == drive(Walk(), [scan()], GRID)[0][0].tobytes()
    assert "a state is begun anew: arrays-torn: expected whole arrays" in caplog.text


def test_a_step_that_diverges_ends_the_restoration_by_name() -> None:
    with pytest.raises(
        RestorationError, match=r"diverged: expected a finite figure 'mean' of every step, but got nan at step 5\. Look"
    ):
        drive(Walk(poison=5), [scan()], GRID)


@pytest.mark.parametrize(("cost", "seconds"), [(0.1, 10.0), (0.1, 20.0), (3.0, 300.0)])
def test_states_are_kept_at_their_interval_and_cost_no_more_than_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float, seconds: float
) -> None:
    clock, saved = Clock(), []

    def write(*_: object) -> None:
        saved.append(clock.now)
        clock.now += cost

    monkeypatch.setattr("core.engine.iterate.write_arrays", write)
    checkpoint = at(tmp_path, seconds, clock=clock)
    for _ in range(20_000):
        clock.now += 1.0
        checkpoint.offer(State({}))
    assert seconds <= saved[0] <= seconds + 1
    assert np.diff(saved).min() >= seconds
    spent = cost * np.arange(1, len(saved) + 1)
    assert all(spent <= SHARE * np.array(saved))
    assert spent[-1] + cost > SHARE * clock.now - 1 or len(saved) > 0.9 * clock.now / (seconds + 1)  # and not more seldom


def test_a_cheap_state_waits_for_its_interval(tmp_path: Path) -> None:
    clock = Clock()
    checkpoint = at(tmp_path, 10.0, clock=clock)
    for second in range(10):
        clock.now = float(second)
        checkpoint.offer(State({}))
        assert not list(tmp_path.iterdir())
    clock.now = 10.0
    checkpoint.offer(State({}, step=4))
    assert (checkpoint.load() or State({})).step == 4
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


def test_the_engine_drives_a_method_in_the_place_of_its_tile(tmp_path: Path) -> None:
    method = Walk()
    tiling = method.tiling(GRID, GRID, TilingSettings())
    driver = Driver(method, at(tmp_path))
    blocks = list(restore_scan(method, [Source.in_memory(scan())], GRID, tiling, 3, driver))
    image = np.concatenate([arrays[0] for _, arrays in blocks], axis=2)
    assert image.tobytes() == method.restore([scan()], GRID)[0].tobytes()
    assert len(driver.figures["mean"]) == 8
    assert driver.step_seconds is not None
    assert 0 < driver.step_seconds < 10


def test_of_many_figures_the_first_the_last_and_those_between_are_kept() -> None:
    rows = [(step, 1.0 / step) for step in range(1, 1001)]
    kept = thinned({"loss": rows, "few": rows[:5]})
    assert kept["few"] == rows[:5]
    assert len(kept["loss"]) == POINTS
    assert (kept["loss"][0], kept["loss"][-1]) == (rows[0], rows[-1])
    assert set(kept["loss"]) <= set(rows)
    assert max(np.diff([step for step, _ in kept["loss"]])) <= 6


@pytest.mark.parametrize("scans", [1, 2])
def test_unires_goes_on_with_the_same_bits_from_any_round(tmp_path: Path, scans: int) -> None:
    grid = Grid((12, 14, 5), np.diag([2.0, 2, 6, 1]))
    image = np.abs(np.random.default_rng(0).normal(100, 9, grid.shape)).astype(np.float32)
    measured = [Measured(image + n, grid, scan_stats(image), SliceProfile()) for n in range(scans)]
    method, target = UniRes(UniResSettings(iterations=6)), grid.isotropic(2.0)
    whole = method.restore(measured, target)
    problem = method.prepare(measured, target)
    state = method.start(problem)
    for _ in method.steps(problem, state):
        at(tmp_path).save(state)
        arrays, figures = drive(method, measured, target, at(tmp_path))
        assert [array.tobytes() for array in arrays] == [array.tobytes() for array in whole]
        assert [step for step, _ in figures["relative_change"]] == list(range(1, 7))
        assert all(0 < value < 1 for _, value in figures["relative_change"])
    assert state.step == 6


def test_the_digest_of_a_state_is_told_and_none_of_a_file_that_is_gone_or_torn(tmp_path: Path) -> None:
    uri = tmp_path / "state.safetensors"
    assert made_of(str(uri)) is None
    Checkpoint(str(uri), "abc", 0).save(State({"image": np.zeros(3, np.float32)}))
    assert made_of(str(uri)) == "abc"
    uri.write_bytes(uri.read_bytes()[:20])
    assert made_of(str(uri)) is None
