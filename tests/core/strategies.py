"""What hypothesis may choose from, for several tests."""

from __future__ import annotations

from hypothesis import strategies as st

from core.geometry.tiles import Tiling, halo_patches, patches, slabs, volume

SHAPES = st.tuples(*[st.integers(1, 40)] * 3)


@st.composite
def tilings(draw) -> Tiling:
    """Tilings of every kind, of volumes from a single voxel on: thin axes, and patches larger than the volume."""
    shape = draw(SHAPES)
    kind = draw(st.sampled_from(["volume", "slabs", "hann", "gaussian", "halo"]))
    size = draw(st.integers(3, 20))
    if kind == "volume":
        return volume(shape)
    if kind == "slabs":
        return slabs(shape, draw(st.integers(0, 2)), size, draw(st.integers(0, 3)))
    if kind == "halo":
        return halo_patches(shape, size, draw(st.integers(0, (size - 1) // 2)))
    return patches(shape, size, draw(st.integers(0, size - 1)), kind)
