"""``isovox pairs`` as it is used: a table, BIDS pairs, settings that are told, and persons that cannot be paired."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cli.main import main
from core.geometry.grid import Grid, Orientation
from core.io import nifti
from core.io.arrays.slabs import StoredAs
from tasks.pairs.page import _grey
from tests.core.evaluation.test_pairing import anatomy, planted

RAS = StoredAs(Orientation((0, 1, 2), (False, False, False)), 1)


def save(path: Path, image: np.ndarray, grid: Grid) -> None:
    """At twice the size: a head."""
    nifti.save(str(path), image, Grid(grid.shape, np.diag([2.0, 2.0, 2.0, 1.0]) @ grid.affine), RAS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The pairs of a person whose coarse scan lies two slices away, and of one who has no coarse scan."""
    folder = tmp_path_factory.mktemp("pairs")
    image = anatomy()
    coarse, grid, at = planted(image, 2.0, 0.0)
    data, out = folder / "data", folder / "out"
    save(data / "sub-01/anat/sub-01_acq-fine_T1w.nii.gz", image, Grid(image.shape, np.eye(4)))
    save(data / "sub-01/anat/sub-01_acq-coarse_T1w.nii.gz", coarse, grid)
    save(data / "sub-02/anat/sub-02_acq-fine_T1w.nii.gz", image, Grid(image.shape, np.eye(4)))
    words = [
        "pairs",
        str(data),
        str(out),
        "--fine",
        "*_acq-fine_*",
        "--coarse",
        "*_acq-coarse_*",
        "--axis",
        "A",
        "--window",
        "12",
    ]
    assert main(words) == 3
    return out, at


def test_the_table_names_the_slices_and_the_settings_are_told(made: tuple[Path, np.ndarray]) -> None:
    out, at = made
    with (out / "pairs.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) >= 20
    for row in rows:
        assert row["group"] == "sub-01"
        assert abs(int(row["fine_slice"]) - at[int(row["coarse_slice"])]) <= 1
    about = json.loads((out / "pairs.json").read_text())
    assert about["Settings"] == {"axis": "A", "dimension": 0.95, "window": 12.0, "margin": 0.05, "ties": "ranks"}
    assert set(about["Columns"]) == set(rows[0])


def test_the_stacks_lie_slice_upon_slice(made: tuple[Path, np.ndarray]) -> None:
    out, _ = made
    about = json.loads((out / "sub-01/anat/sub-01_acq-coarse_desc-pairs_T1w.json").read_text())
    fine, coarse = (
        nifti.load(str(out / f"sub-01/anat/sub-01_acq-{name}_desc-pairs_T1w.nii.gz"))[0] for name in ("fine", "coarse")
    )
    assert fine.shape == (48, len(about["SlicesOfSource"]), 44)
    assert coarse.shape == (24, fine.shape[1], 22)
    assert about["SliceAxis"] == "A"
    reduced = fine.reshape(24, 2, -1, 22, 2).mean((1, 4))
    assert np.corrcoef(reduced.ravel(), coarse.ravel())[0, 1] > 0.97


def test_slices_lie_in_radiological_convention_at_the_same_mm_per_pixel(made: tuple[Path, np.ndarray]) -> None:
    """Of a coronal slice the patient's right is on the left; fine ones of half the edge take as much room as coarse ones."""
    text = (made[0] / "sub-01_pairs.html").read_text()
    assert "Coronal slices, counted from 0, the most posterior one." in text
    assert "Principal components: as many as hold 95 % of the variance; window" in text
    assert "the patient's right (R) is on the left" in text.replace("&#39;", "'")
    assert re.findall(r'class="side (\w+)"[^>]*>(\w)<', text)[:4] == [("left", "R"), ("right", "L"), ("up", "S"), ("down", "I")]
    columns = re.findall(r"minmax\(0, ([\d.]+)fr\) minmax\(0, ([\d.]+)fr\)", text)[-1]
    assert [float(each) for each in columns] == [96, 96]  # mm
    plane = np.zeros((3, 2), np.float32)
    plane[0, 1] = 1  # left of the patient, superior
    np.testing.assert_array_equal(_grey(plane), [[0, 0, 255], [0, 0, 0]])


NAMES = ["--fine", "*_acq-fine_*", "--coarse", "*_acq-coarse_*", "--axis", "A"]


def test_dropped_ties_are_no_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The coarse scan shows another anatomy, so that many votes are tied."""
    image, data = anatomy(), tmp_path / "data"
    other, grid, _ = planted(anatomy(seed=9), 0.0, 0.0)
    save(data / "sub-01/anat/sub-01_acq-fine_T1w.nii.gz", image, Grid(image.shape, np.eye(4)))
    save(data / "sub-01/anat/sub-01_acq-coarse_T1w.nii.gz", other, grid)
    counts = {}
    for ties in ("ranks", "drop"):
        assert main(["pairs", str(data), str(tmp_path / ties), *NAMES, "--window", "12", "--ties", ties]) == 0
        counts[ties] = re.search(r"(\d+) pairs, (\d+) of them tied(?:, (\d+) slices dropped as tied)?; ", capsys.readouterr().out)
    ranks, drop = ([int(each or 0) for each in match.groups()] for match in counts.values())
    assert ranks[1] > 0
    assert drop == [ranks[0] - ranks[1], 0, ranks[1]]
    slices = json.loads((tmp_path / "drop/sub-01/anat/sub-01_acq-fine_desc-pairs_T1w.json").read_text())["SlicesOfSource"]
    assert len(slices) == drop[0]


def test_a_stack_whose_slices_descend_says_so(tmp_path: Path) -> None:
    """The coarse scan lies in the file the other way round than its header says."""
    image, data = anatomy(), tmp_path / "data"
    coarse, grid, _ = planted(image, 0.0, 0.0)
    save(data / "sub-01/anat/sub-01_acq-fine_T1w.nii.gz", image, Grid(image.shape, np.eye(4)))
    save(data / "sub-01/anat/sub-01_acq-coarse_T1w.nii.gz", coarse[:, ::-1].copy(), grid)
    assert main(["pairs", str(data), str(tmp_path / "out"), *NAMES, "--window", "400"]) == 0
    stem = tmp_path / "out/sub-01/anat/sub-01_acq-fine_desc-pairs_T1w"
    slices = json.loads(Path(f"{stem}.json").read_text())["SlicesOfSource"]
    assert slices[0] > slices[-1]
    stack = nibabel.load(f"{stem}.nii.gz")
    along = (stack.affine @ np.array([[0, n, 0, 1] for n in range(len(slices))]).T)[1]
    np.testing.assert_allclose(along / 2, slices, atol=2.5)  # voxels of 2 mm
    np.testing.assert_allclose(np.asanyarray(stack.dataobj), image[:, slices] / np.percentile(image, 99.9), rtol=1e-5)


def test_one_scan_is_not_paired_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = anatomy()
    save(tmp_path / "data/sub-01/anat/sub-01_T1w.nii.gz", image, Grid(image.shape, np.eye(4)))
    assert main(["pairs", str(tmp_path / "data"), str(tmp_path / "out"), "--fine", "*_T1w", "--coarse", "sub-01*"]) == 3
    said = capsys.readouterr().out
    assert re.search(r"two scans of sub-01, named \*_T1w and sub-01\*.* sub-01_T1w for both.*arrow the names", said), said
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_who_cannot_be_paired_is_told(made: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made[0].parent / "data"
    assert main(["pairs", str(data), str(tmp_path / "a"), "--fine", "*_acq-fine_*", "--coarse", "sub-02*", "--axis", "A"]) == 3
    assert "sub-01: " in (said := capsys.readouterr().out)
    assert "wanted one scan of sub-01 named sub-02*" in said or "expected one scan of sub-01 named sub-02*" in said
    assert main(["pairs", str(data), str(tmp_path / "b"), "--fine", "*_T2w", "--coarse", "*_T2w"]) == 2
    assert "*_T2w" in capsys.readouterr().err
