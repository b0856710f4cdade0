"""Whether an input is still what it was when it was planned."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import InputError
from core.io import files


def check_unchanged(uris: Sequence[str], sha256: str) -> None:
    """Refuse an input whose bytes are others than those that were planned, or that is no longer there.

    Args:
        uris: of its files, in the order in which they were planned.
        sha256: of them all, as planned.

    Raises:
        InputError: input-changed, input-gone.
    """
    try:
        digest = files.sha256_all(uris)
    except FileNotFoundError as error:
        wanted, got = f"{files.name_of(uris[0])}, as it was when the run was planned", "no such file any more"
        raise InputError("input-gone", wanted, got, "bring it back and run again, or run again without it") from error
    if digest != sha256:
        raise InputError("input-changed", f"the bytes that were planned ({sha256[:12]})", digest[:12], "run again")
