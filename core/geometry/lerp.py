"""The compiled step behind blending. numba is imported here alone, and this module only where predictions overlap."""

from __future__ import annotations

from typing import Any

import numba


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def lerp_into(out: Any, part: Any, corners: Any, x: Any, y: Any, z: Any) -> None:
    """Move voxels of a block towards a prediction, in place and in one pass.

    Args:
        out: float32 block, contiguous.
        part: float32 prediction, contiguous.
        corners: where to begin in the block and in the prediction, and how many voxels: three triples.
        x: shares of this interval along axis 0 (row 0) and of those before it (row 1), float32 (2, n).
        y: the same along axis 1.
        z: shares of those before along axis 2, as multiples of this one's, float32 (n).

    Where nothing was before, the prediction is copied, whatever the block held there.
    """
    into, start, shape = corners
    for i in range(shape[0]):
        for j in range(shape[1]):
            step = x[0, i] * y[0, j]
            whole = y[1, j] + y[0, j] * (x[1, i] + x[0, i])
            row = out[into[0] + i, into[1] + j, into[2] : into[2] + shape[2]]
            new = part[start[0] + i, start[1] + j, start[2] : start[2] + shape[2]]
            if x[1, i] == 0 and y[1, j] == 0:
                for k in range(row.size):
                    row[k] = new[k] if z[k] == 0 else row[k] - step / (z[k] + whole) * (row[k] - new[k])
            else:
                for k in range(row.size):
                    row[k] -= step / (z[k] + whole) * (row[k] - new[k])
