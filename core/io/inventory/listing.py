"""A quick look at a folder: its files by name, size and date or tag, without reading any of them."""

from __future__ import annotations

from pathlib import Path

from core.digest import digest_of
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
    return digest_of(sorted(lines), spaced=True)


def _on_s3(uri: str, but: str) -> list[tuple[str, str]]:
    with s3.reached(uri) as disk:
        objects = disk.find(uri.partition("://")[2].rstrip("/") + "/", detail=True)
    left_out = but.partition("://")[2].rstrip("/") + "/"
    return [
        (path, f"{info['size']} {info.get('ETag')}") for path, info in objects.items() if not (but and path.startswith(left_out))
    ]


def _here(uri: str, but: str) -> list[tuple[str, str]]:
    top, left_out = Path(uri).resolve(), Path(but).resolve() if but and not files.is_remote(but) else None
    paths = [(path, Path(uri, path)) for path in files.walk(uri)]
    listed = [(path, file) for path, file in paths if left_out is None or left_out not in (top / path).parents]
    return [(path, f"{file.stat().st_size} {file.stat().st_mtime_ns}") for path, file in listed if file.exists()]
