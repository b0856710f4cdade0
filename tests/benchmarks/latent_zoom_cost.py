"""What latent zoom costs here: ``python -m tests.benchmarks.latent_zoom_cost --preset paper --steps 200 --between 2 4 10``.

A volume whose slices are 4 times coarser, of random voxels, is restored by networks of random weights; time and memory do not
depend on either. For each number of slices between two: seconds, slices that the decoder made, peak of memory (of the GPU, else
of the process up to then, which no longer rises where memory does not depend on n); over them a line (R squared, seconds an added
slice); beside it what the preset costs by count.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from core.engine.restore import Source, restore_scan
from core.geometry.grid import Grid
from core.methods.base import Measured
from core.methods.latent_zoom import latent, presets
from core.methods.latent_zoom.cost import cost_of
from core.methods.latent_zoom.presets import FINER
from core.methods.registry import build_method
from core.models.bundle import Filled, save_bundle
from core.models.mock import CARD
from core.networks import build
from core.operators.forward_model import InPlane
from core.settings.scans import TilingSettings
from core.stats import scan_stats

SIZES = {"paper": presets.paper, "small": presets.small, "tiny": presets.tiny}


def write_model(folder: str, preset: str) -> None:
    """A model of random weights."""
    sizes = SIZES[preset]()
    networks = {role: build(size.network, size.config) for role, size in sizes.items()}
    parts = {role: Filled(sizes[role].network, sizes[role].config, net.state_dict()) for role, net in networks.items()}
    save_bundle(folder, parts, CARD, multiple=1, schedule=presets.SCHEDULE, prediction="eps")


def measured_of(shape: tuple[int, int, int]) -> Measured:
    """A scan of rows and columns 4 times coarser than 1 mm."""
    coarse = (shape[0] // FINER, shape[1] // FINER, shape[2])
    image = np.random.default_rng(0).uniform(0, 100, coarse).astype(np.float32)
    return Measured(image, Grid(coarse, np.diag([FINER, FINER, 1.0, 1.0])), scan_stats(image), InPlane(factor=FINER))


def restored(folder: str, measured: Measured, between: int, options: dict[str, Any]) -> dict[str, float]:
    """Seconds, decoded slices and peak of memory of a restoration."""
    x, y, z = measured.grid.shape
    target = Grid((FINER * x, FINER * y, (z - 1) * (between + 1) + 1), np.diag([1.0, 1.0, 1 / (between + 1), 1.0]))
    method = build_method("latent-zoom", options | {"axes": ["axial"]}, folder)
    counts: list[int] = []
    decode = latent.decode

    def counting(network: torch.nn.Module, codes: torch.Tensor) -> torch.Tensor:
        counts.append(len(codes))
        return decode(network, codes)

    latent.decode = counting
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    tiling = method.tiling(measured.grid, target, TilingSettings())
    for _ in restore_scan(method, [Source.in_memory(measured)], target, tiling, 32):
        pass
    took = time.perf_counter() - start
    latent.decode = decode
    told = {"between": between, "seconds": round(took, 3), "slices": target.shape[2], "decoded": sum(counts)}
    peak = torch.cuda.max_memory_allocated() if gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return told | {"peak GB": round(peak / 1e9, 3)}


def line(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """A straight line through seconds by slices."""
    slices, seconds = np.array([[run["slices"], run["seconds"]] for run in runs]).T
    slope, start = np.polyfit(slices, seconds, 1)
    left = seconds - (slope * slices + start)
    return {
        "R squared": round(1 - float(left @ left / ((seconds - seconds.mean()) ** 2).sum()), 5),
        "seconds an added slice": slope,
    }


def main() -> None:
    """Print one line of JSON."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    words.add_argument("--preset", choices=SIZES, default="paper")
    words.add_argument("--shape", type=int, nargs=3, default=(240, 240, 155), help="of the restored planes, and measured slices")
    words.add_argument("--between", type=int, nargs="+", default=(2, 4, 10))
    words.add_argument("--steps", type=int, default=200)
    words.add_argument("--sampler", default="ddim")
    said = words.parse_args()
    cost = cost_of(SIZES[said.preset](), said.shape[0], said.shape[1])
    measured = measured_of(tuple(said.shape))
    options = {"steps": said.steps, "sampler": said.sampler}
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder, said.preset)
        restored(folder, measured_of((said.shape[0], said.shape[1], 4)), 1, options | {"steps": 2})  # to warm up
        runs = [restored(folder, measured, between, options) for between in said.between]
    for run in runs:
        flops = cost.flops(said.shape[2], int(run["between"]), said.steps)
        run |= {"PFLOP": round(flops / 1e15, 4), "TFLOP/s": round(flops / 1e12 / run["seconds"], 2)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    forecast = {"MB a slice at the peak": round(cost.peak / 1e6), "MB of weights": round(cost.weights / 1e6)}
    print(json.dumps(vars(said) | {"device": device} | forecast | {"runs": runs} | (line(runs) if len(runs) > 1 else {})))  # noqa: T201


if __name__ == "__main__":
    main()
