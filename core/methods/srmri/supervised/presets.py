"""Sizes of the supervised networks: paper as in their authors' code, small for a CPU, tiny for tests; -x4 for a factor of 4.

weights     paper        small     paper-x4
srcnn           8,129    8,129        8,129
d-dbpn      5,940,852  373,188   10,413,684
carn          961,857  961,857    1,109,569
swinir     11,748,093  153,616   11,895,805
rcan       15,442,337  468,849   15,590,049
esrgan-2d  16,697,409  758,465   16,695,681
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from core.networks.preset import Preset

SCALE = 2
NETWORKS = {"srcnn": "SRCNN", "d-dbpn": "DDBPN", "carn": "CARN", "swinir": "SwinIR", "rcan": "RCAN", "esrgan-2d": "RRDBNet"}
WIDEST = 2  # reduced pixels that RRDB takes together
WINDOW = 8  # of SwinIR

PATCHES = {"srcnn": 16, "d-dbpn": 40, "carn": 64, "swinir": 48, "rcan": 48, "esrgan-2d": 64}  # reduced pixels, as published
SMALL_PATCH = 32

SMALL: dict[str, dict[str, Any]] = {
    "srcnn": {},
    "d-dbpn": {"features": 64, "width": 16},
    "carn": {},
    "swinir": {"width": 36, "groups": 4, "layers": 2, "heads": 4, "direct": True},
    "rcan": {"width": 32, "groups": 5, "blocks": 4, "reduction": 8},
    "esrgan-2d": {"width": 32, "growth": 16, "blocks": 4},
}
TINY: dict[str, dict[str, Any]] = {
    "srcnn": {},
    "d-dbpn": {"features": 8, "width": 4, "stages": 2},
    "carn": {"width": 8},
    "swinir": {"width": 8, "groups": 1, "layers": 2, "heads": 2, "window": 4, "direct": True},
    "rcan": {"width": 8, "groups": 1, "blocks": 1, "reduction": 4},
    "esrgan-2d": {"width": 8, "growth": 4, "blocks": 1},
}


def preset(method: str, shape: Mapping[str, Any], patch: int, scale: int = SCALE) -> Preset:
    """A network of a method.

    Args:
        method: by name.
        shape: arguments that are not the network's defaults.
        patch: edge of the reduced slices that it is trained with.
        scale: sharp pixels for a reduced one.
    """
    multiple = shape.get("window", WINDOW) if method == "swinir" else WIDEST
    return Preset(NETWORKS[method], {"scale": scale, **shape}, scale * multiple, scale * patch)


def takes(preset: Preset) -> int:
    """Reduced slices have sides of multiples of this many pixels."""
    return preset.multiple // int(preset.config["scale"])


def sizes(method: str) -> dict[str, Callable[[], Preset]]:
    """The sizes of a method's network by name."""
    own = PATCHES[method]
    return {
        "paper": partial(preset, method, {}, own),
        "small": partial(preset, method, SMALL[method], SMALL_PATCH),
        "tiny": partial(preset, method, TINY[method], 8),
        "paper-x4": partial(preset, method, {}, own, 4),
        "small-x4": partial(preset, method, SMALL[method], SMALL_PATCH, 4),
    }
