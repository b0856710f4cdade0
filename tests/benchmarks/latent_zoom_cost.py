"""What latent zoom costs here: ``python -m tests.benchmarks.latent_zoom_cost --preset paper --steps 200 --between 2 4 10``.

A volume whose slices are 4 times coarser, of random voxels, is restored by networks of random weights; time and memory do not
depend on either. For each number of slices between two: seconds (on a CPU those of the process, whatever else runs there),
slices that the decoder made, peak of memory (of the GPU, else of the process up to then, which no longer rises where memory
does not depend on n); over them a line (R squared, seconds an added slice); beside it what the preset costs by count. ``--brain
0.6``: rows and columns beyond the middle 60 % are black, and the first number of slices is restored without the box, too.
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

PAPER = {"axes": ["axial"], "begin": "noise", "between": "lerp"}
SIZES = {"paper": presets.paper, "small": presets.small, "tiny": presets.tiny}


def write_model(folder: str, preset: str) -> None:
    """A model of random weights."""
    sizes = SIZES[preset]()
    networks = {role: build(size.network, size.config) for role, size in sizes.items()}
    parts = {role: Filled(sizes[role].network, sizes[role].config, net.state_dict()) for role, net in networks.items()}
    save_bundle(folder, parts, CARD, multiple=1, schedule=presets.SCHEDULE, prediction="eps")


def measured_of(shape: tuple[int, int, int], brain: float = 1.0) -> Measured:
    """A scan of rows and columns 4 times coarser than 1 mm; beyond that share of them, in the middle, it is black."""
    coarse = (shape[0] // FINER, shape[1] // FINER, shape[2])
    image = np.random.default_rng(0).uniform(0, 100, coarse).astype(np.float32)
    for axis, n in enumerate(coarse[:2]):
        image[(slice(None),) * axis + (np.abs(np.arange(n) - (n - 1) / 2) > brain * n / 2,)] = 0
    return Measured(image, Grid(coarse, np.diag([FINER, FINER, 1.0, 1.0])), scan_stats(image), InPlane(factor=FINER))


def restored(folder: str, measured: Measured, between: int, options: dict[str, Any]) -> dict[str, float]:
    """Seconds, decoded slices and peak of memory of a restoration."""
    x, y, z = measured.grid.shape
    target = Grid((FINER * x, FINER * y, (z - 1) * (between + 1) + 1), np.diag([1.0, 1.0, 1 / (between + 1), 1.0]))
    method = build_method("latent-zoom", options | PAPER, folder)
    counts: list[int] = []
    decode = latent.decode

    def counting(network: torch.nn.Module, codes: torch.Tensor) -> torch.Tensor:
        counts.append(len(codes))
        return decode(network, codes)

    latent.decode = counting
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    clock = time.perf_counter if gpu else time.process_time
    start = clock()
    tiling = method.tiling(measured.grid, target, TilingSettings())
    for _ in restore_scan(method, [Source.in_memory(measured)], target, tiling, 32):
        pass
    took = clock() - start
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
    words.add_argument("--precision", default="float32", choices=["float32", "tf32", "bfloat16"])
    words.add_argument("--repeats", type=int, default=1, help="of each run, of which the fastest counts")
    words.add_argument("--brain", type=float, default=1.0, help="share of rows and columns that is not black")
    said = words.parse_args()
    cost = cost_of(SIZES[said.preset](), said.shape[0], said.shape[1])
    measured = measured_of(tuple(said.shape), said.brain)
    options = {"steps": said.steps, "sampler": said.sampler, "precision": said.precision}
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder, said.preset)
        restored(folder, measured_of((said.shape[0], said.shape[1], 4)), 1, options | {"steps": 2})  # to warm up

        def fastest(between: int, **more: Any) -> dict[str, float]:
            return min(
                (restored(folder, measured, between, options | more) for _ in range(said.repeats)), key=lambda run: run["seconds"]
            )

        runs = [fastest(between) for between in said.between]
        plain = fastest(said.between[0], box=False) if said.brain < 1 else None
    for run in runs:
        flops = cost.flops(said.shape[2], int(run["between"]), said.steps)
        run |= {"PFLOP": round(flops / 1e15, 4), "TFLOP/s": round(flops / 1e12 / run["seconds"], 2)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    forecast = {"MB a slice at the peak": round(cost.peak / 1e6), "MB of weights": round(cost.weights / 1e6)}
    beside = {"without the box": plain} if plain else {}
    over = line(runs) if len(runs) > 1 else {}
    print(json.dumps(vars(said) | {"device": device} | forecast | {"runs": runs} | beside | over))  # noqa: T201


if __name__ == "__main__":
    main()
