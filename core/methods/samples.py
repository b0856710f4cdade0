"""Several samples of a scan: their mean is the restored image, their standard deviation a map of uncertainty beside it.

The first sample is what the method gives without; each further one draws noise of its own. Where patches overlap, the map is
the blend of their standard deviations: at least that of the blended samples, and the same where the patches agree.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from core.diffusion.samplers import Sampler
from core.diffusion.schedules import Schedule
from core.diffusion.spread import FAITHFUL, kept
from core.geometry.grid import Array
from core.methods.base import Measured, Method, MethodSettings, Piece
from core.noise import sample_key

SPREAD = "sd"


class SampledSettings(MethodSettings):
    """Settings of methods that draw samples."""

    samples: int = Field(
        1,
        ge=1,
        le=100,
        title="Samples",
        description="of each scan: their mean is the restored image, from 2 on with a map of their standard deviation; "
        "so many times the work",
    )


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        name: of the sampler.
        sampler: itself.
        schedule: alpha and sigma of a time.
        times: falling.
    """

    name: str
    sampler: Sampler
    schedule: Schedule
    times: Sequence[float]

    def told(self, samples: int) -> dict[str, Any]:
        """As a sidecar says it, with the share of a normal posterior's spread that such samples keep, least and most."""
        least, most = (round(share, 2) for share in kept(self.sampler, self.schedule, self.times))
        faithful = FAITHFUL[0] <= least and most <= FAITHFUL[1]
        steps, warned = len(self.times) - 1, "" if faithful else ": too far from it to be read as the model's own uncertainty"
        words = f"Of {samples} samples by {self.name} in {steps} step{'s' * (steps > 1)}, which keep {least:.2f} to {most:.2f} of"
        about = {
            "Description": f"{words} a normal posterior's spread{warned}.",
            "Samples": samples,
            "Sampler": self.name,
            "Steps": steps,
        }
        return about | {"SpreadKept": [least, most], "SpreadFaithful": faithful}


class SampledMethod(Method):
    """Base, before that of its kind, of a method whose restorations are samples."""

    Settings: ClassVar[type[MethodSettings]] = SampledSettings
    settings: SampledSettings

    @property
    @abstractmethod
    def sampling(self) -> Sampling:
        """How it draws."""

    @property
    def maps(self) -> tuple[str, ...]:  # type: ignore[override]
        """The standard deviation, of several samples."""
        return (SPREAD,) if self.settings.samples > 1 else ()

    @property
    def passes(self) -> int:  # type: ignore[override]
        """One for each sample."""
        return super().passes * self.settings.samples

    @property
    def about_maps(self) -> dict[str, dict[str, Any]]:
        """How the samples are drawn, and what share of a spread such samples keep."""
        return {name: self.sampling.told(self.settings.samples) for name in self.maps}

    def restore_many(self, pieces: Sequence[Piece]) -> list[list[Array]]:
        """See ``Method.restore_many``."""
        many = super().restore_many

        def draw(number: int) -> list[Array]:
            noisy = [replace(piece, measured=drawn(piece.measured, number)) for piece in pieces]
            return [image for (image,) in many(noisy)]

        images, count = over_samples(draw, self.settings.samples), len(pieces)
        return [images[n::count] for n in range(count)]


def drawn(measured: Sequence[Measured], number: int) -> list[Measured]:
    """The scans with the noise of a sample."""
    return [replace(scan, noise=sample_key(scan.noise, number)) for scan in measured]


def over_samples(draw: Callable[[int], list[Array]], samples: int) -> list[Array]:
    """Means of images over samples, then their standard deviations where there are several (Welford 1962)."""
    means = draw(0)
    squares = [np.zeros_like(mean) for mean in means] if samples > 1 else []
    for number in range(1, samples):
        for n, image in enumerate(draw(number)):
            off = image - means[n]
            means[n] = means[n] + off / np.float32(number + 1)
            squares[n] += off * (image - means[n])
    return means + [np.sqrt(each / np.float32(samples - 1)) for each in squares]
