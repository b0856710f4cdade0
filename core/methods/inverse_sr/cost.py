"""What a step of a search costs, counted on a device without memory: operations, and activations that gradients need."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from core.geometry.grid import Triple
from core.methods.inverse_sr.latent import Shape, code_shape, decode, epsilon
from core.methods.inverse_sr.presets import DENOISER, ROLES
from core.networks import build

FLOPS = 6.7e10  # in a second
REGISTERING = 23.0  # seconds


@dataclass(frozen=True)
class Cost:
    """Of a step through some steps of the chain and the decoder, with frozen weights.

    Attributes:
        steps: of the chain.
        decoder_flops, noise_flops: floating-point operations of the decoder and of the noise network once, forward.
        decoder_kept, noise_kept: numbers that each keeps for its gradient.
        weights: how many both networks have.
    """

    steps: int
    decoder_flops: int
    noise_flops: int
    decoder_kept: int
    noise_kept: int
    weights: int

    @property
    def flops(self) -> int:
        """Of a step: forward, and as much again for the gradient, as weights need none."""
        return 2 * (self.decoder_flops + self.steps * self.noise_flops)

    def bytes_kept(self, size: int) -> int:
        """Of activations, where none is made anew.

        Args:
            size: bytes of a number: 4 of float32, 2 of bfloat16.
        """
        return size * (self.decoder_kept + self.steps * self.noise_kept)


def cost_of(parts: Mapping[str, Any], window: Triple, steps: int) -> Cost:
    """The cost of a step of a search in a prior.

    Args:
        parts: its networks by role, each with ``network`` and ``config``: of a bundle, or of presets.
        window: shape of its images.
        steps: of the chain.
    """
    networks = {role: [parts[role].network, parts[role].config] for role in ROLES}
    return Cost(steps, *_counted(json.dumps(networks, sort_keys=True), code_shape(parts, window)))


@lru_cache(maxsize=8)
def _counted(said: str, shape: Shape) -> tuple[int, int, int, int, int]:
    """Operations of the decoder and of the noise network, what each keeps, and how many weights both have."""
    with torch.device("meta"):
        autoencoder, denoiser = (build(*json.loads(said)[role]).requires_grad_(requires_grad=False) for role in ROLES)
        code = torch.zeros(1, *shape, requires_grad=True)
        conditions = torch.zeros(1, json.loads(said)[DENOISER][1]["in_channels"] - shape[0])
        decoder = _count(autoencoder, lambda: decode(autoencoder, code))
        noise = _count(denoiser, lambda: epsilon(denoiser, code, torch.zeros(1, dtype=torch.long), conditions))
    weights = sum(weight.numel() for network in (autoencoder, denoiser) for weight in network.parameters())
    return decoder[0], noise[0], decoder[1], noise[1], weights


def _count(network: nn.Module, run: Callable[[], Tensor]) -> tuple[int, int]:
    """Operations of a run, and numbers that it keeps beside the weights, each once."""
    own = {tensor.untyped_storage()._cdata for tensor in network.state_dict().values()}  # noqa: SLF001 - what torch knows them by
    tensors: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage()._cdata) not in own:  # noqa: SLF001
            tensors[place] = tensor
        return tensor

    from torch.utils.flop_counter import FlopCounterMode  # takes seconds to import

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return counter.get_total_flops(), sum(tensor.numel() for tensor in tensors.values())


def seconds(flops: float, *, register: bool) -> float:
    """Of a search, on one core.

    The small prior's 40 and 600 steps in the decoder took 72 and 763 seconds, registration and all.

    Args:
        flops: of all its steps.
        register: whether the scan is registered before.
    """
    return flops / FLOPS + (REGISTERING if register else 0.0)


def all_memory() -> int:
    """Bytes of this machine, free or not: what a plan says of it is the same at any time."""
    import psutil

    return int(psutil.virtual_memory().total)


def free_memory(device: str) -> int:
    """Bytes that are free on a device of torch."""
    if device == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
