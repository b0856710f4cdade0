"""The cohort's Zarr v3 store, local or on S3; the only module that knows its layout.

    /<key>/measured              {image, x, y, z}    the scan as acquired
    /<key>/<method>/restored     {image, x, y, z}
    /<key>/<method>/consistency  {image, x, y, z}    on the measured grid
    /<key>/<method>/tiles        scratch: one chunk a tile, removed once the blocks are written

Each group is an OME-Zarr 0.5 image and opens by ``xarray.open_datatree``. Arrays here are (z, y, x); everywhere else (x, y, z).
The image is cut along z into blocks of whole planes. A block is a shard, one object, the unit of safe writing: writers that
share a shard lose each other's chunks without an error. A block not yet written reads as NaN, and stored voxels are finite,
so nothing missing passes for data; each chunk carries a CRC-32C, so nothing torn does.

    z ^  +-----------+  block 2   one object, one writer
      |  +-----------+  block 1   inner chunks of 64 x 64 voxels and the block's thickness
      |  +-----------+  block 0
      +---------------> x, y
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import StoreError
from core.geometry.grid import Array, Box, Grid
from core.geometry.tiles import Tile, Tiling
from core.io import files, s3
from core.io.arrays.sharding import WRITE_ALL, create_array, create_coordinate, create_image, loaded

if TYPE_CHECKING:
    import zarr
    import zarr.abc.store

BLOCK_PLANES = 64
NODE = "zarr.json"
Attributes = dict[str, Any]


def object_count(grid: Grid, block_thickness: int = BLOCK_PLANES) -> int:
    """How many objects (files) an image on ``grid`` takes: its blocks, three coordinates and the metadata."""
    return 8 + math.ceil(grid.shape[2] / block_thickness)


def _directions(grid: Grid) -> NDArray[np.float64]:
    return np.asarray(grid.affine[:3, :3] / np.array(grid.spacing))


def coordinates(grid: Grid) -> dict[str, NDArray[np.float64]]:
    """Positions in mm of the planes along each of the grid's own axes, by name of the axis.

    The world position is the sum over the axes of coordinate times unit direction; on a grid that is not oblique they are the
    world's x, y and z themselves.
    """
    origin = np.linalg.solve(_directions(grid), grid.affine[:3, 3])
    return {
        name: first + step * np.arange(n) for name, first, step, n in zip("xyz", origin, grid.spacing, grid.shape, strict=True)
    }


def _ome(name: str, grid: Grid) -> Attributes:
    """OME-Zarr 0.5 metadata; its transformations are a scale and a translation, so an oblique affine stays in our attributes."""
    places = coordinates(grid)
    scale = {"type": "scale", "scale": list(grid.spacing[::-1])}
    translation = {"type": "translation", "translation": [float(places[axis][0]) for axis in "zyx"]}
    axes = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]
    datasets = [{"path": "image", "coordinateTransformations": [scale, translation]}]
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}


@contextmanager
def _whole(what: str) -> Iterator[None]:
    """Turn what decoding says of bytes that are not whole into a StoreError; faults of the storage itself pass as they are."""
    try:
        yield
    except (ValueError, RuntimeError, IndexError, KeyError) as error:
        raise StoreError("block-torn", f"{what} whole", f"{error}", "run again: what is damaged is made anew") from error


def _finite(array: Array, what: str) -> Array:
    if not np.isfinite(array).all():
        raise StoreError("block-missing", f"{what} as written", "voxels that were never written", "run again: it is made anew")
    return array


def _box_text(box: Box) -> str:
    return " ".join(f"{axis} {a}:{b}" for axis, a, b in zip("xyz", box.start, box.stop, strict=True))


class Store:
    """A cohort's store. Templates first, by one process; then any number of writers, each with blocks or tiles of its own.

    Args:
        uri: local folder or s3:// prefix; it need not exist.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    # -- images -------------------------------------------------------------------------------------------------------------

    def create(self, path: str, grid: Grid, attrs: Attributes, block_thickness: int = BLOCK_PLANES) -> None:
        """Write the template of an image: all metadata, no voxels. One process does this, before any writer starts.

        Where the same template is there already it is left alone with its blocks, so that a killed run goes on;
        another one is removed with all that it holds.

        Args:
            path: of the image's group, such as "sub-01_T1w/measured".
            grid: canonical grid of the image.
            attrs: JSON values to keep with it.
            block_thickness: planes a block.
        """
        thickness = min(block_thickness, grid.shape[2])
        template = {"grid": grid.to_json(), "block_thickness": thickness, "attrs": attrs}
        if (self._isovox(path) or {}) | {"digest": None} == template | {"digest": None}:
            return
        self.remove(path)
        self._create_parents(path)
        with self._creating(path) as there:
            create_image(there, path, grid, thickness)
            for name, values in coordinates(grid).items():
                create_coordinate(there, path, name, values)
        self._write_group(path, {"ome": _ome(path, grid), "isovox": template})  # last: with it the template counts as written

    def blocks(self, path: str) -> list[Box]:
        """The boxes that are written whole, each by one writer: slabs of planes along z, in order."""
        template = self._template(path)
        nx, ny, nz = Grid.from_json(template["grid"]).shape
        thickness = template["block_thickness"]
        return [Box((0, 0, z), (nx, ny, min(z + thickness, nz))) for z in range(0, nz, thickness)]

    def write_block(self, path: str, box: Box, array: Array) -> None:
        """Write one block, whole or not at all.

        Args:
            path: of the image's group.
            box: one of ``blocks(path)``.
            array: float32 (x, y, z) of the box's shape, finite.

        Raises:
            StoreError: any other box, shape, or a voxel that is not finite.
        """
        blocks = self.blocks(path)
        if box not in blocks:
            wanted = f"one of the {len(blocks)} blocks of {path}, such as {_box_text(blocks[0])}"
            raise StoreError("write-unaligned", wanted, _box_text(box), "write whole blocks, as Store.blocks names them")
        self._check_array(path, box, array)
        there = self._block_uri(path, blocks.index(box))
        if files.exists(there) and not self.has_block(path, box):
            files.remove(there)  # Zarr merges a write into the shard that is there, and fails where that one is torn
        self._open(f"{path}/image")[box.slices[::-1]] = array.transpose(2, 1, 0)

    def read(self, path: str, box: Box | None = None) -> Array:
        """The voxels of ``box`` (default: all), as a C-contiguous float32 array (x, y, z).

        Raises:
            StoreError: a block that is missing or damaged, by name.
        """
        box = Box.whole(self.grid(path).shape) if box is None else box
        image = self._open(f"{path}/image")
        result = np.empty(box.shape, np.float32)
        for block in self.blocks(path):
            if (part := block.intersect(box)) is None:
                continue
            what = f"block {_box_text(block)} of {path}"
            with _whole(what):
                planes = np.asarray(image[part.slices[::-1]])
            result[part.relative_to(box.start).slices] = _finite(planes, what).transpose(2, 1, 0)
        return result

    def has_block(self, path: str, box: Box) -> bool:
        """Whether a block is there and whole."""
        return self._readable(lambda: self.read(path, box))

    def grid(self, path: str) -> Grid:
        """The canonical grid of an image."""
        return Grid.from_json(self._template(path)["grid"])

    def attrs(self, path: str) -> Attributes:
        """What ``create`` and ``finish`` were told to keep with an image."""
        return dict(self._template(path)["attrs"])

    def finish(self, path: str, digest: str, attrs: Attributes | None = None) -> None:
        """Mark an image as done; called by one process once all writers are.

        Args:
            path: of the image's group.
            digest: of all that the image depends on.
            attrs: JSON values to keep with it, beside those that ``create`` was told.

        Raises:
            StoreError: a block that was not written.
        """
        blocks = self.blocks(path)
        missing = [_box_text(box) for i, box in enumerate(blocks) if not files.exists(self._block_uri(path, i))]
        if missing:
            got = f"{len(missing)} of them missing ({missing[0]} …)"
            raise StoreError("image-unfinished", f"all {len(blocks)} blocks of {path}", got, "write them before the marker")
        if not files.is_remote(self.uri):
            remove_partials(Path(self.uri, path))
        attributes = files.read_json(files.join(self.uri, path, NODE))["attributes"]
        attributes["isovox"]["digest"] = digest
        attributes["isovox"]["attrs"] |= attrs or {}
        self._write_group(path, attributes)

    def is_ours(self, path: str) -> bool:
        """Whether a group or scratch array was made here; others may keep theirs in the store."""
        return self._isovox(path) is not None

    def made_of(self, path: str) -> str | None:
        """What ``create`` or ``scratch`` was told that an image or its tiles are made of; None where it was not told."""
        source: str | None = ((self._isovox(path) or {}).get("attrs") or {}).get("of")
        return source

    def digest(self, path: str) -> str | None:
        """The digest that ``finish`` was given; None where the image is not finished."""
        digest: str | None = (self._isovox(path) or {}).get("digest")
        return digest

    def done(self, path: str, digest: str) -> bool:
        """Whether an image is finished with this digest and all its blocks are whole; to skip before and to verify after."""
        return self.digest(path) == digest and all(self.has_block(path, box) for box in self.blocks(path))

    def check_coordinates(self, path: str) -> None:
        """Re-read the positions of an image's planes.

        Raises:
            StoreError: those of an axis are missing or are not the grid's.
        """
        for name, values in coordinates(self.grid(path)).items():
            what = f"positions along {name} of {path}"
            with _whole(what):
                stored = np.asarray(self._open(f"{path}/{name}")[:])
            if not np.array_equal(stored, values):
                raise StoreError("block-missing", f"{what} as written", "other values", "run again: it is made anew")

    def remove(self, path: str) -> None:
        """Remove a group or scratch array with all in it; its metadata first, so that half of it never counts as whole."""
        files.remove(files.join(self.uri, path, NODE))
        files.remove(files.join(self.uri, path))

    # -- scratch tiles ------------------------------------------------------------------------------------------------------

    def scratch(self, path: str, tiling: Tiling, attrs: Attributes) -> None:
        """Write the template of a scratch array, a chunk a tile. The same one is left as it is with its tiles, as by ``create``.

        Args:
            path: of the array, such as "sub-01_T1w/network/tiles".
            tiling: whose tiles it will hold.
            attrs: JSON values that the tiles depend on.
        """
        template = {"tiling": tiling.to_json(), "attrs": attrs}
        if self._isovox(path) == template:
            return
        self.remove(path)
        self._create_parents(path)
        voxels = tiling.most_voxels  # in a row, for tiles have many shapes
        how = {"shape": (len(tiling), voxels), "chunks": (1, voxels), "dimension_names": ["tile", "voxel"]}
        flat = {"name": "default", "separator": "."}  # one file a tile, not four folders each
        with self._creating(path) as there:
            create_array(there, path, how | {"chunk_key_encoding": flat, "attributes": {"isovox": template}})

    def write_tile(self, path: str, tile: Tile, array: Array) -> None:
        """Write the prediction on ``tile.read``, whole or not at all.

        Raises:
            StoreError: another shape, or a voxel that is not finite.
        """
        self._check_array(path, tile.read, array)
        tiles = self._open(path)
        chunk = np.zeros(tiles.shape[1:], np.float32)
        chunk[: array.size] = array.ravel()
        tiles[tile.index] = chunk

    def read_tile(self, path: str, tile: Tile) -> Array:
        """The prediction on ``tile.read``, as a C-contiguous float32 array (x, y, z).

        Raises:
            StoreError: a tile that is missing or damaged, by name.
        """
        what = f"tile {tile.index} of {path}"
        with _whole(what):
            chunk = np.asarray(self._open(path)[tile.index, : math.prod(tile.read.shape)])
        return np.ascontiguousarray(_finite(chunk, what).reshape(tile.read.shape))

    def has_tile(self, path: str, tile: Tile) -> bool:
        """Whether a tile is there and whole."""
        return self._readable(lambda: self.read_tile(path, tile))

    # -- Zarr ---------------------------------------------------------------------------------------------------------------

    def _zarr(self) -> zarr.abc.store.Store:
        kinds = loaded().storage
        remote = files.is_remote(self.uri)
        there: zarr.abc.store.Store = kinds.ObjectStore(s3.object_store(self.uri)) if remote else kinds.LocalStore(self.uri)
        return there

    def _open(self, path: str) -> zarr.Array[Any]:
        try:
            there: zarr.Array[Any] = loaded().open_array(self._zarr(), path=path, mode="r+", config=WRITE_ALL)
        except (FileNotFoundError, ValueError) as error:
            raise StoreError("image-missing", f"an array {path} in {self.uri}", str(error), "create it first") from error
        return there

    @contextmanager
    def _creating(self, path: str) -> Iterator[zarr.abc.store.Store]:
        """Where to make the arrays below ``path``.

        For S3 they are made in memory and sent as they are: Zarr would ask for and write the groups above once an array.
        """
        if not files.is_remote(self.uri):
            yield self._zarr()
            return
        made: dict[str, Any] = {}
        yield loaded().storage.MemoryStore(made)
        for key, content in made.items():
            if key.startswith(f"{path}/"):
                files.write_atomic(files.join(self.uri, key), content.to_bytes())

    # -- metadata -----------------------------------------------------------------------------------------------------------

    def _write_group(self, path: str, attributes: Attributes) -> None:
        files.write_json(files.join(self.uri, path, NODE), {"zarr_format": 3, "node_type": "group", "attributes": attributes})

    def _create_parents(self, path: str) -> None:
        """The groups above ``path``; several processes may do this at once, for they write the same bytes."""
        parts = path.split("/")[:-1]
        for depth in range(len(parts) + 1):
            self.create_group("/".join(parts[:depth]))

    def create_group(self, path: str) -> None:
        """Write the metadata of a group that holds others, where there are none that are whole; "" is the store's own."""
        if not self.has_group(path):
            self._write_group(path, {})

    def has_group(self, path: str) -> bool:
        """Whether the metadata of a group that holds others are there and whole; what opens the store needs them."""
        try:
            return bool(files.read_json(files.join(self.uri, path, NODE))["node_type"] == "group")
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return False

    def _isovox(self, path: str) -> Attributes | None:
        """Our attributes of a group or array; None where there is none that can be read."""
        try:
            attributes: Attributes = files.read_json(files.join(self.uri, path, NODE))["attributes"]["isovox"]
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
            return None
        return attributes

    def _template(self, path: str) -> Attributes:
        if (template := self._isovox(path)) is None or "grid" not in template:
            raise StoreError("image-missing", f"an image {path} in {self.uri}", "none", "create it first")
        return template

    def _block_uri(self, path: str, number: int) -> str:
        return files.join(self.uri, path, f"image/c/{number}/0/0")

    def _check_array(self, path: str, box: Box, array: Array) -> None:
        what = f"finite float32 voxels {box.shape} for {_box_text(box)} of {path}"
        if array.shape != box.shape or array.dtype != np.float32:
            raise StoreError("block-shape", what, f"{array.dtype} {array.shape}", "write the block's own voxels")
        if not np.isfinite(array).all():
            raise StoreError("block-not-finite", what, "NaN or infinity", "restore it without, or fail the scan")

    def _readable(self, read: Callable[[], object]) -> bool:
        try:
            read()
        except StoreError:
            return False
        return True


def remove_partials(folder: Path) -> None:
    """Remove what killed writers left below a folder: Zarr writes a ``*.partial`` beside each object, and renames it."""
    for path in folder.rglob("*.partial"):
        path.unlink(missing_ok=True)
