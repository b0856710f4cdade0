"""What all settings share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base: immutable, and an unknown name is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
