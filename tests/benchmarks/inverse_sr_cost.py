"""What a step of InverseSR costs here: ``python -m tests.benchmarks.inverse_sr_cost --preset paper --last 46``.

Networks have random weights; time and memory do not depend on them. Counted: operations and activations; measured: seconds a step
of each search, on a GPU where there is one, and its peak of memory. ``--precision bfloat16 --recompute``: as methods have it.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial

import torch
from torch import Tensor

from core.diffusion.declared import build_schedule
from core.methods.inverse_sr import latent
from core.methods.inverse_sr.cost import cost_of
from core.methods.inverse_sr.presets import AUTOENCODER, DENOISER, SCHEDULE, SIZES, facts_of
from core.methods.inverse_sr.search.chain import STEPS, chain, times_of
from core.networks import build


def _epsilon(denoiser: torch.nn.Module, z: Tensor, t: int, conditions: Tensor) -> Tensor:
    return latent.epsilon(denoiser, z, torch.full((1,), t, dtype=torch.long, device=z.device), conditions)


def seconds(step: object, repeats: int) -> float:
    """Of a call, after one to warm up."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        step()  # type: ignore[operator]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def main() -> None:
    """Print one line of JSON."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    words.add_argument("--preset", choices=SIZES, default="paper")
    words.add_argument("--last", type=int, default=STEPS, help="steps of the chain; 0: of the decoder alone")
    words.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    words.add_argument("--recompute", action="store_true")
    words.add_argument("--repeats", type=int, default=2)
    said = words.parse_args()
    parts, device = SIZES[said.preset](), "cuda" if torch.cuda.is_available() else "cpu"
    window = facts_of(parts).grid.shape
    autoencoder, denoiser = (
        build(parts[role].network, parts[role].config).requires_grad_(requires_grad=False).to(device)
        for role in (AUTOENCODER, DENOISER)
    )
    schedule, count = build_schedule(SCHEDULE), len(facts_of(parts).conditions)

    def step() -> None:
        z = torch.randn(1, *latent.code_shape(parts, window), device=device, requires_grad=True)
        conditions = torch.full((1, count), 0.5, device=device, requires_grad=True)
        with torch.autocast(device, torch.bfloat16, enabled=said.precision == "bfloat16"):
            code = (
                chain(partial(_epsilon, denoiser), z, conditions, schedule, times_of(said.last), recompute=said.recompute)
                if said.last
                else z
            )
            image = latent.decode(autoencoder, code, recompute=said.recompute)
        image.float().abs().mean().backward()

    cost = cost_of(parts, window, said.last)
    took = seconds(step, said.repeats)
    told = {"device": torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"} | vars(
        said
    )
    told |= {"TFLOP a step": round(cost.flops / 1e12, 3), "GB kept, float32": round(cost.bytes_kept(4) / 1e9, 2)}
    told |= {
        "seconds a step": round(took, 3),
        "TFLOP/s": round(cost.flops / 1e12 / took, 3),
        "minutes for 600": round(10 * took, 1),
    }
    if device == "cuda":
        told["peak GB"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
