"""Voxels and their places survive reading and writing; files tell nothing but the image."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import GridError, InputError, StoreError
from core.geometry.grid import Grid
from core.io import files, nifti
from core.io.nifti import StoredAs

ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]  # both handednesses


def oblique(order, signs, angle=0.2) -> np.ndarray:
    """An affine with these axes, turned a little about all three."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, order] * signs * [4.0, 3.5, 6.0]
    for axis in range(3):
        a, b = [one for one in range(3) if one != axis]
        rotation = np.eye(4)
        rotation[a, a] = rotation[b, b] = np.cos(angle)
        rotation[a, b], rotation[b, a] = -np.sin(angle), np.sin(angle)
        affine = rotation @ affine
    affine[:3, 3] = [-20.3, 31.7, 5.1]
    return affine


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("angle", [0.0, 0.2])
def test_a_marker_keeps_its_place_in_the_world_through_load_save_load(tmp_path, make_scan, order, signs, angle):
    affine = oblique(order, signs, angle)
    voxels = np.random.default_rng(0).integers(0, 9, (20, 24, 16)).astype(np.int16)
    voxels[3, 17, 5] = 1000
    image, grid, stored = nifti.load(str(make_scan(tmp_path / "in.nii", voxels, affine)))
    where = grid.world(np.argwhere(image == 1000))
    np.testing.assert_allclose(where, [(affine @ [3, 17, 5, 1])[:3]], atol=1e-3)
    assert grid.codes == ("R", "A", "S")
    nifti.save(str(tmp_path / "out.nii.gz"), image, grid, stored)
    back = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj), voxels)
    np.testing.assert_allclose(back.affine, affine, atol=1e-5)
    np.testing.assert_allclose(back.get_qform(), affine, atol=1e-3)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("thickness", [1, 7, 99])
def test_slabs_are_those_of_the_whole_image(tmp_path, make_scan, order, signs, thickness):
    path = str(make_scan(tmp_path / "in.nii.gz", affine=oblique(order, signs), scl_slope=0.7))
    image, grid, stored = nifti.load(path)
    seen = []
    for slab in nifti.slabs(path, thickness):
        assert (slab.grid, slab.stored) == (grid, stored)
        assert slab.image.dtype == np.float32
        assert slab.box.shape == (*grid.shape[:2], min(thickness, grid.shape[2] - slab.box.start[2]))
        assert slab.box.start[2] % thickness == 0
        np.testing.assert_array_equal(slab.image, image[slab.box.slices])
        seen.append(slab.box.start[2])
    assert sorted(seen) == list(range(0, grid.shape[2], thickness))


def test_slabs_need_no_whole_image(tmp_path, make_scan):
    voxels = np.random.default_rng(0).integers(0, 99, (100, 120, 400)).astype(np.int16)
    path = str(make_scan(tmp_path / "a.nii.gz", voxels, np.diag([-2.0, 2, 1, 1])))
    tracemalloc.start()
    for slab in nifti.slabs(path, 16):
        assert slab.image.size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 100 * 120 * 16 + 6e6 < 2 * voxels.size


@pytest.mark.parametrize(("place", "given"), [((3, 4, 2), 0), ((3, 4, 13), 1)])
def test_no_slab_comes_after_a_voxel_that_is_no_number(tmp_path, make_scan, place, given):
    voxels = np.random.default_rng(0).random((20, 24, 16)).astype(np.float32)
    voxels[place] = voxels[0, 0, 15] = np.nan
    slabs = nifti.slabs(str(make_scan(tmp_path / "a.nii.gz", voxels)), 8)
    for _ in range(given):
        assert np.isfinite(next(slabs).image).all()
    with pytest.raises(InputError, match=r"voxels-nonfinite: .* 2 voxels"):
        next(slabs)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Header, nibabel.Nifti2Header])
def test_every_real_type_is_read_in_either_byte_order(tmp_path, dtype, order, kind):
    voxels = np.random.default_rng(0).integers(0, 100, (20, 24, 16)).astype(np.dtype(dtype).newbyteorder(order))
    header = kind(endianness=order)
    header.set_data_dtype(voxels.dtype)
    image_class = nibabel.Nifti1Image if kind is nibabel.Nifti1Header else nibabel.Nifti2Image
    made = image_class(voxels, np.diag([4.0, 4, 5, 1]), header)
    made.to_filename(tmp_path / "a.nii")
    image, _, _ = nifti.load(str(tmp_path / "a.nii"))
    np.testing.assert_array_equal(image, voxels.astype(np.float32))
    assert image.dtype == np.float32


@pytest.mark.parametrize(("slope", "inter"), [(2.5, 0), (1, -1024), (-0.5, 7.25), (1e-3, 1e4), (0, 99)])
def test_scaling_is_that_of_nibabel(tmp_path, make_scan, slope, inter):
    voxels = np.random.default_rng(0).integers(-3000, 3000, (20, 24, 16)).astype(np.int16)
    path = make_scan(tmp_path / "a.nii.gz", voxels, scl_slope=slope, scl_inter=inter)
    wanted = nibabel.as_closest_canonical(nibabel.load(path))
    np.testing.assert_array_equal(nifti.load(str(path))[0], np.asarray(wanted.dataobj, np.float32))


def test_five_rounds_of_reading_and_writing_change_nothing(tmp_path, make_scan):
    path = make_scan(tmp_path / "0.nii.gz", affine=oblique((2, 0, 1), (1, -1, 1)), scl_slope=0.37, scl_inter=-12.5)
    first, grid, stored = nifti.load(str(path))
    names = [str(tmp_path / f"{round_}.nii.gz") for round_ in range(1, 6)]
    image = first
    for name in names:
        nifti.save(name, image, grid, stored)
        image, grid, stored = nifti.load(name)
    np.testing.assert_array_equal(image, first)
    assert len({files.sha256(name) for name in names}) == 1


@given(
    shape=st.tuples(*[st.integers(13, 20)] * 3),
    seed=st.integers(0, 99),
    gz=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_float32_image_comes_back_bit_for_bit(tmp_path_factory, shape, seed, gz):
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32) * np.float32(10.0 ** (seed % 9 - 4))
    path = str(tmp_path_factory.mktemp("a") / ("a.nii.gz" if gz else "a.nii"))
    grid = Grid(shape, np.diag([4.0, 4, 4, 1]))
    assert nifti.save(path, image, grid) == files.sha256(path)
    back, again, _ = nifti.load(path)
    assert back.tobytes() == image.tobytes()
    assert again == grid


def test_any_memory_layout_gives_the_same_bytes_under_any_name(tmp_path):
    image = np.random.default_rng(0).random((30, 31, 32)).astype(np.float32)
    grid = Grid(image.shape, np.diag([2.0, 2, 2, 1]))
    layouts = {"c": image, "f": np.asfortranarray(image), "strided": np.repeat(image, 2, axis=1)[:, ::2]}
    digests = {nifti.save(str(tmp_path / name / f"{name}.nii.gz"), one, grid) for name, one in layouts.items()}
    assert len(digests) == 1
    raw = (tmp_path / "c" / "c.nii.gz").read_bytes()
    assert raw[3] == 0  # no file name, no comment
    assert raw[4:8] == bytes(4)  # no time


def test_a_written_header_says_all_that_a_reader_needs_and_no_more(tmp_path, make_scan):
    name = b"DOE^JANE"
    path = make_scan(
        tmp_path / "in.nii.gz",
        extra=name,
        descrip=name,
        aux_file=name,
        db_name=name,
        intent_name=name,
        sform_code=4,
        qform_code=4,
    )
    image, grid, stored = nifti.load(str(path))
    nifti.save(str(tmp_path / "out.nii.gz"), image, grid, stored)
    plain = gzip.decompress((tmp_path / "out.nii.gz").read_bytes())
    header = nibabel.load(tmp_path / "out.nii.gz").header
    assert name not in plain
    assert len(plain) == 352 + 4 * image.size
    assert (header["sform_code"], header["qform_code"]) == (4, 4)
    assert header.get_xyzt_units()[0] == "mm"
    raw = nibabel.Nifti1Header(plain[:348], check=False).structarr
    assert (raw["scl_slope"], raw["scl_inter"], raw["bitpix"]) == (1, 0, 32)
    np.testing.assert_allclose(header.get_zooms(), [4, 4, 5])


def test_extensions_are_left_out(tmp_path):
    made = nibabel.Nifti1Image(np.arange(8000, dtype=np.float32).reshape(20, 20, 20), np.diag([4.0, 4, 4, 1]))
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    made.to_filename(tmp_path / "in.nii")
    image, grid, stored = nifti.load(str(tmp_path / "in.nii"))
    nifti.save(str(tmp_path / "out.nii"), image, grid, stored)
    assert b"DOE" in (tmp_path / "in.nii").read_bytes()
    assert b"DOE" not in (tmp_path / "out.nii").read_bytes()


def test_a_sheared_grid_is_written_without_a_qform_that_would_lie(tmp_path):
    affine = np.array([[3.0, 0.8, 0, 0], [0, 3.0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    image = np.random.default_rng(0).random((30, 30, 30)).astype(np.float32)
    nifti.save(str(tmp_path / "a.nii.gz"), image, Grid(image.shape, affine))
    np.testing.assert_allclose(nifti.load(str(tmp_path / "a.nii.gz"))[1].affine, affine, atol=1e-6)
    assert nibabel.load(tmp_path / "a.nii.gz").header["qform_code"] == 0


def test_a_header_is_read_alone_and_gives_the_same_grid(tmp_path, make_scan):
    path = str(make_scan(tmp_path / "a.nii.gz", affine=oblique((1, 2, 0), (1, 1, -1))))
    assert nifti.header(path).grid == nifti.load(path)[1]


def test_images_that_do_not_fit_their_grid_are_not_written(tmp_path):
    grid = Grid((20, 20, 20), np.diag([4.0, 4, 4, 1]))
    for image in (np.zeros((20, 20, 21), np.float32), np.zeros((20, 20, 20))):
        with pytest.raises(GridError, match="image-shape: expected float32"):
            nifti.save(str(tmp_path / "a.nii.gz"), image, grid)
    assert not list(tmp_path.iterdir())


def test_bytes_that_change_on_their_way_to_the_disk_are_noticed_and_not_left_there(tmp_path, monkeypatch):
    write = files.write_atomic

    def damage(uri, content):
        write(uri, content)
        raw = bytearray(Path(uri).read_bytes())
        raw[len(raw) // 2] ^= 1
        Path(uri).write_bytes(raw)

    monkeypatch.setattr(files, "write_atomic", damage)
    image = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)
    with pytest.raises(StoreError, match="write-damaged: expected bytes with checksum"):
        nifti.save(str(tmp_path / "a.nii.gz"), image, Grid(image.shape, np.diag([4.0, 4, 4, 1])))
    assert not list(tmp_path.iterdir())


def test_a_packer_that_errs_is_noticed(tmp_path):
    proof = nifti._Proof(True)
    proof.put_in = 1  # as if a bit of what was packed had flipped
    with pytest.raises(StoreError, match="write-damaged: expected checksum"), (tmp_path / "a").open("wb") as handle:
        proof.write(handle, iter([b"voxels"]))


def test_the_storage_order_and_space_of_the_input_are_kept(tmp_path, make_scan):
    path = make_scan(tmp_path / "a.nii", affine=oblique((2, 0, 1), (-1, 1, -1), 0.0), sform_code=2, qform_code=2)
    image, grid, stored = nifti.load(str(path))
    assert isinstance(stored, StoredAs)
    nifti.save(str(tmp_path / "b.nii"), image, grid, stored)
    assert nibabel.aff2axcodes(nibabel.load(tmp_path / "b.nii").affine) == nibabel.aff2axcodes(nibabel.load(path).affine)
    assert nibabel.load(tmp_path / "b.nii").header["sform_code"] == 2


REAL = [
    "ds000011/sub-01/anat/sub-01_T1w.nii.gz",
    "ds000011/sub-01/anat/sub-01_inplaneT2.nii.gz",
    "ds002748/sub-01/anat/sub-01_T1w.nii.gz",
    "ds002748/sub-05/anat/sub-05_T1w.nii.gz",
    "openms/patient01_thick/T1W.nii.gz",
    "openms/patient01_thick/T2W.nii.gz",
    "openms/patient01_thick/FLAIR.nii.gz",
    "openms/patient07/FLAIR.nii.gz",
    "labels/T1w.nii.gz",
    "labels/aparc_aseg.nii.gz",
]


@pytest.mark.parametrize("name", REAL)
def test_real_scans_load_as_nibabel_loads_them(scans, name):
    image, grid, stored = nifti.load(str(scans / name))
    wanted = nibabel.as_closest_canonical(nibabel.load(scans / name))
    np.testing.assert_array_equal(image, np.asarray(wanted.dataobj, np.float32))
    np.testing.assert_allclose(grid.affine, wanted.affine, atol=1e-4)
    assert np.abs(nibabel.load(scans / name).affine - grid.reorient(stored.orientation.inverse()).affine).max() < 1e-4


def test_all_real_scans_pass_the_gate(scans):
    found = sorted(scans.rglob("*.nii.gz"))
    assert len(found) > 60
    for path in found:
        nifti.header(str(path))


def test_a_lesion_mask_is_a_scan_like_any_other(scans):
    image, _, _ = nifti.load(str(scans / "openms/patient07/lesion_mask.nii.gz"))
    assert set(np.unique(image)) == {0.0, 1.0}


def test_nothing_reads_voxels_as_float64_by_the_way():
    """nibabel's get_fdata takes 8 bytes a voxel and keeps them: only the tests may call it."""
    root = Path(__file__).resolve().parents[3]
    sources = [path for folder in ("core", "tasks", "flows", "infra") for path in (root / folder).rglob("*.py")]
    assert len(sources) > 10
    assert [path.name for path in sources if "get_fdata" in path.read_text()] == []
