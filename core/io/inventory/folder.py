"""All that lies in a folder, hidden files too, by one listing; and removing some of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from core.io import files, s3

AT_ONCE = 1000  # objects that S3 removes by one request


def inventory(uri: str) -> dict[str, int]:
    """Bytes of every file below a folder, by its path there; hidden files too, links not followed.

    Args:
        uri: local folder or s3:// prefix; one that is not there is empty.
    """
    if files.is_remote(uri):
        base = uri.partition("://")[2].rstrip("/") + "/"
        with s3.reached(uri) as disk:
            objects = disk.find(base, detail=True)
        return {path.removeprefix(base): int(info["size"]) for path, info in sorted(objects.items()) if path.startswith(base)}
    return dict(sorted(_local(Path(uri))))


def _local(folder: Path) -> Iterator[tuple[str, int]]:
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            with suppress(FileNotFoundError):
                yield path.relative_to(folder).as_posix(), path.lstat().st_size


def remove_listed(uri: str, paths: Collection[str]) -> None:
    """Remove files by their paths below a folder, in that order, and local folders that this leaves empty.

    Raises:
        OSError: one could not be removed.
    """
    if not files.is_remote(uri):
        for path in paths:
            Path(uri, path).unlink(missing_ok=True)
            _prune(Path(uri), Path(uri, path).parent)
        return
    bucket, _, prefix = uri.partition("://")[2].rstrip("/").partition("/")
    keys = iter([files.join(prefix, path) if prefix else path for path in paths])
    while batch := list(islice(keys, AT_ONCE)):
        with s3.reached(uri) as disk:
            wanted = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
            answer = disk.call_s3("delete_objects", Bucket=bucket, Delete=wanted)
        if errors := answer.get("Errors"):
            raise OSError(f"{len(errors)} objects of {uri} could not be removed: {errors[0].get('Message', '')}")


def _prune(root: Path, folder: Path) -> None:
    """Remove empty folders from one up to the root."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:  # not empty
            return
        folder = folder.parent
