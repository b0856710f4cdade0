"""Bad input is refused with its named reason, and before memory is taken."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.errors import InputError
from core.io import nifti
from core.io import validation as gate


def refused(path: Path, code: str, match: str = "", trust=None) -> None:
    """Loading a file is refused with ``code``, in a sentence that says what was wanted, what came and what to do."""
    with pytest.raises(InputError, match=rf"^{code}: expected .*, but got .*{match}.*\. .+") as caught:
        nifti.load(str(path), trust)
    assert caught.value.code == code


def turned(degrees: float, affine: np.ndarray) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return rotation @ affine


AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])

HEADERS = {
    "rgb": ("voxels-rgb", {"datatype": 128, "bitpix": 24}),
    "rgba": ("voxels-rgb", {"datatype": 2304, "bitpix": 32}),
    "complex": ("voxels-complex", {"datatype": 32, "bitpix": 64}),
    "binary": ("dtype-unknown", {"datatype": 1}),
    "unknown type": ("dtype-unknown", {"datatype": 999}),
    "infinite slope": ("scaling-nonfinite", {"scl_slope": np.inf}),
    "infinite intercept": ("scaling-nonfinite", {"scl_inter": -np.inf}),
    "no dimensions": ("shape-invalid", {"dim": [0, 20, 24, 16, 1, 1, 1, 1]}),
    "nine dimensions": ("shape-invalid", {"dim": [9, 20, 24, 16, 1, 1, 1, 1]}),
    "negative size": ("shape-invalid", {"dim": [3, 20, -24, 16, 1, 1, 1, 1]}),
    "two axes": ("not-3d", {"dim": [2, 20, 24, 1, 1, 1, 1, 1]}),
    "nan sform": ("affine-nonfinite", {"srow_x": [np.nan, 0, 0, 0]}),
    "infinite sform": ("affine-nonfinite", {"srow_y": [0, np.inf, 0, 0]}),
    "nan offset of the qform": ("affine-nonfinite", {"qoffset_x": np.nan}),
    "zero row": ("affine-singular", {"srow_z": [0, 0, 0, 0]}),
    "parallel axes": ("affine-singular", {"srow_x": [4, 4, 0, 0], "srow_y": [4, 4, 0, 0]}),
    "quaternion too long": ("affine-singular", {"quatern_b": 0.9, "quatern_c": 0.9}),
    "pixdim zero": ("affine-singular", {"pixdim": [1, 0, 4, 5, 1, 1, 1, 1]}),
    "no codes": ("orientation-unknown", {"sform_code": 0, "qform_code": 0}),
    "forms apart": ("transforms-disagree", {"qoffset_x": 43.0}),
    "metres": ("units-not-mm", {"xyzt_units": 1}),
    "voxels before the end of the header": ("offset-invalid", {"vox_offset": 0}),
    "nan offset": ("offset-invalid", {"vox_offset": np.nan}),
}


@pytest.mark.parametrize("name", list(HEADERS))
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_each_bad_header_has_its_reason(tmp_path, make_scan, name, extension):
    code, fields = HEADERS[name]
    refused(make_scan(tmp_path / f"scan{extension}", **fields), code)


def test_a_series_is_refused_and_a_trailing_axis_of_one_is_not(tmp_path, make_scan):
    voxels = np.arange(20 * 24 * 16 * 3, dtype=np.int16).reshape(20, 24, 16, 3)
    refused(make_scan(tmp_path / "series.nii.gz", voxels), "not-3d", "20x24x16x3")
    image, grid, _ = nifti.load(str(make_scan(tmp_path / "one.nii.gz", voxels[..., :1])))
    assert image.shape == grid.shape == (20, 24, 16)


@pytest.mark.parametrize(("degrees", "shift", "refusal"), [(0, 0.9, None), (0.9, 0, None), (0, 1.1, "mm"), (1.1, 0, "degrees")])
def test_forms_may_differ_by_a_millimetre_and_a_degree(tmp_path, make_scan, degrees, shift, refusal):
    voxels = np.random.default_rng(0).integers(0, 9, (14, 14, 11)).astype(np.int16)
    centred = AFFINE.copy()
    centred[:3, 3] = -(AFFINE[:3, :3] @ [6.5, 6.5, 5])
    sform = turned(degrees, centred)
    sform[0, 3] += shift
    header = nibabel.Nifti1Header()
    header.set_qform(centred, 1)
    said = {name: header[name] for name in header if name.startswith(("quatern", "qoffset", "pixdim"))}
    path = make_scan(tmp_path / "a.nii", voxels, sform, **said)
    if refusal is None:
        nifti.load(str(path))
    else:
        refused(path, "transforms-disagree", refusal)


def test_the_trusted_form_is_used_where_they_disagree(tmp_path, make_scan):
    path = make_scan(tmp_path / "a.nii.gz", qoffset_x=60.0)
    refused(path, "transforms-disagree")
    by_sform, by_qform = (nifti.load(str(path), trust)[1].affine for trust in ("sform", "qform"))
    np.testing.assert_allclose(by_qform[:3, 3] - by_sform[:3, 3], [20, 0, 0], atol=1e-5)


def test_the_only_form_is_used_whichever_is_trusted(tmp_path, make_scan):
    path = make_scan(tmp_path / "a.nii.gz", qform_code=0, qoffset_x=999.0)
    assert nifti.load(str(path), "qform")[1] == nifti.load(str(path))[1]


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_a_field_of_view_must_show_a_brain(tmp_path, make_scan, size):
    refused(make_scan(tmp_path / "a.nii.gz", affine=np.diag([size, size, size, 1.0])), "field-of-view", "mm")


@pytest.mark.parametrize("turned", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize(
    ("shape", "size", "seen"),
    [
        ((200, 200, 5), (1.0, 1.0, 4.0), True),
        ((200, 200, 8), (1.0, 1.0, 5.0), True),
        ((200, 200, 20), (1.0, 1.0, 1.0), True),
        ((200, 200, 3), (1.0, 1.0, 10.0), False),  # a localizer
        ((200, 200, 12), (1.0, 1.0, 1.0), False),
        ((200, 180, 60), (0.1, 0.1, 0.3), False),  # cm for mm
        ((200, 30, 30), (1.0, 1.0, 1.0), False),
        ((512, 512, 20), (1.0, 1.0, 4.0), False),
    ],
)
def test_a_slab_of_thick_slices_shows_enough_of_a_brain(shape, size, seen, turned):
    shape, size = tuple(shape[n] for n in turned), [size[n] for n in turned]
    if seen:
        gate.check_field(shape, np.diag([*size, 1.0]))
    else:
        with pytest.raises(InputError, match=r"field-of-view: .* in 5 slices or more.* got .* voxels\. Correct the voxel sizes"):
            gate.check_field(shape, np.diag([*size, 1.0]))


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_empty_missing_and_foreign_files(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    refused(path, "file-missing")
    path.write_bytes(b"")
    refused(path, "file-empty")
    path.write_bytes(gzip.compress(b"x" * 1000) if extension == ".nii.gz" else b"x" * 1000)
    refused(path, "not-nifti")


def test_bytes_that_are_not_gzip_in_a_gz_file(tmp_path, make_scan):
    path = make_scan(tmp_path / "a.nii")
    refused(path.rename(tmp_path / "a.nii.gz"), "not-gzip")


@pytest.mark.parametrize("keep", [5, 100, 0.3, 0.999])
def test_truncated_gzip_files(tmp_path, make_scan, keep):
    path = make_scan(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 999, (20, 24, 16)).astype(np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    refused(path, "file-truncated")


def test_truncated_plain_files_and_voxels_that_are_missing_inside_gzip(tmp_path, make_scan):
    content = make_scan(tmp_path / "a.nii").read_bytes()[:-100]
    (tmp_path / "b.nii").write_bytes(content)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content))
    refused(tmp_path / "b.nii", "file-truncated")
    refused(tmp_path / "b.nii.gz", "file-truncated")


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path, make_scan):
    path = make_scan(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 999, (20, 24, 16)).astype(np.int16))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    refused(path, "gzip-damaged")


@pytest.mark.parametrize("seed", range(40))
def test_damage_anywhere_in_a_gzip_file_is_refused_by_name(tmp_path, make_scan, seed):
    random = np.random.default_rng(seed)
    path = make_scan(tmp_path / "a.nii.gz", random.integers(0, 999, (20, 24, 16)).astype(np.int16))
    content = bytearray(path.read_bytes())
    for place in random.integers(10, len(content) - 8, 3):
        content[place] ^= 1 << int(random.integers(8))
    path.write_bytes(content)
    with pytest.raises(InputError, match="got"):
        nifti.load(str(path))


def test_a_folder_with_the_name_of_a_scan(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    refused(tmp_path / "a.nii.gz", "file-missing")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_a_small_file_that_claims_a_huge_image_is_refused_without_memory(tmp_path, make_scan, extension):
    voxels = np.random.default_rng(0).integers(0, 99, 1000).astype(np.int16).reshape(10, 10, 10)
    path = make_scan(tmp_path / f"a{extension}", voxels, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    refused(path, "header-lies", "30000x30000x30000")
    assert peak_memory(lambda: refused(path, "header-lies")) < 5e6


def peak_memory(work) -> int:
    """Bytes that ``work`` holds at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_says(tmp_path, make_scan):
    path = make_scan(tmp_path / "bomb.nii.gz", extra=bytes(1 << 28))
    nifti.load(str(path))
    assert peak_memory(lambda: nifti.load(str(path))) < 5e6


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_loading_takes_little_more_memory_than_the_image(tmp_path, make_scan, dtype):
    voxels = np.random.default_rng(0).integers(0, 99, (100, 120, 90)).astype(dtype)
    path = make_scan(tmp_path / "a.nii.gz", voxels, np.diag([-2.0, 2, 2, 1]))
    assert peak_memory(lambda: nifti.load(str(path))) < 4 * voxels.size + 6e6


@pytest.mark.parametrize(
    ("code", "value"),
    [("voxels-nonfinite", np.nan), ("voxels-nonfinite", np.inf), ("voxels-nonfinite", -np.inf)],
)
def test_one_voxel_that_is_no_number(tmp_path, make_scan, code, value):
    voxels = np.random.default_rng(0).random((20, 24, 16)).astype(np.float32)
    voxels[3, 4, 5] = value
    refused(make_scan(tmp_path / "a.nii.gz", voxels), code, "1 voxels")


def test_images_without_information(tmp_path, make_scan):
    refused(make_scan(tmp_path / "a.nii.gz", np.zeros((20, 24, 16), np.uint8)), "voxels-zero")
    refused(make_scan(tmp_path / "b.nii.gz", np.full((20, 24, 16), 7, np.uint8)), "voxels-constant", "7")
    refused(make_scan(tmp_path / "c.nii.gz", scl_slope=1e38), "voxels-nonfinite")


def test_angles_and_distances_between_affines():
    assert gate.turn(turned(7, AFFINE), AFFINE) == pytest.approx(7)
    moved = AFFINE.copy()
    moved[:3, 3] += [3, 4, 0]
    assert gate.shift(moved, AFFINE, (5, 5, 5)) == pytest.approx(5)
