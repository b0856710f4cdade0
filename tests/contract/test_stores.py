"""What the cohort's store promises wherever it lies: held against each kind of place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import StoreError
from core.geometry.grid import Array, Grid
from core.io import files
from core.io.arrays.store import Store

PATH = "sub-01_T1w/cubic/restored"
GRID = Grid((20, 9, 11), np.array([[1.5, 0, 0, -20], [0, 2, 0, 30], [0, 0, 3, 5], [0, 0, 0, 1.0]]))
IMAGE: Array = np.random.default_rng(0).standard_normal(GRID.shape).astype(np.float32)


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty template of three blocks."""
    place = f"{request.getfixturevalue('s3')}/{tmp_path.name}/c.zarr" if request.param == "s3" else str(tmp_path / "c.zarr")
    made = Store(place)
    made.create(PATH, GRID, {"scan": "sub-01"}, 4)
    return made


def test_what_goes_in_comes_out_and_is_done_once_it_is_whole(store: Store) -> None:
    for box in reversed(store.blocks(PATH)):
        assert not store.done(PATH, "digest")
        store.write_block(PATH, box, IMAGE[box.slices])
    store.finish(PATH, "digest")
    again = Store(store.uri)  # as another process opens it
    assert again.done(PATH, "digest")
    assert not again.done(PATH, "another")
    assert (again.read(PATH) == IMAGE).all()
    assert again.grid(PATH) == GRID
    assert again.attrs(PATH) == {"scan": "sub-01"}


def test_what_is_missing_or_torn_never_passes_for_data(store: Store) -> None:
    first, second, third = store.blocks(PATH)
    for box in (first, third):
        store.write_block(PATH, box, IMAGE[box.slices])
    with pytest.raises(StoreError, match=r"image-unfinished: expected all 3 blocks .* got 1 of them missing"):
        store.finish(PATH, "digest")
    shard = files.join(store.uri, PATH, "image/c/2/0/0")
    files.write_atomic(shard, files.read_bytes(shard)[:-9])
    assert [store.has_block(PATH, box) for box in (first, second, third)] == [True, False, False]
    with pytest.raises(StoreError, match=r"block-(torn|missing): .* Run again"):
        store.read(PATH, third)
    assert (store.read(PATH, first) == IMAGE[first.slices]).all()


def test_what_was_made_of_something_else_is_dropped_and_what_is_removed_is_gone(store: Store) -> None:
    box = store.blocks(PATH)[0]
    store.write_block(PATH, box, IMAGE[box.slices])
    store.create(PATH, GRID, {"scan": "sub-01"}, 4)
    assert store.has_block(PATH, box)
    store.create(PATH, GRID, {"scan": "changed"}, 4)
    assert not store.has_block(PATH, box)
    store.remove(PATH)
    with pytest.raises(StoreError, match="image-missing: expected an image"):
        store.grid(PATH)
