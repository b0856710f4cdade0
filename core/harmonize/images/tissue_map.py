r"""Intensities mapped so that cerebrospinal fluid, grey and white matter of a scan are as bright as the reference's.

    scan    0 --- CSF ------- GM ------ WM ---->      lines between the tissues' means, through the origin below, and on with
              \      \        \         \               the last slope above: rising everywhere, so it can be undone
    common  0 -- CSF ---- GM ---------- WM --->

The means are of three normal distributions (``core.tissues``), not percentiles: a tissue's share does not move them. A scan whose
grey matter lies elsewhere between fluid and white matter than it does in any scan of the fit is not bent to look like them: its
white matter alone is matched, by one factor, and that is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array
from core.tissues import DARK_TO_BRIGHT, WM, Contrast, Tissues

Values = NDArray[np.float64]
State = dict[str, list[float]]

MARGIN = 0.1  # of the way from the darkest to the brightest tissue, beyond what the fit saw of the middle one
USED = {"peaks", "range"}


def read_peaks(image: Array, mask: NDArray[np.bool_], contrast: Contrast) -> list[float]:
    """Means of CSF, grey and white matter.

    Raises:
        InputError: tissues-not-found, or intensity-unfit where two of them are alike.
    """
    means = Tissues.fit(image, mask, contrast).means
    rising = [means[tissue] for tissue in DARK_TO_BRIGHT[contrast]]
    if not (np.diff(rising) > 1e-6 * (rising[2] - rising[0])).all():
        got = ", ".join(f"{mean:.4g}" for mean in means)
        raise InputError("intensity-unfit", "three tissues of different brightness", got, "check the scan, or choose z-score")
    return list(means)


def fit_peaks(readings: Sequence[Sequence[float]], contrast: Contrast, seen: Sequence[Sequence[float]] = ()) -> State:
    """The middle scan's tissues, and between what the middle tissue lay, in these scans and in those ``seen`` beside them."""
    places = [_place(reading, contrast) for reading in (*readings, *seen)]
    peaks = np.median(np.array(readings, np.float64), axis=0).tolist()
    return {"peaks": peaks, "range": [min(places) - MARGIN, max(places) + MARGIN]}


def beyond(reading: Sequence[float], state: State, contrast: Contrast) -> str:
    """Why a scan is outside what was fitted, or nothing."""
    place, (low, high) = _place(reading, contrast), state["range"]
    if low <= place <= high:
        return ""
    return (
        f"its middle tissue lies {100 * place:.0f} % of the way from the darkest to the brightest, those of the fit "
        f"{100 * low:.0f} to {100 * high:.0f} %; only white matter was matched"
    )


def map_peaks(values: Values, reading: Sequence[float], state: State, contrast: Contrast) -> Values:
    """Values of a scan on the common scale."""
    if beyond(reading, state, contrast):
        return values * (state["peaks"][WM] / reading[WM])
    order = list(DARK_TO_BRIGHT[contrast])
    known, common = (np.array(peaks, np.float64)[order] for peaks in (reading, state["peaks"]))
    steps = np.diff(common) / np.diff(known)
    below = common[0] / known[0] if known[0] > 0 < common[0] else steps[0]
    mapped = np.interp(values, known, common)
    mapped += np.minimum(values - known[0], 0) * below + np.maximum(values - known[2], 0) * steps[1]
    return np.asarray(mapped, np.float64)


def _place(reading: Sequence[float], contrast: Contrast) -> float:
    """Where the middle tissue lies between the darkest and the brightest, 0 to 1."""
    dark, middle, bright = (reading[tissue] for tissue in DARK_TO_BRIGHT[contrast])
    return (middle - dark) / (bright - dark)
