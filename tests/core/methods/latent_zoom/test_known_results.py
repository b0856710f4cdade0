"""Results that are known: networks that repeat pixels, an autoencoder without loss, a diffusion model that knows the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured
from core.methods.latent_zoom import latent, mock, zoom
from core.methods.registry import build_method
from core.models.bundle import NETWORK, Bundle
from core.operators.forward_model import InPlane
from core.stats import scan_stats
from tests.phantoms import brain

LDM, OTHERS = ("latent-zoom", "pixel-zoom"), ("bicubic-ae", "srgan-si", "wdsr-si")
PLAIN: dict[str, Any] = {"quantise": "none", "deblur": False, "steps": 4, "begin": "noise"}


def repeating(image: Tensor) -> Tensor:
    """Each pixel 4 x 4 times."""
    return image.repeat_interleave(4, -1).repeat_interleave(4, -2)


def to_codes(image: Tensor) -> Tensor:
    return nn.functional.pixel_unshuffle(image, 4)


def to_slices(codes: Tensor) -> Tensor:
    return nn.functional.pixel_shuffle(codes, 4)


class Codec:
    """An autoencoder of slices without loss."""

    encode, decode = staticmethod(to_codes), staticmethod(to_slices)


def knowing(network: object, shown: Tensor, *_: object) -> Callable[[Tensor, float], Tensor]:
    """Whatever lies under the noise, it is the code of the slice whose pixels are repeated."""
    return lambda codes, t: to_codes(repeating(shown)) + 0 * codes[:, :1]  # noqa: ARG005


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    def network(_: object, bundle: Bundle, __: object, role: str = NETWORK) -> object:
        return Codec() if bundle.parts[role].network == "SliceAutoencoder" else repeating

    monkeypatch.setattr(zoom, "load_network", network)
    monkeypatch.setattr(latent, "encode", lambda _, image: to_codes(image))
    monkeypatch.setattr(latent, "decode", lambda _, codes: to_slices(codes))
    monkeypatch.setattr(latent, "denoiser", knowing)
    monkeypatch.setattr("core.methods.latent_zoom.method.LATENT", 16)  # channels of such codes


def in_lines(image: Array, axis: int, every: int, count: int) -> Array:
    """Slices between those of an image that lie ``every`` places apart, along straight lines."""
    places = np.arange(count) / every
    return np.apply_along_axis(lambda line: np.interp(places, np.arange(len(line)), line), axis, image)


@pytest.mark.parametrize("name", [*LDM, *OTHERS])
@pytest.mark.parametrize(("letter", "axis"), [("R", 0), ("A", 1), ("S", 2)])
@pytest.mark.parametrize(("voxels", "every"), [((1, 1, 1), None), ((0.9, 0.9, 1.1), 2), ((1, 1, 1), 5)])
def test_networks_that_repeat_pixels_repeat_those_of_the_scans_own_slices_and_those_between_lie_on_lines(
    name: str, letter: str, axis: int, voxels: tuple[float, float, float], every: int | None, tmp_path: Path, known: None
) -> None:
    mock.write(str(tmp_path), name)
    sharp = np.moveaxis(brain((16, 20, 21))[0], 2, axis)
    target, forward = Grid(sharp.shape, np.diag([*voxels, 1])), InPlane(factor=4, every=every, axis=letter)
    seen = forward.degrade(sharp, target, axis, np.random.default_rng(0))
    measured = Measured(seen.image, seen.grid, scan_stats(seen.image), forward)
    options = (PLAIN | ({"between": "lerp"} if name == "latent-zoom" else {})) if name in LDM else {}
    (image,) = build_method(name, options, str(tmp_path)).restore([measured], target)
    if name == "bicubic-ae":
        finer = interpolate(seen.image, seen.grid, target.with_axis(seen.grid, axis), 3)
    else:
        rows, columns = {0, 1, 2} - {axis}
        finer = seen.image.repeat(4, rows).repeat(4, columns)
    np.testing.assert_allclose(image, in_lines(finer, axis, every or 1, target.shape[axis]), rtol=1e-4, atol=2e-3)
