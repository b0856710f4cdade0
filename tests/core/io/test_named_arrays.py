"""Named arrays come back with their very bytes, in a file that safetensors can read, or are refused as torn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from safetensors.numpy import load_file

from core.errors import StoreError
from core.io.arrays.named_arrays import NAMES, read_about, read_arrays, write_arrays

any_array = st.sampled_from(sorted(NAMES)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


def same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    alike = [(name, array.dtype, array.shape, array.tobytes()) for name, array in one.items()]
    return alike == [(name, array.dtype, array.shape, array.tobytes()) for name, array in other.items()]


@settings(deadline=None, max_examples=60)
@given(arrays=st.dictionaries(st.sampled_from(["images", "dual", "a b"]), any_array, max_size=3))
def test_they_come_back_with_their_bytes_and_the_library_reads_them(
    arrays: dict[str, NDArray[Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("arrays") / "state.safetensors")
    about = {"step": 3, "figures": {"loss": [[1, 0.1], [2, 1e-17]]}}
    write_arrays(path, arrays, about)
    found, told = read_arrays(path)
    assert same(found, arrays)
    assert told == read_about(path) == about
    assert {name: array.tobytes() for name, array in load_file(path).items()} == {k: a.tobytes() for k, a in arrays.items()}


def test_an_array_of_another_layout_comes_back_with_its_values(tmp_path: Path) -> None:
    turned = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    write_arrays(str(tmp_path / "a"), {"turned": turned}, None)
    (found,) = read_arrays(str(tmp_path / "a"))[0].values()
    np.testing.assert_array_equal(found, turned)
    assert found.flags.c_contiguous
    assert found.flags.writeable


@pytest.mark.parametrize("at", [2, 40, -3])
def test_damage_anywhere_is_found(tmp_path: Path, at: int) -> None:
    path = tmp_path / "state.safetensors"
    write_arrays(str(path), {"images": np.ones((4, 5), np.float32)}, {"step": 3})
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"arrays-torn: expected whole arrays in .*state.safetensors, but got .*\. Remove it"):
        read_arrays(str(path))


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_file_that_ends_early_is_found(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "state.safetensors"
    write_arrays(str(path), {"images": np.ones((4, 5), np.float32)}, {"step": 3})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreError, match="arrays-torn"):
        read_arrays(str(path))


def test_types_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"array-type: expected arrays of bool, .*, but got noise: complex64\. Convert them"):
        write_arrays(str(tmp_path / "a"), {"noise": np.ones(3, np.complex64)}, None)
    assert not list(tmp_path.iterdir())
