"""The mean code: the average of samples of a prior, from which InverseSR(Decoder) starts (section 3.2).

Samples are drawn by number, in batches, by the 46 steps without noise and with all conditions in the middle of their ranges (the
paper's T; its code drew with noise from 100,000). What was summed so far lies beside the weights, so that a call that was cut
off goes on; its name carries the model's digest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.diffusion.schedules import Schedule
from core.geometry.grid import Array
from core.io import files
from core.methods.inverse_sr.search.chain import Epsilon, chain, times_of
from core.models.generative import MIDDLE

BATCH = 8  # samples at once


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn.

    Attributes:
        epsilon: the network.
        schedule: of the noise.
        shape: of a code, (channels, x, y, z).
        conditions: how many.
        device: of torch.
    """

    epsilon: Epsilon
    schedule: Schedule
    shape: tuple[int, int, int, int]
    conditions: int
    device: str

    @torch.no_grad()
    def draw(self, numbers: range) -> Tensor:
        """The codes of these numbers, (n, channels, x, y, z) on the CPU."""
        noise = [torch.randn(self.shape, generator=torch.Generator().manual_seed(number)) for number in numbers]
        conditions = torch.full((len(noise), self.conditions), MIDDLE, device=self.device)
        return chain(self.epsilon, torch.stack(noise).to(self.device), conditions, self.schedule, times_of()).cpu()


def place(folder: str, digest: str, samples: int) -> str:
    """Where the statistics of a model's codes lie."""
    return files.join(folder, f"codes-{digest[:16]}-{samples}.safetensors")


def statistics(how: Sampling, samples: int, uri: str) -> tuple[Array, Array]:
    """Mean and standard deviation of codes, (1, channels, x, y, z), float32.

    Args:
        how: codes are drawn.
        samples: how many, at least 1.
        uri: where sums are kept and looked for.
    """
    sums, made = (_read(uri) if files.exists(uri) else None) or (torch.zeros(2, *how.shape, dtype=torch.float64), 0)
    while made < samples:
        drawn = how.draw(range(made, min(made + BATCH, samples))).double()
        sums += torch.stack([drawn.sum(0), drawn.square().sum(0)])
        made += len(drawn)
        _write(uri, sums, made)
    mean, square = sums / samples
    spread = (square - mean.square()).clamp_min(0).sqrt()
    return mean[None].float().numpy(), spread[None].float().numpy()


def _read(uri: str) -> tuple[Tensor, int] | None:
    """Sums, and of how many samples they are; None where the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = files.read_bytes(uri)
    length = int.from_bytes(content[:8], "little")
    try:
        header: Any = json.loads(content[8 : 8 + length])["__metadata__"]
        return load(content)["sums"], int(header["made"])
    except (SafetensorError, ValueError, KeyError):
        return None


def _write(uri: str, sums: Tensor, made: int) -> None:
    from safetensors.torch import save

    files.write_atomic(uri, save({"sums": sums}, {"made": str(made)}))
