"""Networks by name: MONAI's classes, and those that the families declare."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from core.errors import WeightsError
from core.methods import registry

if TYPE_CHECKING:
    from torch import nn

# Only these: a model's config.json names one, and must not be able to name any class there is.
MONAI = dict.fromkeys(("AttentionUnet", "BasicUNet", "DynUNet", "SegResNet", "SwinUNETR", "UNet"), "monai.networks.nets")


def modules() -> dict[str, str]:
    """The module of each network that there is, by the name of its class."""
    return MONAI | {name: entry.module for name, entry in registry.networks().items()}


def applied_by(method: str) -> frozenset[str]:
    """The networks that a method knows how to apply: those declared for it, else all that make one image of one image."""
    declared = registry.networks()
    own = frozenset(name for name, entry in declared.items() if entry.method == method)
    plain = frozenset(name for name, entry in declared.items() if entry.restores and not entry.method)
    return own or frozenset(MONAI) | plain


def build(name: str, config: dict[str, Any]) -> nn.Module:
    """The network of that name with random weights, in evaluation mode.

    Args:
        name: one of ``modules()``.
        config: arguments of its class, as JSON values.

    Raises:
        WeightsError: an unknown name, or arguments that its class refuses.
    """
    known = modules()
    if name not in known:
        raise WeightsError("network-unknown", f"one of {', '.join(known)}", name, "correct the network's name in config.json")
    network: type[nn.Module] = getattr(import_module(known[name]), name)
    try:
        return network(**config).eval()
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise WeightsError("network-config", f"arguments of {name}", str(error), "correct the config in config.json") from error
