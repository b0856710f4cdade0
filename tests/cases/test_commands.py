"""DICOM and S3 through the commands that take cohorts: each works as with files of this machine, or says by name why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from core.io import files
from core.io.inventory.folder import inventory
from tests.cases.makers import bids, series
from tests.cases.test_s3 import upload
from tests.flows.test_harmonize import site
from tests.phantoms import brain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FEW = ("--preset", "tiny", "--steps", "2", "--batch", "1", "--patch", "16", "--validate-every", "1", "--validation-pairs", "1")
SITES = ("--voxel-size", "4", "--field-of-view", "160", "160", "160", "--workers", "1")


def told(capsys, *words: object) -> tuple[int, str]:
    """Exit code and all words of a command; none ends by a traceback."""
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.fixture
def heads(tmp_path) -> Path:
    """Three persons' series, of one of which the last slices are empty."""
    root = tmp_path / "dicom"
    for number, name in enumerate(("p1", "p2", "p3", "p4")):
        series(root / name / "t1", shape=(32, 32, 32), seed=number)
    for number in (30, 31):
        (root / "p4" / "t1" / f"IM{number:04d}").write_bytes(b"")
    (root / "p1" / "notes.txt").write_text("x")
    return root


LEDGER = "files: 129 seen = 96 of scans + 32 refused + 1 left out"


def test_series_of_dicom_are_evaluated_and_trained_on_and_torn_ones_told(heads, tmp_path, capsys):
    code, said = told(capsys, "evaluate", "thick-slice", heads, "--methods", "cubic", "--out", tmp_path / "scores")
    assert code == 3
    assert LEDGER in said
    assert "p4_t1" in said
    assert said.count("dicom-members") == 1
    code, said = told(capsys, "train", "unet-3d", heads, "--out", tmp_path / "trained", *FEW)
    assert code == 3
    assert LEDGER in said
    assert "models:/unet-3d/" in said
    assert "failed p4_t1" in said
    assert "dicom-members" in said


def test_series_of_dicom_are_harmonised_by_a_table_and_refused_where_nothing_names_their_contrast(tmp_path, capsys):
    shape = (36, 36, 18)
    for number in range(1, 6):
        voxels = np.clip((1 + 4 * (number % 2)) * brain(shape, seed=number, noise=3)[0], 0, None).astype("<u2")

        def edit(plane, at, voxels=voxels):
            plane.PixelData = voxels[:, :, at].T.tobytes()

        series(tmp_path / "heads" / f"p{number}" / "s1", shape=shape, edit=edit)
    heads = tmp_path / "heads"
    (heads / "p5" / "s1" / "IM0017").write_bytes(b"")
    code, said = told(capsys, "harmonize", f"a={heads}", tmp_path / "out", *SITES)
    assert code == 2
    assert "label-missing: expected labels that scans have, but got T1w. Check --contrast" in said
    table = tmp_path / "sites.tsv"
    table.write_text("path\tsite\n" + "".join(f"{heads}/p{n}/s1\t{'ab'[n % 2]}\n" for n in range(1, 6)))
    code, said = told(capsys, "harmonize", table, tmp_path / "by-table", *SITES)
    assert code == 3, said
    assert "dicom-members" in said
    assert "a: files: 2 seen = 2 of scans + 0 refused + 0 left out" in said
    assert "b: files: 3 seen = 2 of scans + 1 refused + 0 left out" in said


def test_cohorts_on_s3_are_evaluated_and_trained_on_as_here(s3, tmp_path, capsys):
    root = bids(tmp_path / "in", "01", "02", "03", "A_1", shape=(40, 40, 40), voxel=(3.0, 3.0, 3.0))
    upload(root, f"{s3}/sharp")
    lines = {}
    for name, uri in (("here", str(root)), ("s3", f"{s3}/sharp")):
        out = tmp_path / f"scores-{name}"
        code, said = told(capsys, "evaluate", "thick-slice", uri, "--methods", "cubic", "--out", out)
        assert code == 3
        assert "name-not-bids" in said
        lines[name] = [line for line in said.splitlines() if line.startswith(("files:", "left out:"))]
        code, said = told(capsys, "train", "unet-3d", uri, "--out", tmp_path / f"trained-{name}", "--name", name, *FEW)
        assert code == 3
        assert "name-not-bids" in said
        lines[name] += [line for line in said.splitlines() if line.startswith(("files:", "left out:"))]
    assert lines["here"] == lines["s3"]
    assert lines["s3"][0] == "files: 5 seen = 3 of scans + 1 refused + 1 left out"
    scores = [(tmp_path / f"scores-{name}" / "summary.csv").read_text().split(",")[:12] for name in ("here", "s3")]
    assert scores[0] == scores[1]
    same = [files.sha256(str(tmp_path / f"trained-{name}" / "model" / "model.safetensors")) for name in ("here", "s3")]
    assert same[0] == same[1]
    for words in (("evaluate", "thick-slice", f"{s3}/sharp", "--methods", "cubic"), ("train", "unet-3d", f"{s3}/sharp")):
        for out, code_of in ((f"{s3}/sharp", "out-is-input"), (f"{s3}/sharp/x", "out-in-input"), (s3, "out-above-input")):
            code, said = told(capsys, *words, "--out", out)
            assert code == 2, said
            assert said.startswith(f"isovox: {code_of}: expected ")
    assert len(inventory(f"{s3}/sharp")) == 5


def test_sites_on_s3_are_harmonised_onto_s3(s3, tmp_path, capsys):
    for name, gain, seed in (("oslo", 1, 0), ("bonn", 9, 41)):
        upload(site(tmp_path / name, gain, 2, seed), f"{s3}/{name}")
    code, said = told(capsys, "harmonize", f"oslo={s3}/oslo", f"bonn={s3}/bonn", f"{s3}/harmonised", *SITES)
    assert code == 0, said
    assert "planned 4 = 4 done" in said
    assert "oslo: files: 3 seen = 2 of scans + 0 refused + 1 left out" in said
    assert sum("desc-harmonized" in path for path in inventory(f"{s3}/harmonised")) >= 4
    for out, code_of in ((f"{s3}/oslo", "out-is-input"), (f"{s3}/bonn/x", "out-in-input"), (s3, "out-above-input")):
        code, said = told(capsys, "harmonize", f"oslo={s3}/oslo", f"bonn={s3}/bonn", out, *SITES)
        assert code == 2, said
        assert said.startswith(f"isovox: {code_of}: expected ")
