"""Table 6 of latent zoom: ``python -m tests.benchmarks.latent_zoom_sweep MODEL DATA --persons 53 54 --out FOLDER``.

Samplers by steps and noise (eta), from noise and with codes between slices by lerp as in the paper, on scans 4 times coarser in
plane of which every second slice is left out: means over the persons of PSNR and SSIM of the new slices, without and with the
engine's repair, and seconds a scan (on a CPU, the process').
Writes sweep.csv as rows come, and sweep.png: PSNR over seconds, a line a sampler and eta. ``--slab`` restores that many
measured slices around the middle.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.engine.consistency import repaired
from core.engine.restore import Source, restore_scan
from core.geometry.grid import Array, Box, Grid
from core.io.nifti import load
from core.methods.base import Measured
from core.methods.latent_zoom.protocol import between_scores
from core.methods.registry import build_method
from core.operators.forward import Beside
from core.operators.forward_model import InPlane
from core.settings.scans import TilingSettings
from core.stats import foreground_threshold, scan_stats

FACTOR, EVERY = 4, 2
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of ddim, as in the table
STEPS = (100, 150, 200, 250)
PAPER = {"axes": ["axial"], "begin": "noise", "between": "lerp"}
Row = dict[str, Any]


def seen(path: Path, slab: int) -> tuple[Measured, Array, Grid]:
    """A coarse scan that lacks every second slice, its truth, and the truth's grid: the head, some slices of its middle."""
    image, grid, _ = load(str(path))
    inside = image > foreground_threshold(image) / 2
    ends = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    start = [max(0, int(low) - FACTOR) for low, _ in ends]
    stop = [min(n, int(high) + 1 + FACTOR) for n, (_, high) in zip(grid.shape, ends, strict=True)]
    middle = (start[2] + stop[2]) // 2
    start[2], stop[2] = max(start[2], middle - slab), min(stop[2], middle - slab + EVERY * (slab - 1) + 1)
    box = Box(
        (start[0], start[1], start[2]),
        (stop[0] - (stop[0] - start[0]) % FACTOR, stop[1] - (stop[1] - start[1]) % FACTOR, stop[2]),
    )
    truth, target = np.ascontiguousarray(image[box.slices]), grid.crop(box)
    forward = InPlane(factor=FACTOR, every=EVERY, axis="S")
    made = forward.degrade(truth, target, 2, np.random.default_rng(0), Beside(None))
    return Measured(made.image, made.grid, scan_stats(made.image), forward, noise=(1, 2)), truth, target


def settings(samplers: Sequence[str], steps: Sequence[int], etas: Sequence[float]) -> Iterator[Row]:
    """The table's rows: eta is ddim's alone."""
    for sampler, count in product(samplers, steps):
        for eta in etas if sampler == "ddim" else (0.0,):
            yield {"sampler": sampler, "steps": count, "eta": eta}


def scored(model: str, options: Row, cases: Sequence[tuple[Measured, Array, Grid]]) -> Row:
    """Means over the cases."""
    method = build_method("latent-zoom", options | PAPER, model)
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    figures: list[dict[str, float]] = []
    for measured, truth, target in cases:
        start = clock()
        tiling = method.tiling(measured.grid, target, TilingSettings())
        parts = restore_scan(method, [Source.in_memory(measured)], target, tiling, 32)
        image = np.concatenate([arrays[0] for _, arrays in parts], axis=2)
        took = clock() - start
        plain = between_scores(image, truth, target, measured.grid)
        held = between_scores(repaired(image, target, measured), truth, target, measured.grid)
        figures.append(plain | {f"{name}_repaired": value for name, value in held.items()} | {"seconds": took})
    shown = [name for name in figures[0] if "." not in name]  # not of each slice
    return options | {name: round(float(np.mean([each[name] for each in figures])), 4) for name in shown}


def draw(rows: Sequence[Row], path: Path) -> None:
    """PSNR over seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for sampler, eta in dict.fromkeys((row["sampler"], row["eta"]) for row in rows):
        own = [row for row in rows if (row["sampler"], row["eta"]) == (sampler, eta)]
        label = f"{sampler}, eta {eta:g}" if sampler == "ddim" else sampler
        axes.plot([row["seconds"] for row in own], [row["psnr_between"] for row in own], "o-", label=label)
        for row in own:
            axes.annotate(str(row["steps"]), (row["seconds"], row["psnr_between"]), xytext=(3, 3), textcoords="offset points")
    axes.set(xlabel="seconds a scan", ylabel="PSNR of new slices, dB", xscale="log", title="Samplers by steps")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Write the table and the plot."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    words.add_argument("model")
    words.add_argument("data", type=Path)
    words.add_argument("--persons", nargs="+", default=["53", "54"])
    words.add_argument("--samplers", nargs="+", default=["ddim", "plms", "dpm-solver++", "sde-dpm-solver++"])
    words.add_argument("--steps", nargs="+", type=int, default=STEPS)
    words.add_argument("--etas", nargs="+", type=float, default=ETAS)
    words.add_argument("--slab", type=int, default=9, help="measured slices of each scan")
    words.add_argument("--out", type=Path, default=Path())
    said = words.parse_args()
    cases = [seen(said.data / f"sub-{person}/anat/sub-{person}_T1w.nii.gz", said.slab) for person in said.persons]
    said.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    scored(said.model, {"steps": 2}, cases[:1])  # what is loaded and compiled once is no sampler's time
    with (said.out / "sweep.csv").open("w", encoding="utf-8") as handle:
        writer: Any = None
        for options in settings(said.samplers, said.steps, said.etas):
            rows.append(scored(said.model, options, cases))
            if writer is None:
                writer = csv.DictWriter(handle, list(rows[0]))
                writer.writeheader()
            writer.writerow(rows[-1])
            handle.flush()
    draw(rows, said.out / "sweep.png")


if __name__ == "__main__":
    main()
