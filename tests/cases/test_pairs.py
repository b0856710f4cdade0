"""Images in two files, a header and its voxels: each header gets the voxels of its own name, whichever of the two is named."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.errors import InputError
from core.io import readers
from core.io.inventory.entries import Entry
from tests.cases.makers import affine_of, head
from tests.cases.test_inputs import codes, keys, planned


def pair(folder: Path, header: str, voxels: str, seed: int = 0) -> np.ndarray:
    """Write a pair under these names; its voxels."""
    made, image = folder / "made", head(seed=seed).astype(np.int16)
    made.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Pair(image, affine_of()), made / "x.hdr")
    shutil.move(made / "x.hdr", folder / header)
    content = (made / "x.img").read_bytes()
    (folder / voxels).write_bytes(gzip.compress(content) if voxels.lower().endswith(".gz") else content)
    shutil.rmtree(made)
    return image


@pytest.mark.parametrize(
    "names",
    [
        (("A.hdr", "A.img"), ("a.hdr", "a.img")),
        (("A.hdr", "A.IMG"), ("a.hdr", "a.img.gz")),
        (("a.HDR", "a.IMG"), ("a.hdr", "a.img")),
        (("A.hdr", "a.img"), ("b.HDR", "B.img")),
    ],
)
def test_pairs_whose_names_differ_by_case_keep_their_own_voxels(tmp_path, names):
    images = {header: pair(tmp_path, header, voxels, seed) for seed, (header, voxels) in enumerate(names)}
    entries = readers.read([Entry(path.name, str(path)) for path in sorted(tmp_path.iterdir())])
    assert not entries.troubles
    assert {image.path: tuple(image.files) for image in entries.images} == {header: (header, half) for header, half in names}
    for image in entries.images:
        np.testing.assert_array_equal(readers.load(image.kind, image.uris)[0], images[image.path])


def test_voxels_that_two_headers_could_have_are_nobodys(tmp_path):
    pair(tmp_path / "in", "AB.hdr", "ab.img")
    shutil.copy(tmp_path / "in" / "AB.hdr", tmp_path / "in" / "aB.hdr")
    pair(tmp_path / "in", "c.hdr", "c.img")
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"c"}
    assert set(codes(plan).values()) == {"pair-incomplete"}
    assert plan.files.refused == 3


@pytest.mark.parametrize(("header", "voxels"), [("s0.hdr", "s0.img"), ("s0.HDR", "s0.IMG"), ("s0.hdr", "s0.img.gz")])
def test_either_file_of_a_pair_names_it_and_nothing_else(tmp_path, header, voxels):
    pair(tmp_path / "in", header, voxels)
    pair(tmp_path / "in", "S0.hdr", "S0.img", 1)
    pair(tmp_path / "in", "s0.more.hdr", "s0.more.img", 2)
    for name in (header, voxels):
        plan = planned(tmp_path / "in" / name)
        assert [(scan.key, [Path(uri).name for uri in scan.uris]) for scan in plan.scans] == [("s0", [header, voxels])]
        assert (plan.files.seen, codes(plan)) == (2, {})


def test_voxels_without_their_header_are_refused_as_such(tmp_path):
    pair(tmp_path / "in", "s0.hdr", "s0.img")
    (tmp_path / "in" / "s0.hdr").unlink()
    assert set(codes(planned(tmp_path / "in" / "s0.img")).values()) == {"pair-incomplete"}


def test_an_analyze_pair_is_refused_as_one(tmp_path):
    nibabel.AnalyzeImage(head().astype(np.int16), affine_of()).to_filename(str(tmp_path / "x.img"))
    with pytest.raises(InputError, match=r"not-nifti: .* but got one of Analyze, in which left and right are a guess\. "):
        readers.header("nifti", (str(tmp_path / "x.hdr"), str(tmp_path / "x.img")))
