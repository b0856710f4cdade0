"""A quick look at a folder: its files by name, size and date or tag, without reading any of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from core.io import files, s3


def look(uri: str, but: str = "") -> str | None:
    """A digest of what a listing of a folder tells; it changes where a file comes, goes, or is written anew.

    Args:
        uri: local folder or s3:// prefix.
        but: a folder that is left out of account, such as an output below the input.

    Returns:
        sha256 (hex); None for what is no folder, of which a listing tells too little.
    """
    if not files.is_folder(uri):
        return None
    lines = _on_s3(uri, but) if files.is_remote(uri) else _here(uri, but)
    return hashlib.sha256(json.dumps(sorted(lines)).encode()).hexdigest()


def _on_s3(uri: str, but: str) -> list[tuple[str, str]]:
    with s3.reached(uri) as disk:
        found = disk.find(uri.partition("://")[2].rstrip("/") + "/", detail=True)
    left_out = but.partition("://")[2].rstrip("/") + "/"
    return [(path, f"{one['size']} {one.get('ETag')}") for path, one in found.items() if not (but and path.startswith(left_out))]


def _here(uri: str, but: str) -> list[tuple[str, str]]:
    top, left_out = Path(uri).resolve(), Path(but).resolve() if but and not files.is_remote(but) else None
    found = [(path, Path(uri, path)) for path in files.walk(uri)]
    kept = [(path, one) for path, one in found if left_out is None or left_out not in (top / path).parents]
    return [(path, f"{one.stat().st_size} {one.stat().st_mtime_ns}") for path, one in kept if one.exists()]
