"""The demo: the real MNI152 T1w that nilearn carries, cut into thick slices, restored, and scored against itself.

The truth is kept aside. Each scan is the truth seen through a slice profile with Rician noise (1 % of the brightest voxels),
as a magnitude image has it, and is stored in an orientation of its own.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli.helpers.console import FAILED, OK, calm, say
from core.errors import UsageError
from core.geometry.grid import Array, Box, Grid
from core.io import files, nifti
from core.io.arrays.slabs import StoredAs
from core.operators.forward_model import SliceProfile
from core.settings.run import Compute, RunSettings
from core.settings.scans import Selection

NOISE = 0.01
SEED = 20
COHORTS = "input", "truth"  # folders of the scans and of what they were cut out of
ROOM = 640 << 20  # bytes that all of it takes
DESCRIPTION = {
    "Name": "MNI152 T1w, thick slices cut by isovox",
    "BIDSVersion": "1.10.0",
    "DatasetType": "raw",
    "License": "see nilearn",
}


@dataclass(frozen=True)
class DemoScan:
    """How one scan of the demo is cut and stored."""

    label: str
    thickness: int
    profile: str
    axes: str
    turn: float = 0.0


SCANS = (
    DemoScan("01", 4, "box", "LAS"),
    DemoScan("02", 4, "gaussian", "RAS", turn=12.0),
    DemoScan("03", 8, "box", "PIR"),
    DemoScan("04", 8, "gaussian", "RAS"),
)


def load_template() -> tuple[Array, Grid]:
    """The MNI152 T1w, 1 mm, in [0, 1], from the package nilearn.

    Raises:
        InputError: the package is not there as expected.
    """
    from importlib.resources import files as resources

    path = resources("nilearn.datasets") / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    image, grid, _ = nifti.load(str(path))
    return image / image.max(), grid


def _trimmed(image: Array, grid: Grid, multiple: int) -> tuple[Array, Grid]:
    """The head with a margin, its number of slices a multiple of ``multiple``."""
    inside = np.argwhere(image > 0.02)
    start = np.maximum(inside.min(axis=0) - 6, 0)
    stop = np.minimum(inside.max(axis=0) + 7, image.shape)
    stop[2] -= (stop[2] - start[2]) % multiple
    (a, b, c), (d, e, f) = start.tolist(), stop.tolist()
    box = Box((a, b, c), (d, e, f))
    return image[box.slices], grid.crop(box)


def _turned(grid: Grid, degrees: float) -> Grid:
    """The grid turned about the world's x axis: an oblique scan of a tilted head."""
    if not degrees:
        return grid
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Grid(grid.shape, turn @ grid.affine)


def _thick(truth: Array, fine: Grid, scan: DemoScan, seed: int) -> tuple[Array, Grid]:
    """The truth as a thick-slice scan sees it, with Rician noise."""
    affine = fine.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (scan.thickness - 1) / 2
    affine[:3, 2] *= scan.thickness
    nx, ny, nz = fine.shape
    grid = Grid((nx, ny, nz // scan.thickness), affine)
    clean = SliceProfile(slice_profile=scan.profile).operator(grid, fine).forward(truth)
    real, imaginary = np.random.default_rng(seed).normal(0, NOISE, (2, *clean.shape)).astype(np.float32)
    return np.hypot(clean + real, imaginary), grid


def _as_stored(image: Array, grid: Grid, axes: str) -> tuple[Array, Grid, StoredAs]:
    """The same scan for a file whose axes run towards ``axes``."""
    from nibabel.orientations import axcodes2ornt

    from core.geometry.grid import Orientation

    turned = axcodes2ornt(tuple(axes))  # for each stored axis: the world axis and the direction
    x, y, z = (int(np.flatnonzero(turned[:, 0] == axis)[0]) for axis in range(3))
    a, b, c = (bool(turned[axis, 1] < 0) for axis in (x, y, z))
    return image, grid, StoredAs(Orientation((x, y, z), (a, b, c)), 4)


def build_demo(folder: Path) -> None:
    """Write the thick-slice cohort and its truth as two BIDS datasets below ``folder``."""
    image, whole = load_template()
    for name in COHORTS:
        files.write_json(str(folder / name / "dataset_description.json"), DESCRIPTION)
    for number, scan in enumerate(SCANS):
        truth, fine = _trimmed(image, whole, scan.thickness)
        fine = _turned(fine, scan.turn)
        thick, grid = _thick(truth, fine, scan, SEED + number)
        stem = f"sub-{scan.label}/anat/sub-{scan.label}_T1w"
        side = {"SliceThickness": float(scan.thickness), "MagneticFieldStrength": 3}
        for name, (voxels, where) in {"input": (thick, grid), "truth": (truth, fine)}.items():
            nifti.save(str(folder / name / f"{stem}.nii.gz"), *_as_stored(voxels, where, scan.axes))
            files.write_json(str(folder / name / f"{stem}.json"), side | {"SkullStripped": True})


def demo_settings(folder: Path) -> list[RunSettings]:
    """UniRes over the demo's cohort, and what suits each scan.

    Cubic interpolation is compared with in each report.
    """
    return [
        RunSettings(
            input=str(folder / "input"),
            out=str(folder / f"restored-{method}"),
            reference=str(folder / "truth"),
            method=method,
            compute=Compute(workers=2),
            selection=Selection(suffix=("T1w",)),
        )
        for method in ("unires", "auto")
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", nargs="?", default="demo-out", help="folder for the demo (default: %(default)s)")


def _checked(out: str) -> Path:
    """The demo's folder, if it may be written to.

    Raises:
        UsageError: no folder of this machine, or one with somebody else's cohort where the demo's will lie.
        PlanError: disk-too-small.
    """
    from core.engine.fit import check_disk
    from core.io import space
    from core.io.claim import REMEDY, check_place

    if files.is_remote(out):
        raise UsageError("demo-remote", "a folder on this machine for the demo", out, "name a local folder")
    check_place(out)
    for name in COHORTS:
        place = files.join(out, name)
        if files.listdir(place) and not _is_demo(place):
            raise UsageError("out-taken", "an empty folder, or one of an earlier demo", f"{place} of somebody else", REMEDY)
    check_disk(ROOM, space.room(out), "the demo's scans and what is restored of them")
    return Path(out)


def _is_demo(place: str) -> bool:
    """Whether a folder holds a cohort of the demo."""
    try:
        return bool(files.read_json(files.join(place, "dataset_description.json"))["Name"] == DESCRIPTION["Name"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False


def execute(options: argparse.Namespace) -> int:
    """Build the cohort, restore it, and print how close each method came to the truth."""
    from cli.helpers.tables import show
    from core.io.output import Output
    from flows.runs.launch import run_flow
    from flows.weights import choose_weights
    from infra.services import local_state, prefect_server
    from tasks.pipeline.discover import check_plan, plan_cohort

    calm()
    folder = _checked(options.out)
    say("cutting thick slices out of the MNI152 T1w …")
    build_demo(folder)
    runs, failed = demo_settings(folder), False
    with prefect_server(local_state(runs[0].out)):  # one for both runs
        for settings in runs:
            choice = choose_weights(settings)
            plan = plan_cohort(settings, choice.weights, choice.others)
            check_plan(plan)
            say(f"restoring by {settings.method} …")
            records = run_flow(plan)
            show(records, Output(settings.out), plan)
            failed = failed or any(record.state == "failed" for record in records)
    return FAILED if failed else OK
