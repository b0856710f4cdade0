"""Maps beside a restored image, such as its uncertainty, and figures: in the store, named by what is kept with the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.geometry.grid import Array
from core.io.arrays.store import Store
from core.methods.iterative import Beside


def path_of_map(restored: str, name: str) -> str:
    """Where a map lies in the store.

    Args:
        restored: path of the restored image.
        name: of the map.
    """
    return f"{restored.removesuffix('restored')}map-{name}"


def names_of(store: Store, restored: str) -> tuple[str, ...]:
    """The maps beside a restored image that is finished."""
    return tuple(store.attrs(restored).get("maps", ()))


def write_maps(store: Store, restored: str, beside: Beside, number: int, digest: str) -> dict[str, Any]:
    """Write the maps of a scan; what is to be kept with its restored image, which is finished after them.

    Args:
        store: of the cohort.
        restored: path of the restored image.
        beside: what the restoration told.
        number: of the scan among those that were restored together.
        digest: of the restored image.
    """
    create(store, restored, tuple(beside.maps), digest)
    for name, images in beside.maps.items():
        path = path_of_map(restored, name)
        for box in store.blocks(path):
            store.write_block(path, box, images[number][box.slices])
    attributes = finish(store, restored, tuple(beside.maps), digest)
    pictures = {name: _rounded(arrays[number]) for name, arrays in beside.pictures.items()}
    figures = {"figures": dict(beside.figures[number])} if beside.figures else {}
    return attributes | figures | ({"pictures": pictures} if pictures else {})


def _rounded(picture: Array) -> list[list[float]]:
    """A small array as JSON, to six digits."""
    return [[float(f"{value:.6g}") for value in row] for row in picture.tolist()]


def create(store: Store, restored: str, names: Sequence[str], digest: str) -> None:
    """The templates of the maps beside a restored image, whose template is there."""
    for name in names:
        store.create(path_of_map(restored, name), store.grid(restored), {"of": digest})


def finish(store: Store, restored: str, names: Sequence[str], digest: str) -> dict[str, Any]:
    """Mark the maps beside a restored image as done; what is to be kept with that image."""
    for name in names:
        store.finish(path_of_map(restored, name), digest)
    return {"maps": list(names)} if names else {}


def whole(store: Store, restored: str, digest: str) -> bool:
    """Whether a restored image and its maps are there and whole."""
    if not store.done(restored, digest):
        return False
    return all(store.done(path_of_map(restored, name), digest) for name in names_of(store, restored))
