"""What a model says of a generative prior: where its images lie, and what it is told of a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from core.geometry.grid import Grid
from core.settings.base import Settings

MIDDLE = 0.5  # of a condition that is not known
SEXES = {"f": 0.0, "female": 0.0, "m": 1.0, "male": 1.0}


class Condition(Settings):
    """What a prior is told of a person, 0 at ``low`` and 1 at ``high``.

    Attributes:
        name: as a column of participants.tsv.
        low, high: values in that column's unit; sex counts from 0 (female) to 1 (male).
    """

    name: str
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"expected low < high of {self.name}, but got {self.low} and {self.high}")
        return self

    def unit(self, value: float | str | None) -> float | None:
        """A value as the network is told it, beyond 0..1 where it lies beyond the range; None where it is none."""
        if value is None:
            return None
        if isinstance(value, str):
            try:
                number = SEXES[value.strip().lower()] if value.strip().lower() in SEXES else float(value)
            except ValueError:
                return None
        else:
            number = float(value)
        return (number - self.low) / (self.high - self.low) if np.isfinite(number) else None


class GenerativePrior(Settings):
    """Of a model that makes images of itself.

    Attributes:
        window: grid of its images in mm of MNI space, as ``Grid.to_json`` says it.
        conditions: what it is told of a person, in the order of its network.
        samples: of which the mean code is made.
    """

    window: dict[str, Any]
    conditions: tuple[Condition, ...] = ()
    samples: int = Field(10_000, ge=1)

    @field_validator("window")
    @classmethod
    def _is_grid(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse what is no grid."""
        try:
            return Grid.from_json(value).to_json()
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected shape and affine of a grid, but got {value}") from error

    @property
    def grid(self) -> Grid:
        """The window."""
        return Grid.from_json(self.window)


def told(conditions: Sequence[Condition], person: Mapping[str, float | str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What a network is told of a person, and which of it is known; ``MIDDLE`` where it is not.

    Args:
        conditions: of the prior.
        person: values by the names of columns in participants.tsv.
    """
    values = [condition.unit(person.get(condition.name)) for condition in conditions]
    known = np.array([value is not None for value in values], np.bool_)
    return np.array([MIDDLE if value is None else value for value in values], np.float32), known
