"""Intensities on one scale: z-score, Nyúl, white stripe, fuzzy c-means and kernel density, fitted on a cohort and kept as JSON.

The figures are those of the library intensity-normalization (Reinhold et al. 2019, SPIE Medical Imaging), which knows two kinds:

    affine    z-score      (x - mean) / SD of the brain
              white-stripe (x - mean) / SD of the stripe around white matter (Shinohara et al. 2014)
              fcm          x / mean of white matter by fuzzy c-means
              kde          x / mode of white matter by a kernel density
    tissues   means of CSF, grey and white matter on the cohort's (``tissue_map``, of isovox itself)
    landmarks nyul         deciles of the brain mapped on the cohort's mean deciles (Nyúl & Udupa 1999; Shah et al. 2011)

An affine method puts each scan on a scale without unit. Here the cohort gives it one: the median of its scans' means and scales,
so that a normalised scan looks like the cohort's middle one, and air stays dark. What is fitted is a handful of numbers; a scan
that comes next month is mapped by the same ones, so the same bytes in give the same bytes out.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from core.digest import digest_of
from core.errors import InputError, WeightsError
from core.geometry.grid import Array
from core.harmonize.images import tissue_map
from core.tissues import Contrast

if TYPE_CHECKING:
    from intensity_normalization import NyulNormalizer

Method = Literal["nyul", "z-score", "white-stripe", "fcm", "kde", "tissues"]
Values = NDArray[np.float64]
Kept = NDArray[np.bool_]
Reading = list[float]

VERSION = 1
LIBRARY = "intensity-normalization 3"
OWN = "isovox"
NEEDED = {"nyul": {"percentiles", "scale"}, "tissues": tissue_map.USED}
MODALITY: dict[Contrast, str] = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair"}
FEWEST = 1000  # voxels of a brain
SAMPLED = 1 << 18  # voxels that clusters and densities are estimated from, at most: every n-th
QUANTILES = 1001  # of a brain, 0 % to 100 %: what is kept of a scan for Nyúl's landmarks and for histograms
TAIL = 96.0  # per cent of a T1w brain below which the library looks for white matter
SLAB = 1 << 20  # voxels that are mapped together

CAUTIONS = {
    "nyul": "Nyúl's landmarks are percentiles of all tissues together: where their shares differ (atrophy, ages), a tissue's "
    "intensity moves with them, and atrophy is taken for a scanner; where ages or diagnoses differ, take tissues, fcm or kde"
}  # what the page says of a method

_seeding = threading.Lock()


class _Held:
    """Values as the library takes an image."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = np.asarray(values, np.float64)

    def get_data(self) -> Values:
        return self._values

    def with_data(self, data: NDArray[Any]) -> _Held:
        return _Held(data)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    def save(self, path: Any) -> None:
        raise NotImplementedError(path)


def inside(image: Array, mask: Kept) -> Values:
    """The brain's voxels above 0, as float64.

    Raises:
        InputError: intensity-flat, where they are fewer than 1000 or all alike.
    """
    values = np.asarray(image[mask & (image > 0)], np.float64)
    if values.size < FEWEST or float(values.min()) == float(values.max()):
        got = f"{values.size} voxels" + (f", all {values[0]:g}" if values.size else "")
        remedy = "check the scan and its brain mask"
        raise InputError("intensity-flat", f"at least {FEWEST} voxels above 0 in the brain, not all alike", got, remedy)
    return values


def profile(values: Values) -> list[float]:
    """1001 quantiles, 0 % to 100 %: a scan's histogram whatever bins it is shown in."""
    return [float(quantile) for quantile in np.percentile(values, np.linspace(0, 100, QUANTILES))]


def histogram(quantiles: Sequence[float], edges: Values, voxels: float) -> Values:
    """Counts between edges of a brain of so many voxels, from its ``profile``."""
    share = np.interp(edges, np.maximum.accumulate(np.array(quantiles)), np.linspace(0, 1, len(quantiles)), left=0.0, right=1.0)
    return np.asarray(voxels * np.diff(share), np.float64)


def read(method: Method, image: Array, mask: Kept, contrast: Contrast = "T1w") -> Reading:
    """What a method needs to know of a scan.

    Args:
        method: which.
        image: finite float32 (x, y, z).
        mask: True in the brain.
        contrast: says which tissue is brightest.

    Returns:
        of nyul 1001 quantiles; of tissues the means of CSF, grey and white matter; else offset and scale: the scan's
        (x - offset) / scale has no unit.

    Raises:
        InputError: intensity-flat or intensity-unfit, where the brain has no such figures.
    """
    values = inside(image, mask)
    if method == "nyul":
        return profile(values)
    if method == "tissues":
        return tissue_map.read_peaks(image, mask, contrast)
    step = 1 if method == "z-score" else -(-values.size // SAMPLED)
    offset, scale = _library(method, values[::step], contrast)
    if method == "white-stripe" and contrast == "T1w" and offset <= np.median(values):
        got = f"{offset:.4g}, not above the brain's median {np.median(values):.4g}"
        raise InputError("intensity-unfit", "white matter as the bright mode of the brain", got, "choose nyul or fcm")
    if not (np.isfinite([offset, scale]).all() and scale > 0):
        remedy = "check the scan and its brain mask, or choose another method"
        raise InputError("intensity-unfit", f"a scale above 0 by {method}", f"{scale:g}", remedy)
    return [offset, scale]


def _library(method: Method, values: Values, contrast: Contrast) -> tuple[float, float]:
    from intensity_normalization.domain.exceptions import NormalizationError

    try:
        return AFFINE[method](values, contrast)
    except NormalizationError as error:
        raise InputError(
            "intensity-unfit", f"figures by {method}", str(error), "check the scan, or choose another method"
        ) from error


def _z_score(values: Values, contrast: Contrast) -> tuple[float, float]:  # noqa: ARG001 - the same of all
    from intensity_normalization import ZScoreNormalizer

    fitted = ZScoreNormalizer().fit(_Held(values))
    return float(fitted.mean or 0.0), float(fitted.std or 0.0)


def _white_stripe(values: Values, contrast: Contrast) -> tuple[float, float]:
    from intensity_normalization import Modality, WhiteStripeNormalizer

    fitted = WhiteStripeNormalizer(modality=Modality(MODALITY[contrast])).fit(_Held(values))
    return float(fitted.mean or 0.0), float(fitted.std or 0.0)


def _kde(values: Values, contrast: Contrast) -> tuple[float, float]:
    """The mode of white matter, in T2w and FLAIR of the largest tissue.

    The library gives scipy a bandwidth in standard deviations that it means in units (an 80th of the maximum): right where the
    values have a standard deviation of 1, which they therefore get first. So the mode moves with the unit.
    """
    from intensity_normalization import KDENormalizer, Modality

    looked_at = values[values <= np.percentile(values, TAIL)] if contrast == "T1w" else values
    spread = float(looked_at.std(ddof=1)) or 1.0
    fitted = KDENormalizer(modality=Modality(MODALITY[contrast])).fit(_Held(values / spread))
    return 0.0, float(fitted.tissue_mode or 0.0) * spread


def _fcm(values: Values, contrast: Contrast) -> tuple[float, float]:
    """The mean of white matter, weighted by its membership; the library names the three clusters from dark to bright.

    It draws its first memberships from numpy's global generator, which is set for that time and put back.
    """
    from intensity_normalization import FCMNormalizer
    from intensity_normalization.domain.models import TissueType

    tissue = {"T1w": TissueType.WM, "T2w": TissueType.CSF, "FLAIR": TissueType.GM}[contrast]  # white matter's place in each
    with _seeding:
        before = np.random.get_state()  # noqa: NPY002 - the library's generator
        np.random.seed(0)  # noqa: NPY002
        try:
            fitted = FCMNormalizer(tissue_type=tissue).fit(_Held(values))
        finally:
            np.random.set_state(before)  # noqa: NPY002
    return 0.0, float(np.average(values, weights=fitted.tissue_membership))


AFFINE = {"z-score": _z_score, "white-stripe": _white_stripe, "fcm": _fcm, "kde": _kde}


@dataclass(frozen=True)
class Normaliser:
    """A method as fitted on a cohort.

    Attributes:
        method: which.
        contrast: of the scans.
        state: of nyul "percentiles" (%) and the "scale" they are mapped on (1 to 100 for the cohort's 1 % and 99 %); of
            tissues the "peaks" and the "range" of the middle one; else "offset" and "scale" in the cohort's unit.
        scans: how many it was fitted on.
        library: that made the figures.
    """

    method: Method
    contrast: Contrast
    state: dict[str, list[float]] = field(hash=False)
    scans: int
    library: str = LIBRARY

    @classmethod
    def fit(cls, method: Method, scans: Iterable[tuple[Array, Kept]], contrast: Contrast = "T1w") -> Normaliser:
        """Fit a method on the (image, brain mask) of each scan of a cohort, one at a time in memory.

        Raises:
            InputError: a scan without intensities to fit on, or no scan.
        """
        return cls.fit_readings(method, [read(method, image, mask, contrast) for image, mask in scans], contrast)

    @classmethod
    def fit_readings(
        cls, method: Method, readings: Sequence[Reading], contrast: Contrast = "T1w", seen: Sequence[Reading] = ()
    ) -> Normaliser:
        """Fit a method on what ``read`` gave of each scan.

        Args:
            method: which.
            readings: of the scans that others are brought to.
            contrast: says which tissue is brightest.
            seen: of those of the other sites: "tissues" does not bend a scan whose contrast is that of none.

        Raises:
            InputError: no scan.
        """
        if not readings:
            raise InputError("intensity-empty", "at least one scan to fit on", "none", "check the reference site")
        if method == "nyul":
            return cls(method, contrast, _fit_nyul(readings), len(readings))
        if method == "tissues":
            return cls(method, contrast, tissue_map.fit_peaks(readings, contrast, seen), len(readings), OWN)
        offset, scale = np.median(np.array(readings, np.float64), axis=0)
        return cls(method, contrast, {"offset": [float(offset)], "scale": [float(scale)]}, len(readings))

    def apply(self, image: Array, mask: Kept) -> Array:
        """The image on the cohort's scale; what is exactly 0 stays 0.

        Args:
            image: finite float32 (x, y, z).
            mask: True in the brain.

        Raises:
            InputError: a scan without intensities to fit on.
        """
        return self.apply_by(image, read(self.method, image, mask, self.contrast))

    def apply_by(self, image: Array, reading: Reading) -> Array:
        """The image on the cohort's scale, by what ``read`` gave of it."""
        flat = np.ravel(image)
        mapped = np.empty(flat.shape, np.float32)
        for start in range(0, flat.size, SLAB):
            part = slice(start, start + SLAB)
            mapped[part] = self._map(flat[part].astype(np.float64), reading)
        mapped[flat == 0] = 0
        return mapped.reshape(image.shape)

    def beyond(self, reading: Reading) -> str:
        """Why a scan is outside what was fitted and was not bent to it, or nothing."""
        return tissue_map.beyond(reading, self.state, self.contrast) if self.method == "tissues" else ""

    def _map(self, values: Values, reading: Reading) -> Values:
        if self.method == "tissues":
            return tissue_map.map_peaks(values, reading, self.state, self.contrast)
        if self.method == "nyul":
            return _by_landmarks(values, np.array(reading), self.state)
        offset, scale = reading
        return np.asarray((values - offset) / scale * self.state["scale"][0] + self.state["offset"][0], np.float64)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return {"version": VERSION} | asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The normaliser that ``to_json`` wrote.

        Raises:
            WeightsError: normaliser-unreadable, for anything else.
        """
        try:
            known = {name: value[name] for name in ("method", "contrast", "state", "scans", "library")}
            needed = NEEDED.get(known["method"], {"offset", "scale"})
            right = value["version"] == VERSION and known["method"] in get_args(Method) and set(known["state"]) == needed
            state = {name: [float(number) for number in numbers] for name, numbers in known.pop("state").items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            right, got = False, f"{type(error).__name__}: {error}"
        else:
            got = f"version {value['version']} of {known['method']}"
        if not right:
            remedy = "fit it again, by isovox harmonize"
            raise WeightsError("normaliser-unreadable", f"a normaliser of version {VERSION} as JSON", got, remedy)
        return cls(state=state, **known)

    @property
    def digest(self) -> str:
        """The sha256 (hex) of all that maps a scan."""
        return digest_of(self.to_json(), spaced=True)


def _fit_nyul(readings: Sequence[Reading]) -> dict[str, list[float]]:
    from intensity_normalization import NyulNormalizer
    from intensity_normalization.domain.exceptions import NormalizationError

    fitted = NyulNormalizer()
    try:
        fitted.fit_population([_Held(np.array(reading)) for reading in readings])
    except NormalizationError as error:
        raise InputError("intensity-unfit", "landmarks by nyul", str(error), "leave that scan out") from error
    scale = np.asarray(fitted.standard_scale, np.float64)
    return {"percentiles": fitted.percentiles.tolist(), "scale": scale.tolist()}


def _nyul(state: dict[str, list[float]]) -> NyulNormalizer:
    """The library's own object, with landmarks that were kept."""
    from intensity_normalization import NyulNormalizer

    buffer = io.BytesIO()
    np.save(buffer, np.array([state["scale"], state["percentiles"]]))
    buffer.seek(0)
    loaded: Any = NyulNormalizer()
    loaded.load_standard_histogram(buffer)
    return loaded  # type: ignore[no-any-return]


def _by_landmarks(values: Values, quantiles: Values, state: dict[str, list[float]]) -> Values:
    """Map values by the landmarks of a scan whose quantiles are given: a mask tells the library which of both they come from.

    Raises:
        InputError: intensity-unfit, where two landmarks of the scan are the same.
    """
    landmarks = np.percentile(quantiles, state["percentiles"])
    if (np.diff(landmarks) <= 0).any():
        got = ", ".join(f"{landmark:.4g}" for landmark in landmarks)
        raise InputError("intensity-unfit", "deciles that rise", got, "check the scan (few grey levels?), or choose z-score")
    both = np.concatenate([quantiles, values])
    known = np.arange(both.size) < quantiles.size
    return np.asarray(_nyul(state).transform(_Held(both), _Held(known)).get_data(), np.float64)[quantiles.size :]
