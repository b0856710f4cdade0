"""SRMRI's tables on crops: ``python -m tests.benchmarks.srmri_tables MODEL DATA --persons 53 54 --scales 2000 --also cubic``.

Coronal crops of true scans are reduced within their plane and restored by each row's method. A row has PSNR (peak: the crops'
99.9th percentile), SSIM in 3-D (of 11 slices at least), GMSD, flicker (mean step from slice to slice over the truth's) and CPU
seconds a slice that is worked on (where a model sees neighbours the paper's samplers walk those mirrored beyond both ends, too:
two more than a crop has; few levels walk none of them); of several samples (``--samples``) how often the truth lies within
1.645 of their standard deviations of their mean (of a normal error 0.9) and by what factor they would have to be wider. The
last column of a row of table 4 is the speed over DPS beside its ceiling, from r, the cost of an evaluation with gradient over
one without, measured on the same crops:

    corrector first (authors)     k r / (r + k - 1)                 2 r / (r + 1) for k = 2
    predictor first (paper)       k (r + 1) / (r + 1 + 2 (k - 1))   2 (r + 1) / (r + 3)

Few levels go by two planes in turn where there are 16 slices; "few levels, one plane" leaves that out.

With fewer scales than the paper's 2000 gradients are longer in proportion. ``MODEL`` may be "mock": random weights, whose times
are true and whose figures mean nothing. No services, one process.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from core.evaluation.metrics.image import ssim
from core.evaluation.metrics.interval import interval_scores
from core.geometry.grid import Array, Box, Grid
from core.io.nifti import load
from core.methods.base import Measured, Method
from core.methods.iterative import IterativeMethod
from core.methods.registry import build_method
from core.methods.samples import SPREAD
from core.methods.srmri.method import published_rho
from core.methods.srmri.presets import SCORE, SIZES, facts_of
from core.methods.srmri.protocol import CORONAL, scores
from core.methods.srmri.sampling import few_steps, slice_walk
from core.methods.srmri.sampling.sampler import gradient_of
from core.methods.srmri.sampling.slice_walk import Stack
from core.models.bundle import Filled, save_bundle
from core.models.mock import CARD
from core.networks import build
from core.operators.forward import Beside
from core.operators.forward_model import InPlane
from core.stats import scan_stats

Row = tuple[str, dict[str, object]]
PAPER: dict[str, Row] = {
    "Score-SDE": ("score-sde", {}),
    "DPS": ("dps", {}),
    "MCG": ("mcg", {}),
    **{f"SRMRI k={k}": ("srmri", {"sampler": "slices", "k": k}) for k in (2, 3, 4, 5)},
    "SRMRI k=2, no fusion": ("srmri", {"sampler": "slices", "k": 2, "fusion": False}),
    "SRMRI, few levels": ("srmri", {}),
}
ONE_PLANE = "few levels, one plane"
LEAST_SSIM = 11  # slices
NINETY = 1.645  # standard deviations of a normal error, within which 90 % lie


def ceiling(k: int, r: float, *, predictor_first: bool) -> float:
    """Of the speed over DPS, where one evaluation with gradient costs as much as ``r`` without."""
    return k * (r + 1) / (r + 1 + 2 * (k - 1)) if predictor_first else k * r / (r + k - 1)


def crop(image: Array, grid: Grid, side: int, slices: int, factor: int) -> tuple[Measured, Array, Grid]:
    """A measured crop of coronal slices about the middle of the head, its truth, and the truth's grid."""
    middle = [int(np.median(np.nonzero(image > image.mean())[axis])) for axis in range(3)]
    sizes = (side, slices, side)
    start = [max(0, min(m - size // 2, n - size)) for m, size, n in zip(middle, sizes, image.shape, strict=True)]
    box = Box((start[0], start[1], start[2]), (start[0] + side, start[1] + slices, start[2] + side))
    truth, target, how = np.ascontiguousarray(image[box.slices]), grid.crop(box), InPlane(axis="A", factor=factor)
    made = how.degrade(truth, target, 1, np.random.default_rng(0), Beside(None))
    return Measured(made.image, made.grid, scan_stats(made.image), how, noise=(1, 2)), truth, target


def cost_ratio(model: str, measured: Measured, target: Grid, repeats: int = 9) -> float:
    """r: medians of CPU time, an evaluation of each kind in turn."""
    method = build_method("dps", {"scales": 2}, model)
    stack = method.prepare([measured], target).posed  # type: ignore[attr-defined]
    state = slice_walk.begin(stack)
    scene = slice_walk._scene(stack, state.arrays["slices"], 0)
    x = torch.from_numpy(state.arrays["slices"][0].copy())[None, None]
    times: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(repeats):
        start = time.process_time()
        gradient_of(scene, x, 1.0, squared=False)
        times["with"].append(time.process_time() - start)
        start = time.process_time()
        with torch.no_grad():
            scene.denoise(x, 1.0)
        times["without"].append(time.process_time() - start)
    return statistics.median(times["with"]) / statistics.median(times["without"])


def mock(folder: str, size: str) -> str:
    """A model of a size with random weights."""
    preset = SIZES[size]()
    torch.manual_seed(0)
    network = build(preset.network, preset.config)
    save_bundle(folder, {SCORE: Filled(preset.network, preset.config, network.state_dict())}, CARD, **facts_of(preset))
    return folder


def figures_of(restored: Array, spread: Array | None, truth: Array) -> dict[str, float]:
    """A crop's figures by name; of a restoration without a map of its spread no coverage."""
    peak, along = float(np.percentile(truth, 99.9)), CORONAL
    error = float(np.square(restored - truth, dtype=np.float64).mean())
    steps = [float(np.abs(np.diff(image, axis=along)).mean()) for image in (restored, truth)]
    figures = {
        "PSNR": 10 * np.log10(peak**2 / error),
        "GMSD": scores(restored, truth, None)["gmsd"],
        "flicker": steps[0] / steps[1],
    }
    if min(truth.shape) >= LEAST_SSIM:
        figures["SSIM"] = ssim(restored, truth, data_range=peak, mask=None)
    if spread is not None:
        ninety = interval_scores(restored, truth, np.asarray(spread * np.float32(NINETY)))
        figures |= {"coverage": ninety["coverage"], "stretch": ninety["stretch"]}
    return figures


def restored_by(method: Method, measured: Measured, target: Grid) -> tuple[Array, Array | None, int]:
    """A crop's restoration, its map of spread where it has one, and how many slices were worked on."""
    if not isinstance(method, IterativeMethod):
        return method.restore([measured], target)[0], None, target.shape[CORONAL]
    problem = method.prepare([measured], target)
    *_, last = method.steps(problem, method.start(problem))
    maps = method.beside(problem, last).maps
    posed = getattr(problem, "posed", None)
    slices = len(posed.raised) if isinstance(posed, Stack) else target.shape[CORONAL]
    return method.result(problem, last)[0], maps[SPREAD][0] if SPREAD in maps else None, slices


def main() -> None:
    """Print a line a row."""
    words = argparse.ArgumentParser()
    words.add_argument("model")
    words.add_argument("data", type=Path)
    words.add_argument("--persons", nargs="+", default=["53", "54", "55", "56"])
    words.add_argument("--rows", nargs="*", default=list(PAPER), choices=[*PAPER, ONE_PLANE])
    words.add_argument("--also", nargs="+", default=[], help="methods, with NAME=FOLDER for one that needs a model")
    words.add_argument("--side", type=int, default=64)
    words.add_argument("--slices", type=int, default=4)
    words.add_argument("--factor", type=int, default=2)
    words.add_argument("--scales", type=int, default=2000)
    words.add_argument("--samples", type=int, default=1)
    words.add_argument("--rho", type=float, default=1.0, help="gradients so many times as long as the authors'")
    words.add_argument("--size", default="tiny", choices=list(SIZES), help="of a mock")
    words.add_argument("--order", default="corrector", choices=["corrector", "predictor"])
    said = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = mock(folder, said.size) if said.model == "mock" else said.model
        _table(model, said)


def _rows(model: str, said: argparse.Namespace) -> Iterator[tuple[str, Method]]:
    shared = {"scales": said.scales, "order": said.order, "samples": said.samples, "rho": said.rho * published_rho(said.scales)}
    for name in sorted(said.rows, key=lambda row: row != "DPS"):
        method, options = PAPER.get(name, ("srmri", {}))
        yield name, build_method(method, shared | options, model)
    for name, _, folder in (each.partition("=") for each in said.also):
        yield name, build_method(name, {}, folder or None)


def _table(model: str, said: argparse.Namespace) -> None:
    scans = [load(str(said.data / f"ds002748/sub-{person}/anat/sub-{person}_T1w.nii.gz"))[:2] for person in said.persons]
    crops = [crop(image, grid, said.side, said.slices, said.factor) for image, grid in scans]
    r, base = cost_ratio(model, crops[0][0], crops[0][2]), None
    print(f"r {r:.2f}")  # noqa: T201
    for name, method in _rows(model, said):
        figures, took = [], 0.0
        for measured, truth, target in crops:
            start = time.process_time()
            with patch.object(few_steps, "FEWEST", math.inf) if name == ONE_PLANE else nullcontext():
                restored, spread, slices = restored_by(method, measured, target)
            took += (time.process_time() - start) / (slices * len(crops))
            figures.append(figures_of(restored, spread, truth))
        base = took if name == "DPS" else base
        means = "  ".join(f"{key} {np.mean([each[key] for each in figures]):.4g}" for key in figures[0])
        line = f"{name:21} {means}  {took:.2f} s"
        if base and "k" in (options := PAPER.get(name, ("", {}))[1]):
            top = ceiling(int(str(options["k"])), r, predictor_first=said.order == "predictor")
            line += f"  {base / took:.3f} times DPS, {base / took / top:.2f} of {top:.3f}"
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
