"""Restoration methods, one family a file, and how one is built by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import ValidationError

from core.errors import UsageError
from core.methods.base import Method

METHODS = {
    "nearest": ("core.methods.interpolation.method", "Nearest"),
    "linear": ("core.methods.interpolation.method", "Linear"),
    "cubic": ("core.methods.interpolation.method", "Cubic"),
    "unires": ("core.methods.unires.method", "UniRes"),
    "unet-3d": ("core.methods.patch_network", "UNet3D"),
    "resunet-3d": ("core.methods.patch_network", "ResUNet3D"),
    "esrgan-3d": ("core.methods.patch_network", "ESRGAN3D"),
    "diffusion-iqt": ("core.methods.diffusion_iqt.method", "DiffusionIQT"),
    "network": ("core.methods.patch_network", "NetworkMethod"),
}

LEARNED = ("unet-3d", "resunet-3d", "esrgan-3d", "diffusion-iqt")  # that restore with their champion where no model is named


def build_method(name: str, options: dict[str, Any] | None = None, model: str | None = None) -> Method:
    """The method of that name.

    Args:
        name: one of ``METHODS``.
        options: its settings by name.
        model: folder of weights, for methods that need them.

    Raises:
        UsageError: unknown name, option or value, or a model missing or not wanted.
    """
    if name not in METHODS:
        raise UsageError("unknown-method", f"one of {', '.join(METHODS)}", name, "choose one of them with --method")
    module, attribute = METHODS[name]
    method: type[Method] = getattr(import_module(module), attribute)
    if method.needs_model and model is None:
        raise UsageError("model-missing", f"weights for the method {name}", "none", "name them with --model")
    if model is not None and not method.needs_model:
        raise UsageError(
            "model-not-used", f"no --model with the method {name}", model, "leave it out, or choose a learned method"
        )
    try:
        settings = method.Settings.model_validate((options or {}) | ({"model": model} if method.needs_model else {}))
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        allowed = ", ".join(method.Settings.model_fields) or "none"
        raise UsageError("method-options", f"options of {name} ({allowed})", what, "correct the options") from error
    return method(settings)
