"""The repair as a run makes it: on by default, in either mode, and never against what a method took out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.banding import banding
from core.engine.consistency import AGREES
from core.geometry.grid import Grid
from core.io import files
from core.io.output import Output
from core.operators.forward_model import SliceProfile
from core.settings.run import RunSettings
from core.stats import scan_stats
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.export import export
from tasks.pipeline.pages import report
from tasks.restore import tiles
from tasks.restore.work import Job, ingest, restore, told_of
from tests.outputs import restore_all
from tests.phantoms import brain

FAMILY = "beside_family"


def write(root: Path, gain: float) -> tuple[np.ndarray, Grid, Grid]:
    """A head in slices of 4 mm, every second one brighter by a share; its scan, its grid and that of the sharp head."""
    sharp, _ = brain((52, 52, 80), noise=2.0, head=True)
    grid = Grid(sharp.shape, np.eye(4))
    source = grid.refine(2, Fraction(1, 4))
    image = SliceProfile().operator(source, grid).forward(sharp)
    image[:, :, ::2] *= np.float32(1 + gain)
    path = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.9.0"}')
    nibabel.save(nibabel.Nifti1Image(image, source.affine), path)
    return image, source, grid


def restored(root: Path, out: Path, **how) -> np.ndarray:
    plan = restore_all(str(root), str(out), voxel_size=1.0, **how)
    assert not plan.refused, plan.refused
    (record,) = tuple(Output(str(out)).records())
    assert record.outputs, record.reason
    (path,) = (path for path in record.outputs if path.endswith(".nii.gz"))
    return np.asarray(nibabel.load(out / path).dataobj)


def test_a_run_leaves_less_of_its_scan_unless_told_not_to(tmp_path: Path) -> None:
    image, source, grid = write(tmp_path / "in", 0.0)
    seen = SliceProfile().operator(source, grid)
    plain, better = (restored(tmp_path / "in", tmp_path / f"{repair}", repair=repair) for repair in (False, True))
    left = [float(np.sqrt(np.mean((seen.forward(each) - image) ** 2))) for each in (plain, better)]
    assert left[1] < 0.5 * left[0]


def test_bands_that_a_method_takes_out_are_not_put_back(tmp_path: Path) -> None:
    image, source, grid = write(tmp_path / "in", 0.12)
    planted = banding(image, source, scan_stats(image))
    made = restored(tmp_path / "in", tmp_path / "out", method="unires", method_options={"iterations": 3})
    again = SliceProfile().operator(source, grid).forward(made)
    kept = banding(again, source, scan_stats(again))
    assert planted is not None
    assert kept is not None
    assert planted.gain == pytest.approx(0.12, abs=0.03)
    assert abs(kept.gain) < 0.02


def by_tiles(job: Job) -> None:
    """What ``restore`` does in tile mode."""
    count, blocks = tiles.prepare_tiles(job)
    for part in tiles.parts(job, count, count):
        tiles.restore_some_tiles(part)
    for part in tiles.parts(job, blocks, blocks):
        tiles.assemble_blocks(part)
    tiles.finish_tiles(job)


def lesion(root: Path, source: Grid) -> None:
    """A mask beside the scan."""
    hole = np.zeros(source.shape, np.uint8)
    hole[20:24, 20:24, 8:10] = 1
    nibabel.save(nibabel.Nifti1Image(hole, source.affine), root / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz")


@pytest.mark.usefixtures("own_family")
@pytest.mark.parametrize("how", [restore, by_tiles])
@pytest.mark.parametrize("masked", [False, True])
def test_where_nothing_is_to_be_repaired_sidecar_record_and_page_say_so(
    tmp_path: Path, how: Callable[[Job], object], *, masked: bool
) -> None:
    """Nearest voxels agree with their scan to the bit. Beside a mask the repair goes by rounds, and makes none."""
    _, source, _ = write(tmp_path / "in", 0.0)
    if masked:
        lesion(tmp_path / "in", source)
    settings = {"input": str(tmp_path / "in"), "out": str(tmp_path / "out"), "method": "filling", "voxel_size": 1.0}
    plan = plan_cohort(RunSettings.model_validate(settings))
    out, job = Output(str(tmp_path / "out")), Job(str(tmp_path / "out"), plan.digest, (plan.scans[0].key,))
    files.write_json(out.plan, plan.model_dump(mode="json"))
    for stage in (ingest, how, export, report):
        stage(job)
    (record,) = out.records()
    (side,) = (path for path in record.outputs if path.endswith("_T1w.json"))
    for said in (files.read_json(out.path(side))["Isovox"], record.provenance):
        assert (said["Repaired"], said.get("Unrepaired")) == ((False, AGREES) if masked else (True, None))
    assert (AGREES in files.read_bytes(out.scan_page(record.key)).decode()) == masked
    assert told_of(job, plan.scans[0], "repair")["rounds"] == (0 if masked else None)
