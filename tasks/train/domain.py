"""Which scans a trained model is for, by what it was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.io.arrays.store import Store
from core.models.domain import CONTRASTS, Anatomy, Domain
from core.operators.forward_model import DroppedSlices, ForwardModel, LowField, SliceProfile
from core.stats import foreground_threshold

if TYPE_CHECKING:
    from core.training.data.drawn_slices import SliceRanges

FAINT = 0.5  # of the threshold of the foreground: fluid within a brain counts
LARGEST_BRAIN = 2.2  # litres; heads have three and more
MM3_PER_LITRE = 1e6
SLACK = 0.125  # of spacing, factor and restored voxels on either side, over which the network that isovox brings was tested
THICK = 2.0  # times the voxels within the slices: what is thicker is hardly a sharp scan
SLICED = (SliceProfile, DroppedSlices, LowField)


def domain_of(
    store: Store, keys: Sequence[str], persons: int, forward: ForwardModel | None, drawn: SliceRanges | None = None
) -> Domain:
    """The domain of a model.

    Profile and gap are left out: of most scans they are assumed, not known. So is the sign: values below 0 are shifted before a
    network sees them.

    Args:
        store: of the training.
        keys: of the scans that were trained on.
        persons: how many they are of.
        forward: by which they were degraded; None where they were not: then their slices say nothing, and what they show does.
        drawn: slices and contrasts that examples drew for themselves: these count in the place of ``forward`` and the scans' own;
            what voxels the model makes is as the scans' own.
    """
    if drawn is not None:
        sizes = _sharp(store, keys)
        voxel_size = (min(sizes) * (1 - SLACK), max(sizes) * (1 + SLACK)) if sizes else None
        return drawn.domain.model_copy(update={"persons": persons, "voxel_size": voxel_size})
    suffixes = {key.rpartition("_")[2] for key in keys}
    domain = Domain(
        contrasts=tuple(sorted(suffixes)) if suffixes and suffixes <= CONTRASTS else None,
        persons=persons,
    )
    if forward is None:
        return domain.model_copy(update={"anatomy": _anatomy(store, keys)})
    if not isinstance(forward, SLICED) or forward.factor is None or not keys:
        return domain
    sharp = _sharp(store, keys)
    spacing = forward.factor * min(sharp) * (1 - SLACK), forward.factor * max(sharp) * (1 + SLACK)
    factor = forward.factor * (1 - SLACK), forward.factor * (1 + SLACK)
    return domain.model_copy(update={"slice_spacing": spacing, "factor": factor})


def thick(store: Store, keys: Sequence[str]) -> str | None:
    """What is to be told of scans with thick slices, which a training takes for the truth, in a line; None where there is none.

    Args:
        store: of the training.
        keys: of the scans to learn from.
    """
    sizes = [sorted(store.grid(f"{key}/measured").spacing) for key in keys]
    rough = [(least, most) for least, _, most in sizes if most > THICK * least]
    if not rough:
        return None
    slices, within = (_from_to(column) for column in (sorted(most for _, most in rough), sorted(least for least, _ in rough)))
    return (
        f"thick: {len(rough)} of {len(keys)} scans to learn from have voxels of {within} mm, but of {slices} mm along their "
        "slices' axis. They are taken for sharp: along it the network cannot learn anything finer than that"
    )


def _from_to(values: Sequence[float]) -> str:
    """The range of sorted values."""
    low, high = f"{values[0]:.3g}", f"{values[-1]:.3g}"
    return low if low == high else f"{low} to {high}"


def _sharp(store: Store, keys: Sequence[str]) -> list[float]:
    """The voxel sizes of scans, along all their axes, mm."""
    return [size for key in keys for size in store.grid(f"{key}/measured").spacing]


def _anatomy(store: Store, keys: Sequence[str]) -> tuple[Anatomy, ...] | None:
    """What scans show, by the volume of their foreground; None where it differs, or there are none."""
    shown: set[Anatomy] = set()
    for key in keys:
        image, voxel = store.read(f"{key}/measured"), math.prod(store.grid(f"{key}/measured").spacing)
        litres = np.count_nonzero(image > FAINT * foreground_threshold(image)) * voxel / MM3_PER_LITRE
        shown.add("brain" if litres < LARGEST_BRAIN else "head")
    return tuple(shown) if len(shown) == 1 else None
