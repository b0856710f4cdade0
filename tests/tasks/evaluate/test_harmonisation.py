"""A trial of harmonisation on phantoms: the truth that is planted, the same bytes again, what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.errors import UsageError
from core.evaluation.rivals import NAMES
from core.geometry.grid import Grid
from core.harmonize.tables.table import Features
from core.settings.harmonisation import HarmonisationTrial
from tasks.evaluate import harmonisation_maps
from tasks.evaluate.harmonisation import Trial, find, load, run, sharp
from tasks.evaluate.harmonisation_maps import BY_COMBAT, IN_SPACE, MAPS, placed
from tasks.evaluate.harmonisation_table import COLUMNS, COMBAT, _figures, text, write
from tests.benchmarks import neuroharmonize_row
from tests.phantoms import brain

VOXEL = 4.0


def cohort(folder: Path, persons: int) -> HarmonisationTrial:
    for number in range(persons):
        path = folder / "data" / f"sub-{number:02d}" / "anat" / f"sub-{number:02d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        side = 30 + number % 5
        image = brain((side, 32, 34), noise=1.0, seed=number)[0]
        nibabel.save(nibabel.Nifti1Image(image, np.diag([VOXEL, VOXEL, VOXEL, 1])), path)
    return HarmonisationTrial(cohort=str(folder / "data"), out=str(folder / "out"), scanners=2, trial_voxel=VOXEL)


def test_a_brain_that_loses_volume_loses_just_that():
    image = brain((40, 40, 40), noise=0.0)[0]
    grid = Grid(image.shape, np.diag([2.0, 2.0, 2.0, 1.0]))
    whole, cubic = sharp(image, grid, 2.0, 1.0)
    less, small = sharp(image, grid, 2.0, 0.8)
    litres = [float(one.sum(dtype=np.float64)) for one in (whole, less)]
    assert litres[1] / litres[0] == pytest.approx(0.8, rel=0.01)
    middles = [one.world(np.array([[(n - 1) / 2 for n in one.shape]])) for one in (cubic, small)]
    assert middles[1] == pytest.approx(middles[0], abs=1e-9)


def test_too_few_persons_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"persons-few: expected 12 persons or more .* but got 3"):
        find(cohort(tmp_path, 3))


def test_scans_that_a_rival_refuses_are_counted_and_are_not_in_its_likeness():
    def row(scanner: int, psnr: float, *, refused: bool) -> list[object]:
        return [scanner, "x", {"psnr": psnr, "ssim": psnr / 100}, {}, refused]

    made = [{"rows": [row(0, 99.0, refused=True), row(1, 30.0, refused=False), row(2, 5.0, refused=True)]}]
    assert _figures(made, "x") == {"psnr": 30.0, "ssim": 0.3, "refused": "2 of 3"}
    assert _figures([{"rows": [row(1, 5.0, refused=True)]}], "x") == {"refused": "1 of 1"}


def test_another_scan_of_the_same_name_is_seen_anew(tmp_path):
    trial = find(cohort(tmp_path, 12))
    first = load(trial, 0)[0]
    Path(trial.sources[0].uris[0]).write_bytes(Path(trial.sources[5].uris[0]).read_bytes())  # of one size, another person's
    second = load(trial, 0)[0]
    assert second.shape == first.shape
    assert not np.array_equal(second, first)
    assert np.array_equal(load(trial, 0)[0], second)


def test_a_persons_images_that_are_not_whole_are_made_anew(tmp_path):
    trial = find(cohort(tmp_path, 12))
    first = load(trial, 0)[0]
    kept = Path(trial.images("seen", 0))
    content = kept.read_bytes()
    for torn in (b"", content[:4], content[: len(content) // 2]):
        kept.write_bytes(torn)
        assert np.array_equal(load(trial, 0)[0], first)
        assert kept.read_bytes() == content


@pytest.mark.slow
def test_every_rival_has_a_row_and_a_second_run_gives_the_same_bytes(tmp_path, monkeypatch, capsys):
    settings = cohort(tmp_path, 12)
    trial, made = whole(settings)
    rows = {row["rival"]: row for row in write(trial, made)}
    assert [name for name in rows if COMBAT not in name] == [*NAMES, *MAPS]
    assert all(text(row, column) for row in rows.values() for column in COLUMNS)
    ours = rows[NAMES[-1]]
    assert ours["psnr"] > rows["raw"]["psnr"]
    assert ours["site"] <= rows["raw"]["site"]
    features = Features.from_tsv(trial.path("features", "raw.tsv"))
    assert (len(set(features.persons)), len(features)) == (6, 12)
    kept = [next((tmp_path / "out" / "isovox" / "trial").glob(f"{stage}-*.json")) for stage in ("third", "placed", "mapped")]
    contents = [json.loads(path.read_text()) for path in kept]
    for path in kept:
        path.unlink()
    assert whole(settings)[1] == made
    assert [json.loads(path.read_text()) for path in kept] == contents
    assert_maps(trial, made)
    python = tmp_path / "python"  # of an environment whose neuroHarmonize changes nothing
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.load(sys.stdin)['new']['values'])\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.argv", ["row", settings.out, settings.cohort, "--python", str(python)])
    neuroharmonize_row.main()
    own = [text(rows["raw"] | dict.fromkeys(("refused", "psnr", "ssim")), column) for column in COLUMNS]
    assert capsys.readouterr().out.splitlines()[-1].split("\t") == ["raw + neuroHarmonize", *own]


def whole(settings: HarmonisationTrial) -> tuple[Trial, list[dict[str, object]]]:
    return harmonisation_maps.run(*run(settings))


def assert_maps(trial: Trial, made: list[dict[str, object]]) -> None:
    """In one space the reference scanner's scans stay as they are, and the others come nearer to them voxel by voxel."""
    rows = [row for each in made for row in each["rows"]]
    features = {name: {row[0]: row[3] for row in rows if row[1] == name} for name in MAPS}
    assert features[BY_COMBAT][0] == pytest.approx(features[IN_SPACE][0], rel=1e-5)
    assert features[BY_COMBAT][1] != pytest.approx(features[IN_SPACE][1], rel=1e-3)
    scans, grid = placed(trial, 1)
    assert all(scan.shape == grid.shape for scan in scans)
