"""A copy of the project in which code may be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNWANTED = (".*", "__pycache__", "*.egg-info", "demo-out", "bench-out", "build", "dist")


def copy_tree(parent: Path) -> Path:
    """Copy source and tests into a new folder below ``parent``; without what was built."""
    return Path(shutil.copytree(ROOT, parent / "isovox", ignore=shutil.ignore_patterns(*UNWANTED)))
