"""How much room there is where something will be written."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from core.errors import StoreError
from core.io import files

ENDLESS = 1 << 62  # bytes; S3 tells of no end
LITTLE = 1 << 20  # bytes; with less a disk counts as full: no database can be begun there


def free(path: Path) -> int:
    """Bytes free where a file or a folder lies, or will lie when the folders above it are made."""
    here = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    return shutil.disk_usage(here).free


def room(out: str) -> int:
    """Bytes free where an output lies, or will lie.

    Args:
        out: folder or s3:// prefix.
    """
    return ENDLESS if files.is_remote(out) else free(Path(out))


def full(error: BaseException) -> StoreError | None:
    """What is to be told of a disk, or a share of it, that takes no more; None of another fault."""
    if not isinstance(error, OSError) or error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    remedy = "free space; the same command goes on from what is finished"
    return StoreError("disk-full", "room for what is written", os.strerror(error.errno), remedy)


def is_full(path: Path) -> bool:
    """Whether next to nothing is free there."""
    return free(path) < LITTLE
