"""What every method promises, held against each of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.engine.iterate import Checkpoint
from core.engine.restore import Source, restore_scan, restore_tiles
from core.errors import UsageError
from core.geometry.blend import gather
from core.geometry.grid import Box, Grid
from core.geometry.tiles import Tile
from core.methods import registry
from core.methods.base import Measured, Method
from core.methods.iterative import IterativeMethod, State
from core.methods.registry import build_method
from core.operators.forward_model import ForwardModel, InPlane, SliceProfile
from core.settings.scans import TilingSettings
from core.stats import scan_stats
from tests.core.engine.driving import drive

WANTED = TilingSettings(patch=24, overlap=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model for each method that needs one, with random weights, as its family writes it."""
    folders = {}
    for name, entry in registry.methods().items():
        if entry.takes.model:
            folders[name] = str(tmp_path_factory.mktemp(name))
            registry.resolve(registry.family_of(name).mock)(folders[name], name)
    return folders


@pytest.fixture(params=registry.methods())
def method(request: pytest.FixtureRequest, models: dict[str, str]) -> Method:
    options = dict(registry.methods()[request.param].quick)
    return build_method(request.param, options, models.get(request.param))


def scan(method: Method, constant: float | None = None) -> tuple[Measured, Grid]:
    """A scan that a method is for: of thick slices, or coarser within thin ones."""
    forward: ForwardModel = InPlane() if method.scans.kinds == ("in-plane",) else SliceProfile()
    sizes, shape = ((4, 4, 2), (13, 15, 9)) if isinstance(forward, InPlane) else ((2, 2, 8), (26, 30, 9))
    grid = Grid(shape, np.array([[sizes[0], 0, 0, -20], [0, sizes[1], 0, -30], [0, 0, sizes[2], -40], [0, 0, 0, 1]]))
    where = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij"))
    head = 100 * np.exp(-3 * (where**2).sum(axis=0)) + np.random.default_rng(0).normal(0, 1, grid.shape)
    image = (head if constant is None else np.full(grid.shape, constant)).astype(np.float32)
    return Measured(image, grid, scan_stats(head.astype(np.float32)), forward), grid.isotropic(2.0)


def images(method: Method, measured: Measured, target: Grid) -> list[np.ndarray]:
    """The restored image, and the maps that the method gives."""
    tiling = method.tiling(measured.grid, target, WANTED)
    blocks = restore_scan(method, [Source.in_memory(measured)], target, tiling, 13)
    return [np.concatenate(each, axis=2) for each in zip(*(arrays for _, arrays in blocks), strict=True)]


def whole(method: Method, measured: Measured, target: Grid) -> np.ndarray:
    return images(method, measured, target)[0]


def test_it_gives_finite_float32_on_the_target(method: Method) -> None:
    measured, target = scan(method)
    before = measured.image.copy()
    image = whole(method, measured, target)
    assert (image.dtype, image.shape) == (np.float32, target.shape)
    assert np.isfinite(image).all()
    np.testing.assert_array_equal(measured.image, before)


def test_it_gives_the_same_bits_again(method: Method) -> None:
    measured, target = scan(method)
    assert whole(method, measured, target).tobytes() == whole(method, measured, target).tobytes()


def test_scan_mode_equals_tile_mode_bit_for_bit(method: Method) -> None:
    measured, target = scan(method)
    tiling = method.tiling(measured.grid, target, WANTED)
    made: dict[int, list[np.ndarray]] = {}
    for tile in reversed(list(tiling.tiles())):
        ((_, arrays),) = restore_tiles(method, [Source.in_memory(measured)], target, [tile])
        made[tile.index] = arrays

    def read(number: int, tile: Tile) -> np.ndarray:
        return made[tile.index][number]

    together = images(method, measured, target)
    assert len(together) == 1 + len(method.maps)
    for number, image in enumerate(together):
        gathered = gather(Box.whole(target.shape), tiling, partial(read, number))
        assert gathered.tobytes() == image.tobytes()


def test_what_a_tile_reads_lies_in_the_scan(method: Method) -> None:
    measured, target = scan(method)
    for tile in method.tiling(measured.grid, target, WANTED).tiles():
        box = method.source_box(measured.grid, target, tile)
        assert box.intersect(Box.whole(measured.grid.shape)) == box


def test_a_constant_stays_constant(method: Method) -> None:
    if method.needs_model:
        pytest.skip("a network with random weights keeps nothing")
    measured, target = scan(method, constant=50.0)
    np.testing.assert_allclose(whole(method, measured, target), 50, rtol=2e-3)


def test_its_options_are_checked(method: Method, models: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"method-options: expected options of .*, but got .*no_such.*\. Correct"):
        build_method(method.name, {"no_such": 1}, models.get(method.name))


def test_it_says_what_it_costs(method: Method) -> None:
    assert method.voxels_per_second > 0
    assert method.bytes_per_voxel >= 4


# -- methods with state -----------------------------------------------------------------------------------------------------

STATEFUL = [name for name in registry.methods() if issubclass(registry.method_class(name), IterativeMethod)]


@pytest.fixture(params=STATEFUL)
def stateful(request: pytest.FixtureRequest, models: dict[str, str]) -> IterativeMethod[Any]:
    method = build_method(request.param, dict(registry.methods()[request.param].quick), models.get(request.param))
    assert isinstance(method, IterativeMethod)
    return method


def bits(state: State) -> Any:
    """All of a state, to be compared."""
    arrays = {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in state.arrays.items()}
    return arrays, state.values, state.figures, state.step, state.finished


def before(method: IterativeMethod[Any], steps: int) -> tuple[Any, State]:
    """A problem, and the state after so many steps."""
    measured, target = scan(method)
    problem = method.prepare([measured], target)
    state = method.start(problem)
    for _ in zip(range(steps), method.steps(problem, state), strict=False):
        pass
    return problem, state


def test_it_starts_alike_every_time(stateful: IterativeMethod[Any]) -> None:
    assert bits(before(stateful, 0)[1]) == bits(before(stateful, 0)[1])
    assert before(stateful, 0)[1].step == 0
    assert stateful.total() >= 1


def test_its_state_comes_back_as_it_was(stateful: IterativeMethod[Any], tmp_path: Path) -> None:
    _, state = before(stateful, 2)
    Checkpoint(str(tmp_path / "state"), "digest", 0).save(state)
    found = Checkpoint(str(tmp_path / "state"), "digest", 0).load()
    assert found is not None
    assert bits(found) == bits(state)


def test_it_goes_on_from_a_state_with_the_same_bits_and_figures(stateful: IterativeMethod[Any], tmp_path: Path) -> None:
    measured, target = scan(stateful)
    ((undisturbed,), told) = drive(stateful, [measured], target)
    Checkpoint(str(tmp_path / "state"), "digest", 0).save(before(stateful, 2)[1])
    made: list[int] = []
    (resumed,), again = drive(
        stateful, [measured], target, Checkpoint(str(tmp_path / "state"), "digest", 1e9), lambda step, _: made.append(step)
    )
    assert made[0] == 3
    assert resumed.tobytes() == undisturbed.tobytes()
    assert again == told


def test_its_steps_tell_finite_figures(stateful: IterativeMethod[Any]) -> None:
    _, state = before(stateful, 3)
    assert state.figures
    for rows in state.figures.values():
        assert all(np.isfinite(value) for _, value in rows)
        assert [step for step, _ in rows] == sorted({step for step, _ in rows})


def test_it_restores_whole_scans(stateful: IterativeMethod[Any]) -> None:
    measured, target = scan(stateful)
    assert len(stateful.tiling(measured.grid, target, WANTED)) == 1
