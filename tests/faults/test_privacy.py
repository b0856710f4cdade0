"""Names stay in: planted wherever an input has room for one, they are in nothing that comes out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.faults import planted
from tests.faults.cohorts import path_of, states
from tests.faults.conftest import OPTIONS, Runner


def came_out(isovox: Runner, *folders: Path, said: str = "") -> list[tuple[str, str]]:
    """Names in the folders, in the server's and the runs' logs and databases, and in what was said."""
    places = [one for folder in (*folders, isovox.logs) for one in planted.everything(folder)]
    assert any(place.endswith("flow_run") for place, _ in places)  # Prefect's database was read
    return planted.found(iter([*places, ("terminal", said.encode())]))


def test_the_search_finds_what_is_planted(tmp_path: Path) -> None:
    folder = planted.bids(tmp_path / "in")
    hits = {Path(place.partition(" ")[0]).name for place, _ in planted.found(planted.everything(folder))}
    assert {"sub-01_T1w.nii.gz", "sub-01_T1w.json", "participants.tsv", "dataset_description.json", "README"} <= hits
    assert len(planted.found(planted.everything(planted.dicom(tmp_path / "dicom")))) > 40


def test_no_name_in_a_bids_dataset_comes_out(isovox: Runner, tmp_path: Path, out: Path) -> None:
    folder = planted.bids(tmp_path / "in")
    said = isovox("plan", folder, out, *OPTIONS, code=3)
    said += isovox("run", folder, out, *OPTIONS, "--check-faces", code=3)
    said += isovox("status", out, code=3) + isovox("report", out, "--no-open")
    codes = {key: code for key, (_, code) in states(out).items()}
    assert codes["sub-02_T1w"] == "file-truncated"
    assert codes["sub-03_T1w"] == "sidecar-unreadable"
    assert codes["sub-04_T1w"] == "not-nifti"
    assert states(out)["sub-05_T1w"][0] in {"done", "flagged"}
    assert came_out(isovox, out, said=said) == []
    made = json.loads((out / "sub-01" / "anat" / "sub-01_desc-restored_T1w.json").read_text())
    assert made["Isovox"]["Acquired"] == {"SliceThickness": 6.0}
    assert list((out / "isovox").rglob("mlflow.db"))
    assert "face" in json.loads((out / "isovox" / "scans" / "sub-05_T1w.json").read_text())["quality"]


def test_no_name_in_dicom_comes_out(isovox: Runner, tmp_path: Path, out: Path) -> None:
    folder = planted.dicom(tmp_path / "in")
    said = isovox("run", folder, out, *OPTIONS, "--cluster", "local", "--workers", 1, code=3)
    outcome = states(out)
    assert outcome["whole"][0] in {"done", "flagged"}
    assert outcome["place"][1] == "dicom-no-geometry"
    assert {outcome[key][1] for key in ("slope", "pixels")} == {"dicom-unreadable"}
    assert came_out(isovox, out, said=said) == []


@pytest.mark.slow
def test_no_name_in_a_table_comes_out(isovox: Runner, tmp_path: Path, out: Path) -> None:
    folder = planted.bids(tmp_path / "in")
    table = tmp_path / "in" / "scans.tsv"
    good, name = path_of(folder, "05").relative_to(folder), planted.named("Row")
    lines = [
        "path\tparticipant_id\tname",
        f"{good}\t05\t{name}",
        f"{path_of(folder, '01').relative_to(folder)}\t{name}^Jane\t{name}",
    ]
    table.write_text("\n".join(lines) + "\n")
    said = isovox("run", table, out, *OPTIONS, code=3)
    assert sorted(code for _, code in states(out).values()) == ["", "entity-invalid"]
    table.write_text(f"{good}\t{name}\n")
    said += isovox("run", table, tmp_path / "none", *OPTIONS, code=2)
    assert "table-columns" in said
    assert came_out(isovox, out, said=said) == []


@pytest.mark.slow
def test_no_name_comes_out_of_a_simulation(isovox: Runner, tmp_path: Path) -> None:
    folder = planted.bids(tmp_path / "in")
    for label in ("02", "03", "04"):
        shutil.rmtree(folder / f"sub-{label}")
    said = isovox("simulate", folder, tmp_path / "made", "--factor", 2)
    assert sorted(path.name for path in (tmp_path / "made").rglob("*.nii.gz"))
    assert came_out(isovox, tmp_path / "made", said=said) == []
