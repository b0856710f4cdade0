"""Which scans a trained model is for, by what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from core.io.store import Store
from core.models.domain import CONTRASTS, RINGING, Domain
from core.operators.forward_model import DroppedSlices, ForwardModel, LowField, SliceProfile

SLACK = 0.125  # of spacing and factor on either side, over which the network that isovox brings was tested
SLICED = (SliceProfile, DroppedSlices, LowField)


def domain_of(store: Store, keys: Sequence[str], persons: int, forward: ForwardModel) -> Domain:
    """The domain of a model.

    Profile and gap are left out: of most scans they are assumed, not known.

    Args:
        store: of the training.
        keys: of the scans that were trained on.
        persons: how many they are of.
        forward: by which they were degraded.
    """
    suffixes = {key.rpartition("_")[2] for key in keys}
    stats = [store.attrs(f"{key}/measured")["stats"] for key in keys]
    positive = all(one["minimum"] >= -RINGING * one["upper"] for one in stats)
    told = Domain(
        contrasts=tuple(sorted(suffixes)) if suffixes and suffixes <= CONTRASTS else None,
        sign="non-negative" if stats and positive else None,
        persons=persons,
    )
    if not isinstance(forward, SLICED) or forward.factor is None or not keys:
        return told
    sharp = [size for key in keys for size in store.grid(f"{key}/measured").spacing]
    spacing = forward.factor * min(sharp) * (1 - SLACK), forward.factor * max(sharp) * (1 + SLACK)
    factor = forward.factor * (1 - SLACK), forward.factor * (1 + SLACK)
    return told.model_copy(update={"slice_spacing": spacing, "factor": factor})
