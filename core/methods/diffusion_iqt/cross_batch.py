"""Patches that are neighbours: 27 of them in a batch are one block of 3 x 3 x 3, cut without overlap.

batch:  0 1 2 | 3 4 5 | 6 7 8 | 9 ...      (x, y, z) = (0,0,0) (0,0,1) (0,0,2) (0,1,0) ...
window of patch 4, reach 1:   its own voxels, and those of its neighbours that touch it; zeros beyond the block's border
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import RestorationError

if TYPE_CHECKING:
    from torch import Tensor

ACROSS = 3
NEIGHBOURS = ACROSS**3


def merge(patches: Tensor) -> Tensor:
    """Blocks of their patches.

    Args:
        patches: (27 n, c, x, y, z); the 27 of a block together, its last axis counted fastest.

    Returns:
        (n, c, 3x, 3y, 3z).

    Raises:
        RestorationError: a batch that is not whole blocks.
    """
    count, channels, *shape = patches.shape
    if count == 0 or count % NEIGHBOURS:
        remedy = "cut blocks of 3 x 3 x 3 patches by split()"
        raise RestorationError("neighbours-incomplete", f"patches in multiples of {NEIGHBOURS}", str(count), remedy)
    apart = patches.reshape(-1, ACROSS, ACROSS, ACROSS, channels, *shape)
    return apart.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(-1, channels, *(ACROSS * size for size in shape))


def split(block: Tensor) -> Tensor:
    """Patches of their blocks: the inverse of ``merge``.

    Args:
        block: (n, c, 3x, 3y, 3z).

    Returns:
        (27 n, c, x, y, z).

    Raises:
        RestorationError: edges that are not multiples of 3.
    """
    count, channels, *shape = block.shape
    if any(size % ACROSS for size in shape):
        raise RestorationError("block-uneven", f"edges in multiples of {ACROSS}", str(tuple(shape)), "enlarge the block")
    x, y, z = (size // ACROSS for size in shape)
    apart = block.reshape(count, channels, ACROSS, x, ACROSS, y, ACROSS, z)
    return apart.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, channels, x, y, z)


def windows(patches: Tensor, reach: int) -> Tensor:
    """Patches with the voxels around them, taken from their neighbours; zeros beyond the block.

    A convolution of the windows without padding is that of the merged block with zeros around it.

    Args:
        patches: (27 n, c, x, y, z).
        reach: voxels on each side.

    Returns:
        (27 n, c, x + 2 reach, y + 2 reach, z + 2 reach).

    Raises:
        RestorationError: a batch that is not whole blocks.
    """
    from torch.nn import functional

    whole = functional.pad(merge(patches), (reach,) * 6)
    for axis, size in enumerate(patches.shape[2:], 2):
        whole = whole.unfold(axis, size + 2 * reach, size)
    return whole.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(0, 3)


def x0_of(network: Callable[..., Tensor], x: Tensor, scan: Tensor, log_snr: Tensor) -> Tensor:
    """What DiffusionIQT takes for the sharp image of blocks; one that sees across patches is shown each block as its neighbours.

    Args:
        network: ``core.methods.diffusion_iqt.network.DiffusionIQT``.
        x: (n, 1, e, e, e), the noisy image.
        scan: (n, 1, e, e, e), the blurred image.
        log_snr: of the noise of each block, (n,).
    """
    if not getattr(network, "cross_batch", False):
        return network(x, scan, log_snr)
    return merge(network(split(x), split(scan), log_snr.repeat_interleave(NEIGHBOURS)))
