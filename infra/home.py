"""Isovox's own folder of a user: models, trainings and the group's services, which serve every output."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """$ISOVOX_HOME, else isovox in the user's folder for data ($XDG_DATA_HOME, ~/.local/share)."""
    if own := os.environ.get("ISOVOX_HOME"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "isovox"
