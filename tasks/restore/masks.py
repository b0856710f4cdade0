"""Masks beside scans, as workers read them: once a process, whoever of its tiles asks."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from core.engine.plan import MaskImage
from core.errors import InputError
from core.geometry.grid import Triple
from core.io import files, readers
from core.operators.linear import Kept


@lru_cache(maxsize=2)
def read_mask(mask: MaskImage, trust: Literal["sform", "qform"] | None, shape: Triple) -> Kept:
    """A mask, True where it is not 0.

    Args:
        mask: as planned.
        trust: which transform to use where the two of its header disagree.
        shape: of its scan.

    Returns:
        boolean of ``shape``, in the scan's canonical orientation.

    Raises:
        InputError: input-changed, or what is wrong with it.
    """
    if (digest := files.sha256(mask.uri)) != mask.sha256:
        raise InputError("input-changed", f"the mask that was planned ({mask.sha256[:12]})", digest[:12], "run again")
    try:
        return np.asarray(readers.load_at(mask.uri, trust)[0] != 0)
    except InputError as error:
        if error.code != "voxels-zero":  # an empty mask leaves nothing out
            raise
        return np.zeros(shape, np.bool_)
