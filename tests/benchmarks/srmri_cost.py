"""What a slice costs SRMRI and DPS here: ``python -m tests.benchmarks.srmri_cost --preset paper --rows 720 --columns 512``.

A score model of random weights; time and memory do not depend on them. Counted, on a device without memory: operations of an
evaluation and the activations that its gradient needs. Measured, on a GPU where there is one: seconds of an evaluation without
and with gradient; ``--count`` leaves that out. From both the time of a slice: at each scale a corrector and a predictor, each
with a gradient (DPS; SRMRI at every k-th scale) or without (SRMRI at the others), and of few levels one evaluation each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from core.methods.srmri.presets import SIZES
from core.methods.srmri.score_network import denoised
from core.networks import build

K, LEVELS = 2, 15
DPS = 4  # times an evaluation at a scale: two, each with a gradient that costs as much again, as weights need none


def evaluation(network: nn.Module, x: Tensor) -> Tensor:
    """What is expected behind one noisy slice."""
    made: Tensor = denoised(network, x, x.new_ones(1), torch.zeros(1, dtype=torch.long, device=x.device))  # type: ignore[arg-type]
    return made


def counted(preset: str, rows: int, columns: int) -> tuple[int, int, int]:
    """Weights, operations of an evaluation, and bytes in float32 that its gradient needs beside the weights."""
    from torch.utils.flop_counter import FlopCounterMode  # takes seconds to import

    size, kept = SIZES[preset](), {}
    with torch.device("meta"):
        network = build(size.network, size.config).requires_grad_(requires_grad=False)
        x = torch.empty(1, 2 * size.config.get("neighbours", 0) + 1, rows, columns, requires_grad=True)
        own = {weight.untyped_storage()._cdata for weight in network.state_dict().values()}

        def keep(tensor: Tensor) -> Tensor:
            if (place := tensor.untyped_storage()._cdata) not in own:
                kept[place] = tensor
            return tensor

        with FlopCounterMode(display=False) as operations, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            evaluation(network, x)
    weights = sum(weight.numel() for weight in network.parameters())
    return weights, operations.get_total_flops(), sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def measured(preset: str, rows: int, columns: int, repeats: int) -> tuple[float, float]:
    """Median seconds of an evaluation without and with gradient; on a CPU those of the process."""
    size, device = SIZES[preset](), "cuda" if torch.cuda.is_available() else "cpu"
    network = build(size.network, size.config).requires_grad_(requires_grad=False).eval().to(device)
    x = torch.randn(1, 2 * size.config.get("neighbours", 0) + 1, rows, columns, device=device)

    def plain() -> None:
        with torch.no_grad():
            evaluation(network, x)

    def with_gradient() -> None:
        held = x.clone().requires_grad_()
        torch.autograd.grad(evaluation(network, held).square().sum(), held)

    return _seconds(plain, repeats), _seconds(with_gradient, repeats)


def _seconds(run: Callable[[], None], repeats: int) -> float:
    gpu, taken = torch.cuda.is_available(), []
    for _ in range(repeats + 1):
        start = time.perf_counter() if gpu else time.process_time()
        run()
        if gpu:
            torch.cuda.synchronize()
        taken.append((time.perf_counter() if gpu else time.process_time()) - start)
    return statistics.median(taken[1:])


def main() -> None:
    """Print one line of JSON."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    words.add_argument("--preset", choices=SIZES, default="paper")
    words.add_argument("--rows", type=int, default=720, help="a multiple of 8, as columns")
    words.add_argument("--columns", type=int, default=512)
    words.add_argument("--scales", type=int, default=2000)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--count", action="store_true", help="measure nothing")
    said = words.parse_args()
    weights, operations, kept = counted(said.preset, said.rows, said.columns)
    told: dict[str, Any] = vars(said) | {"weights": weights, "TFLOP an evaluation": round(operations / 1e12, 4)}
    told |= {
        "GB kept for a gradient": round(kept / 1e9, 2),
        "PFLOP of a slice, DPS": round(DPS * said.scales * operations / 1e15, 3),
    }
    if not said.count:
        plain, gradient = measured(said.preset, said.rows, said.columns, said.repeats)
        every = {"DPS": 2 * said.scales * gradient, f"SRMRI k={K}": 2 * said.scales * (gradient + (K - 1) * plain) / K}
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
        told |= {
            "device": device,
            "seconds": round(plain, 4),
            "with gradient": round(gradient, 4),
            "r": round(gradient / plain, 2),
        }
        told |= {f"seconds of a slice, {name}": round(took, 1) for name, took in every.items()}
        told |= {f"seconds of a slice, {LEVELS} levels": round(LEVELS * plain, 2)}
        if torch.cuda.is_available():
            told["peak GB"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
