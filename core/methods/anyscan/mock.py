"""A model for tests."""

from __future__ import annotations

from core.methods.anyscan import presets
from core.models.mock import write_mock


def write(folder: str, method: str) -> None:  # noqa: ARG001 - there is one
    """Write a tiny model with random weights."""
    write_mock(folder, presets.tiny(), residual=False)
