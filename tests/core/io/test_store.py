"""The cohort's store: what goes in comes out, nothing missing or torn passes for data, and other tools open it."""

from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StoreError
from core.geometry.grid import Box, Grid
from core.geometry.tiles import patches
from core.io.arrays.store import Store, coordinates, object_count

PATH = "sub-01_T1w/cubic/restored"
GRID = Grid((70, 9, 11), np.array([[1.5, 0, 0, -20], [0, 2, 0, 30], [0, 0, 3, 5], [0, 0, 0, 1.0]]))


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def filled(folder, grid=GRID, thickness=4, image=None) -> Store:
    store = Store(str(folder))
    store.create(PATH, grid, {"scan": "sub-01"}, thickness)
    image = noise(grid.shape) if image is None else image
    for box in store.blocks(PATH):
        store.write_block(PATH, box, image[box.slices])
    store.finish(PATH, "digest")
    return store


def tree(folder) -> dict[str, str]:
    found = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(1, 70)] * 2, st.integers(1, 12)), st.integers(1, 13), st.data())
def test_blocks_cover_the_image_and_read_back_in_any_box(tmp_path_factory, shape, thickness, data):
    grid = Grid(shape, np.diag([1.0, 1, 1, 1]))
    store = filled(tmp_path_factory.mktemp("store") / "c.zarr", grid, thickness)
    image = noise(shape)
    assert (store.read(PATH) == image).all()
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    part = store.read(PATH, Box(start, stop))
    assert (part == image[Box(start, stop).slices]).all()
    assert part.flags.c_contiguous
    assert part.dtype == np.float32


def test_grid_attributes_and_digest_come_back(tmp_path):
    store = filled(tmp_path / "c.zarr")
    assert store.grid(PATH) == GRID
    assert store.attrs(PATH) == {"scan": "sub-01"}
    assert store.digest(PATH) == "digest"
    assert store.done(PATH, "digest")
    assert not store.done(PATH, "another")
    store.remove(PATH)
    assert store.digest(PATH) is None
    with pytest.raises(StoreError, match="image-missing: expected an image"):
        store.grid(PATH)


@pytest.mark.parametrize(
    "box",
    [
        Box((0, 0, 0), (70, 9, 3)),  # part of a block
        Box((0, 0, 1), (70, 9, 5)),  # across two
        Box((0, 0, 0), (70, 9, 8)),  # two at once
        Box((0, 0, 0), (35, 9, 4)),  # half of each plane
        Box((0, 0, 12), (70, 9, 16)),  # outside
    ],
)
def test_an_unaligned_write_raises(tmp_path, box):
    store = Store(str(tmp_path / "c.zarr"))
    store.create(PATH, GRID, {}, 4)
    with pytest.raises(StoreError, match=r"write-unaligned: expected one of the 3 blocks .* got x 0:\d+ .*Write whole blocks"):
        store.write_block(PATH, box, noise(box.shape))


def test_voxels_of_another_shape_type_or_not_finite_are_refused(tmp_path):
    store = Store(str(tmp_path / "c.zarr"))
    store.create(PATH, GRID, {}, 4)
    box = store.blocks(PATH)[0]
    with pytest.raises(StoreError, match="block-shape"):
        store.write_block(PATH, box, noise(box.shape[::-1]))
    with pytest.raises(StoreError, match="block-shape"):
        store.write_block(PATH, box, noise(box.shape).astype(np.float64))
    bad = noise(box.shape)
    bad[3, 2, 1] = np.nan
    with pytest.raises(StoreError, match="block-not-finite"):
        store.write_block(PATH, box, bad)


def test_zeros_are_data_and_a_missing_block_is_not(tmp_path):
    store = Store(str(tmp_path / "c.zarr"))
    store.create(PATH, GRID, {}, 4)
    first, second, third = store.blocks(PATH)
    for box in (first, third):
        store.write_block(PATH, box, np.zeros(box.shape, np.float32))
    assert [store.has_block(PATH, box) for box in (first, second, third)] == [True, False, True]
    assert (store.read(PATH, third) == 0).all()
    with pytest.raises(StoreError, match=r"block-missing: expected block x 0:70 y 0:9 z 4:8 of .* never written"):
        store.read(PATH)
    with pytest.raises(StoreError, match=r"image-unfinished: expected all 3 blocks .* got 1 of them missing"):
        store.finish(PATH, "digest")
    assert store.digest(PATH) is None


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_torn_block_is_found_rewritten_and_no_other_is_touched(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store") / "c.zarr"
    image = noise(GRID.shape)
    store = filled(folder, image=image)
    whole = tree(folder)
    number = data.draw(st.integers(0, 2))
    shard = folder / PATH / f"image/c/{number}/0/0"
    content = bytearray(shard.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    shard.write_bytes(content)
    blocks = store.blocks(PATH)
    assert [store.has_block(PATH, box) for box in blocks] == [i != number for i in range(3)]
    assert not store.done(PATH, "digest")
    with pytest.raises(StoreError, match=r"block-(torn|missing): .* Run again"):
        store.read(PATH)
    store.write_block(PATH, blocks[number], image[blocks[number].slices])
    assert tree(folder) == whole


def test_the_same_template_keeps_its_blocks_and_another_drops_them(tmp_path):
    store = filled(tmp_path / "c.zarr")
    store.create(PATH, GRID, {"scan": "sub-01"}, 4)
    assert store.done(PATH, "digest")
    store.create(PATH, GRID, {"scan": "changed"}, 4)
    assert store.digest(PATH) is None
    assert not any(store.has_block(PATH, box) for box in store.blocks(PATH))


def test_a_template_that_was_not_finished_is_written_anew(tmp_path):
    store = filled(tmp_path / "c.zarr")
    (tmp_path / "c.zarr" / PATH / "zarr.json").write_text('{"zarr_format": 3, "node_ty')
    assert store.digest(PATH) is None
    store.create(PATH, GRID, {"scan": "sub-01"}, 4)
    assert not store.has_block(PATH, store.blocks(PATH)[0])


def test_bytes_do_not_depend_on_when_where_or_how_often(tmp_path):
    filled(tmp_path / "a.zarr")
    store = filled(tmp_path / "b.zarr")
    for box in reversed(store.blocks(PATH)):
        store.write_block(PATH, box, noise(GRID.shape)[box.slices])
    leftover = tmp_path / "b.zarr" / PATH / "image/c/0/0/0.1f.partial"  # of a writer that was killed
    leftover.write_bytes(b"half")
    store.finish(PATH, "digest")
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")


def _write_one(folder: str, number: int) -> None:
    store = Store(folder)
    box = store.blocks(PATH)[number]
    store.write_block(PATH, box, noise((40, 50, 32))[box.slices])


def test_sixteen_processes_write_what_one_writes(tmp_path):
    grid = Grid((40, 50, 32), np.eye(4))
    filled(tmp_path / "serial.zarr", grid, 2)
    store = Store(str(tmp_path / "parallel.zarr"))
    store.create(PATH, grid, {"scan": "sub-01"}, 2)
    processes = multiprocessing.get_context("forkserver")  # zarr keeps a thread, which a plain fork would lose
    processes.set_forkserver_preload(["core.io.arrays.store", "zarr"])
    writers = [processes.Process(target=_write_one, args=(store.uri, number)) for number in range(16)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 16
    store.finish(PATH, "digest")
    assert tree(tmp_path / "parallel.zarr") == tree(tmp_path / "serial.zarr")


@pytest.mark.parametrize(("shape", "thickness"), [((70, 9, 11), 4), ((200, 130, 64), 64), ((1, 1, 1), 64)])
def test_the_number_of_objects_is_foretold(tmp_path, shape, thickness):
    grid = Grid(shape, np.eye(4))
    filled(tmp_path / "c.zarr", grid, thickness)
    assert len(tree(tmp_path / "c.zarr" / PATH)) == object_count(grid, thickness)


def test_an_ome_zarr_validator_accepts_the_image(tmp_path):
    import zarr
    from ome_zarr_models.v05 import Image

    filled(tmp_path / "c.zarr")
    image = Image.from_zarr(zarr.open_group(tmp_path / "c.zarr" / PATH, mode="r"))
    (dataset,) = image.attributes.ome.multiscales[0].datasets
    assert [list(step.model_dump()[step.type]) for step in dataset.coordinateTransformations] == [[3, 2, 1.5], [5, 30, -20]]


def test_xarray_opens_the_cohort_with_places_in_mm(tmp_path):
    import xarray

    filled(tmp_path / "c.zarr")
    with xarray.open_datatree(tmp_path / "c.zarr", engine="zarr", consolidated=False) as cohort:
        restored = cohort[PATH]
        assert restored["image"].dims == ("z", "y", "x")
        assert (restored["image"].values == noise(GRID.shape).transpose()).all()
        np.testing.assert_array_equal(restored["z"].values, 5 + 3 * np.arange(11))
        at = restored["image"].sel(x=-20 + 1.5 * 7, y=34, z=8)
        assert float(at) == noise(GRID.shape)[7, 2, 1]
        assert restored.attrs["isovox"]["grid"]["affine"] == GRID.affine.tolist()


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_coordinates_of_an_oblique_grid_add_up_to_the_world(angle, tilt):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ lean @ np.diag([1, 1.2, 5])
    affine[:3, 3] = [-80, -100, -60]
    places = coordinates(Grid((10, 11, 12), affine))
    corner = np.array([places["x"][9], places["y"][10], places["z"][11]])
    np.testing.assert_allclose(turn @ lean @ corner, (affine @ [9, 10, 11, 1])[:3], atol=1e-9)


TILES = "sub-01_T1w/network/tiles"


def test_tiles_come_back_and_a_torn_or_missing_one_is_found(tmp_path):
    store = Store(str(tmp_path / "c.zarr"))
    tiling = patches((20, 17, 9), 8, 2, "hann")
    store.scratch(TILES, tiling, {"digest": "d"})
    tiles = list(tiling.tiles())
    for tile in tiles[1:]:
        store.write_tile(TILES, tile, noise(tile.read.shape, tile.index))
    store.scratch(TILES, tiling, {"digest": "d"})
    assert [store.has_tile(TILES, tile) for tile in tiles] == [False] + [True] * (len(tiles) - 1)
    assert all((store.read_tile(TILES, tile) == noise(tile.read.shape, tile.index)).all() for tile in tiles[1:])
    torn = tmp_path / "c.zarr" / TILES / "c.5.0"
    torn.write_bytes(torn.read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"block-torn: expected tile 5 of .*/tiles whole"):
        store.read_tile(TILES, tiles[5])
    assert not store.has_tile(TILES, tiles[5])
    store.write_tile(TILES, tiles[5], noise(tiles[5].read.shape, 5))
    assert store.has_tile(TILES, tiles[5])
    assert len(tree(tmp_path / "c.zarr" / TILES)) == len(tiles)  # metadata, and a file a tile but for the first
    with pytest.raises(StoreError, match="block-shape"):
        store.write_tile(TILES, tiles[0], noise((1, 2, 3)))
    store.scratch(TILES, tiling, {"digest": "another"})
    assert not any(store.has_tile(TILES, tile) for tile in tiles)
    store.remove(TILES)
    with pytest.raises(StoreError, match="image-missing"):
        store.write_tile(TILES, tiles[0], noise(tiles[0].read.shape))


def test_scratch_tiles_of_unequal_size_are_stored_whole(tmp_path):
    store = Store(str(tmp_path / "c.zarr"))
    tiling = patches((5, 30, 1), 8, 2, "hann")
    store.scratch(TILES, tiling, {})
    for tile in tiling.tiles():
        store.write_tile(TILES, tile, noise(tile.read.shape, tile.index))
        assert (store.read_tile(TILES, tile) == noise(tile.read.shape, tile.index)).all()


@pytest.mark.slow
def test_a_store_on_s3_holds_the_same_bytes_and_finds_a_torn_block(s3, tmp_path):
    import fsspec

    local = filled(tmp_path / "c.zarr")
    remote = filled(f"{s3}/store/c.zarr")
    bucket = fsspec.filesystem("s3", use_listings_cache=False)
    found = {key.partition("/c.zarr/")[2]: hashlib.sha256(bucket.cat_file(key)).hexdigest() for key in bucket.find(remote.uri)}
    assert found == tree(tmp_path / "c.zarr")
    assert (remote.read(PATH) == local.read(PATH)).all()
    shard = f"{remote.uri}/{PATH}/image/c/1/0/0"
    bucket.pipe_file(shard, bucket.cat_file(shard)[:-9])
    blocks = remote.blocks(PATH)
    assert [remote.has_block(PATH, box) for box in blocks] == [True, False, True]
    remote.write_block(PATH, blocks[1], noise(GRID.shape)[blocks[1].slices])
    assert remote.done(PATH, "digest")
    remote.remove(PATH)
    assert remote.digest(PATH) is None
    assert not bucket.exists(shard)


RACE = """
import threading
from core.io.arrays.sharding import codecs
from core.io.arrays.store import Store
together, faults = threading.Barrier(6), []
def work(number):
    together.wait()
    try:
        Store("/nowhere")._zarr() if number % 2 else codecs()
    except BaseException as error:
        faults.append(repr(error))
threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(faults)
"""


def test_threads_that_first_reach_for_zarr_together_all_get_it():
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
