"""Networks by name: MONAI's classes, and those that no library has."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from core.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

# Only these: a model's config.json names one, and must not be able to name any class there is.
NETWORKS = dict.fromkeys(("AttentionUnet", "BasicUNet", "DynUNet", "SegResNet", "SwinUNETR", "UNet"), "monai.networks.nets") | {
    "DiffusionIQT": "core.methods.diffusion_iqt.network",
    "ESRGAN": "core.methods.esrgan.network",
    "ESRGANDiscriminator": "core.methods.esrgan.network",
}


def build(name: str, config: dict[str, Any]) -> nn.Module:
    """The network of that name with random weights, in evaluation mode.

    Args:
        name: one of ``NETWORKS``.
        config: arguments of its class, as JSON values.

    Raises:
        WeightsError: an unknown name, or arguments that its class refuses.
    """
    if name not in NETWORKS:
        raise WeightsError("network-unknown", f"one of {', '.join(NETWORKS)}", name, "correct the network's name in config.json")
    network: type[nn.Module] = getattr(import_module(NETWORKS[name]), name)
    try:
        return network(**config).eval()
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise WeightsError("network-config", f"arguments of {name}", str(error), "correct the config in config.json") from error
