"""Models of the generator for tests."""

from __future__ import annotations

from core.methods.esrgan.presets import tiny
from core.models.mock import write_mock


def write(folder: str, method: str) -> None:  # noqa: ARG001 - one method
    """Write a tiny model with random weights."""
    write_mock(folder, tiny(), residual=True)
