"""Sizes of the supervised networks, at a factor of 2: paper as counted in their papers' code, small for a CPU, tiny for tests.

weights     paper        small
srcnn           8,129        8,129
d-dbpn      5,940,852      373,188
carn          961,857      961,857
rcan       15,442,337      468,849
esrgan-2d  16,697,409      758,465
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from core.networks.preset import Preset

SCALE = 2
PATCH = 64  # edge of the sharp slices
NETWORKS = {"srcnn": "SRCNN", "d-dbpn": "DDBPN", "carn": "CARN", "rcan": "RCAN", "esrgan-2d": "RRDBNet"}
WIDEST = 2  # reduced pixels that RRDB takes together

SMALL: dict[str, dict[str, Any]] = {
    "srcnn": {},
    "d-dbpn": {"features": 64, "width": 16},
    "carn": {},
    "rcan": {"width": 32, "groups": 5, "blocks": 4, "reduction": 8},
    "esrgan-2d": {"width": 32, "growth": 16, "blocks": 4},
}
TINY: dict[str, dict[str, Any]] = {
    "srcnn": {},
    "d-dbpn": {"features": 8, "width": 4, "stages": 2},
    "carn": {"width": 8},
    "rcan": {"width": 8, "groups": 1, "blocks": 1, "reduction": 4},
    "esrgan-2d": {"width": 8, "growth": 4, "blocks": 1},
}


def preset(method: str, shape: Mapping[str, Any], patch: int = PATCH) -> Preset:
    """A network of a method, with the arguments that are not its defaults."""
    return Preset(NETWORKS[method], {"scale": SCALE, **shape}, SCALE * WIDEST, patch)


def sizes(method: str) -> dict[str, Callable[[], Preset]]:
    """The sizes of a method's network by name."""
    return {
        "paper": partial(preset, method, {}),
        "small": partial(preset, method, SMALL[method]),
        "tiny": partial(preset, method, TINY[method], 16),
    }
