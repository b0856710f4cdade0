"""How much room a disk of this machine has."""

from __future__ import annotations

import shutil
from pathlib import Path

LITTLE = 1 << 20  # bytes; with less a disk counts as full: no database can be begun there


def free(path: Path) -> int:
    """Bytes free where a file or a folder lies, or will lie when the folders above it are made."""
    here = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    return shutil.disk_usage(here).free


def is_full(path: Path) -> bool:
    """Whether next to nothing is free there."""
    return free(path) < LITTLE
