"""Goal 11: a second worker pays: scans that keep one core busy each take little more than half the time that one worker takes."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from core.io import files
from core.io.output import Output
from core.settings.run import Compute, RunSettings
from infra.clusters import open_cluster
from infra.dispatch import run_bounded
from tasks.pipeline.discover import plan_cohort
from tasks.restore.work import Job, ingest, restore
from tests.benchmarks.harness import Row, faster, tell
from tests.phantoms import brain

SCANS, SHAPE, ROUNDS = 8, (144, 144, 36), 3


def cohort(folder: Path) -> str:
    """Thick scans of a phantom, each with noise of its own."""
    folder.mkdir()
    for number in range(SCANS):
        image, _ = brain(SHAPE, seed=number)
        nib.save(nib.Nifti1Image(image, np.diag([2.0, 2.0, 8.0, 1.0])), folder / f"sub-{number:02}_T1w.nii.gz")
    return str(folder)


def prepared(source: str, out: str, how: Compute) -> list[Job]:
    """Calls that restore a cohort, once it is planned."""
    plan = plan_cohort(RunSettings(input=source, out=out, method="unires", voxel_size=2.0, compute=how))
    files.write_json(Output(out).plan, plan.model_dump(mode="json"))
    return [Job(out, plan.digest, (scan.key,)) for scan in plan.scans]


def seconds(source: str, out: str, workers: int) -> float:
    """Of the restoration, from the first call to the last, by workers that have restored as much before: what was compiled is."""
    how = Compute(cluster="local", workers=workers)
    with open_cluster(how) as pool:
        for name in ("warm", "timed"):
            jobs = prepared(source, f"{out}-{name}", how)
            for function in (ingest, restore):
                start = time.perf_counter()
                outcomes = [outcome for _, outcome in run_bounded(pool, function, jobs, window=2 * workers, deadline=600)]
                spent = time.perf_counter() - start
                assert all(isinstance(one, float) for one in outcomes), outcomes
    return spent


def rows() -> list[Row]:
    """Wall time of one worker and of two, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        source = cohort(Path(folder, "in"))
        taken = [[seconds(source, f"{folder}/{n}-{workers}", workers) for workers in (1, 2)] for n in range(ROUNDS)]
    one, two = (statistics.median(each) for each in zip(*taken, strict=True))
    return [faster(11, f"one worker, {SCANS} scans by UniRes, seconds", two, one, 1.8)]


if __name__ == "__main__":
    tell(rows())
