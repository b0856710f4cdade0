"""The digest of a JSON value: by it plans, models, evaluations and records say what they depend on. And that of voxels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from core.geometry.grid import Array

COMPACT, SPACED = (",", ":"), (", ", ": ")


def digest_of(value: Any, *, spaced: bool = False, lines: Iterable[str] = ()) -> str:
    """The sha256 (hex) of a JSON value, whatever the order of its keys.

    Args:
        value: numbers, words, None, lists and dictionaries of them.
        spaced: with blanks after commas and colons, as the records of simulations, evaluations, normalisers, evaluation
            cohorts and listings have it: another digest would make their outputs anew.
        lines: what follows the value, each line as it is; never held together.
    """
    text = json.dumps(value, sort_keys=True, separators=SPACED if spaced else COMPACT)
    digest = hashlib.sha256(text.encode())
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def digest_of_voxels(image: Array) -> str:
    """The sha256 (hex) of an image's shape and voxels: the same of a file that was packed, named or annotated anew.

    Args:
        image: float32 (x, y, z) on its canonical grid, however it lies in memory.
    """
    digest = hashlib.sha256(repr(tuple(image.shape)).encode())
    for z in range(image.shape[2]):
        digest.update(np.asarray(image[:, :, z], "<f4").tobytes(order="F"))
    return digest.hexdigest()
