"""How the store's arrays are cut and coded: shards of whole planes, chunks within them, each chunk with a checksum."""

from __future__ import annotations

import math
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Grid

if TYPE_CHECKING:
    import zarr
    import zarr.abc.store
    from zarr.core.array_spec import ArrayConfigParams

CHUNK_EDGE = 64
WRITE_ALL: ArrayConfigParams = {"write_empty_chunks": True}  # none is compared with the fill value, none is left out
_LOADING = threading.Lock()


def loaded() -> ModuleType:
    """Zarr, with what it stores in, by one thread at a time: threads that first import it together may each get half of it."""
    with _LOADING:
        import zarr
        import zarr.codecs
        import zarr.storage
    return zarr


def codecs() -> list[Any]:
    """Compression and checksum of a chunk."""
    coding = loaded().codecs
    return [coding.BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=4), coding.Crc32cCodec()]


def create_array(there: zarr.abc.store.Store, path: str, how: dict[str, Any]) -> zarr.Array[Any]:
    """A new array: float32, compressed, with checksums and NaN where nothing is written, unless ``how`` says otherwise."""
    usual: dict[str, Any] = {"dtype": "float32", "fill_value": float("nan"), "compressors": codecs()}
    made: zarr.Array[Any] = loaded().create_array(there, name=path, zarr_format=3, config=WRITE_ALL, **(usual | how))
    return made


def create_image(there: zarr.abc.store.Store, path: str, grid: Grid, thickness: int) -> None:
    """The array of an image's voxels: a shard a block of ``thickness`` planes."""
    shape = grid.shape[::-1]
    chunks = (thickness, *(min(CHUNK_EDGE, n) for n in shape[1:]))
    shards = (thickness, *(math.ceil(n / chunk) * chunk for n, chunk in zip(shape[1:], chunks[1:], strict=True)))
    how = {"shape": shape, "chunks": chunks, "shards": shards, "dimension_names": ["z", "y", "x"]}
    create_array(there, f"{path}/image", how)


def create_coordinate(there: zarr.abc.store.Store, path: str, name: str, values: NDArray[np.float64]) -> None:
    """The array of the positions of planes along an axis, in mm."""
    how = {"shape": values.shape, "chunks": values.shape, "dtype": "float64", "dimension_names": [name]}
    create_array(there, f"{path}/{name}", how | {"compressors": None, "attributes": {"units": "mm"}})[:] = values
