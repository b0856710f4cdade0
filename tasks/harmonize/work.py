"""One harmonisation: what workers do to a scan (measure it, put it on the scale), told by names and URIs alone.

OUT/<site>/…                               the site's restored scans, as ``isovox run`` writes them
OUT/isovox/measured/<site>/<key>.json      what was measured of a restored scan: features, quantiles, what the method is fitted on
OUT/isovox/look-<n>/<site>/<key>.json      what was seen of a scan as far as it is made alike, if further steps are wanted
OUT/isovox/look-<n>/harmonizer.json        what makes a scan so
OUT/isovox/model/                          the harmoniser: what was fitted, with its card
OUT/harmonized/<site>/…                    scans on the common scale and field of view (BIDS derivatives), a record each
OUT/features*.tsv, OUT/report.html         the tables and the report
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from core import __version__
from core.digest import digest_of
from core.engine.records import ScanRecord
from core.errors import IsovoxError
from core.geometry.grid import Array, Grid
from core.harmonize import model
from core.harmonize.features import measure as features_of
from core.harmonize.features import of_restoration
from core.harmonize.images.brain import Kept, brain, common_view, view
from core.harmonize.images.fit import look_again, look_first, look_last
from core.harmonize.images.intensity import Reading, Values, inside, profile, read
from core.harmonize.images.volume import Made, VolumeModel
from core.harmonize.images.volume import Scan as Restored
from core.io import derivatives, files, nifti
from core.io.output import Output
from core.io.participants import write_people
from core.settings.harmonize import VolumeSteps
from core.tissues import Contrast
from tasks.events import Advanced, Tell, nobody

VERSION = 4  # of the measures: a change of their numbers measures scans anew
ATTEMPTS = 4  # at a storage that fails in passing
DEADLINE = 3600.0  # seconds without any scan finishing
BRAIN_ML = 500.0, 2300.0  # of a person: a mask beyond is no brain
LABEL = "harmonized"
NO_STEPS = VolumeSteps()
ROUGH = "rough: thresholds and balls, no segmentation"
HARMONIZED = (
    "Scan of a multi-site cohort on a common intensity scale and field of view, by isovox. For research, not for diagnosis."
)
README = """# Harmonised scans of one site

Restored by isovox, then put on the intensity scale of a reference cohort and in a common field of view around the brain:
`*_desc-harmonized_*.nii.gz` with a JSON sidecar each, which says by which model. For research, not for diagnosis.
"""
Dispatch = Callable[..., Iterator[tuple[Any, Any]]]


@dataclass(frozen=True)
class Piece:
    """A scan of a harmonisation.

    Attributes:
        out: output folder or s3:// prefix.
        site: whose it is.
        key: of the scan in its site.
        contrast: says which tissue is brightest.
        intensity: the method, or "none".
        extent: field of view in mm.
        model: digest of the fitted harmoniser; empty before.
        steps: that are fitted beside intensities.
        look: which look at the scan it is; 0 as it is, 1 as it is prepared, then as it is mapped.
    """

    out: str
    site: str
    key: str
    contrast: Contrast
    intensity: str
    extent: tuple[float, float, float]
    model: str = ""
    steps: VolumeSteps = NO_STEPS
    look: int = 0

    @property
    def name(self) -> str:
        """The scan's name in tables over all sites."""
        return f"{self.site}/{self.key}"

    @property
    def restored(self) -> Output:
        """Where the restored scans of the site are."""
        return Output(files.join(self.out, self.site))

    @property
    def harmonized(self) -> Output:
        """Where the harmonised scans of the site are."""
        return Output(files.join(self.out, LABEL, self.site))

    @property
    def measured(self) -> str:
        """What was measured of the restored scan."""
        return files.join(self.out, "isovox", "measured", self.site, f"{self.key}.json")

    @property
    def looked(self) -> str:
        """What was seen of the scan as far as it is made alike."""
        return files.join(look_folder(self.out, self.look), self.site, f"{self.key}.json")


@dataclass(frozen=True)
class Scan:
    """A restored scan in memory."""

    record: ScanRecord
    stem: str
    image: Array
    grid: Grid
    mask: Kept
    sidecar: dict[str, Any]


def model_folder(out: str) -> str:
    """Where a harmonisation keeps its fitted model."""
    return files.join(out, "isovox", "model")


def look_folder(out: str, look: int) -> str:
    """Where a harmonisation keeps what makes scans as they are in a look, and what was seen of them."""
    return files.join(out, "isovox", f"look-{look}")


def image_of(record: ScanRecord) -> str:
    """Path of a record's image in its output, without extension: maps and labels follow it."""
    return next(path for path in record.outputs if path.endswith(".nii.gz")).removesuffix(".nii.gz")


def _record(piece: Piece) -> ScanRecord:
    record = piece.restored.read_record(piece.key)
    if record is None or not record.outputs:
        raise IsovoxError("not-restored", f"a restored scan {piece.name}", "none", "run again")
    return record


def _load(piece: Piece) -> Scan:
    """The restored scan, its brain found anew: the same bytes give the same brain."""
    record = _record(piece)
    stem = image_of(record)
    sidecar = files.read_json(piece.restored.path(f"{stem}.json"))
    image, grid, _ = nifti.load(piece.restored.path(f"{stem}.nii.gz"))
    mask = brain(image, grid, stripped=bool(sidecar.get("SkullStripped", False)), contrast=piece.contrast)
    return Scan(record, stem, image, grid, mask, sidecar)


def _said(values: Values) -> dict[str, Any]:
    return {"Profile": [float(f"{intensity:.7g}") for intensity in profile(values)], "Voxels": int(values.size)}


def timed(work: Callable[[], None]) -> float:
    """Do it, once more where the storage fails in passing; seconds it took."""
    start = time.monotonic()
    files.retrying(work, ATTEMPTS)
    return round(time.monotonic() - start, 3)


# -- measure ----------------------------------------------------------------------------------------------------------------


def _source_digest(record: ScanRecord) -> str:
    """What the restored image and its sidecar are."""
    return digest_of([record.outputs, __version__, VERSION])


def read_measured(piece: Piece) -> dict[str, Any] | None:
    """What was measured of a restored scan; None where that is of other bytes or was never done."""
    return _read(piece.measured, _measured_digest(piece))


def _read(uri: str, digest: str) -> dict[str, Any] | None:
    try:
        measured = files.read_json(uri)
    except (FileNotFoundError, ValueError):
        return None
    return measured if isinstance(measured, dict) and measured.get("Digest") == digest else None


def _measured_digest(piece: Piece) -> str:
    steps = [piece.steps.wanted()] if piece.steps.wanted() else []
    return digest_of([_source_digest(_record(piece)), piece.contrast, piece.intensity, *steps])


def _measure(piece: Piece) -> None:
    if read_measured(piece) is not None:
        return
    scan = _load(piece)
    figures = features_of(scan.image, scan.grid, scan.mask, piece.contrast) | of_restoration(scan.record.quality)
    content: dict[str, Any] = {"Digest": _measured_digest(piece), "Features": _finite(figures)}
    content["Stripped"] = bool(scan.sidecar.get("SkullStripped", False))
    if piece.steps.looked:
        content["Look"] = look_first(piece.steps, _restored(piece, scan, {}), piece.contrast).to_json()
    files.write_json(piece.measured, content | _said(inside(scan.image, scan.mask)) | {"Reading": _reading(piece, scan)})


def _reading(piece: Piece, scan: Scan) -> Reading:
    method: Any = piece.intensity
    return [] if method == "none" else read(method, scan.image, scan.mask, piece.contrast)


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def measure(piece: Piece) -> float:
    """Measure a restored scan and keep what was found; seconds it took.

    Raises:
        InputError: a scan without a brain, or without intensities to fit on.
    """
    return timed(lambda: _measure(piece))


# -- look -------------------------------------------------------------------------------------------------------------------


def _restored(piece: Piece, scan: Scan, measured: Mapping[str, Any]) -> Restored:
    """The scan as a volume model takes it."""
    trend = measured.get("Look", {}).get("trend")
    stripped = bool(scan.sidecar.get("SkullStripped", False))
    return Restored(scan.image, scan.grid, scan.mask, piece.site, piece.name, stripped, None if trend is None else tuple(trend))


def read_look(piece: Piece) -> dict[str, Any] | None:
    """What was seen of a scan; None where that is of other bytes or was never done."""
    content = _read(piece.looked, digest_of([_measured_digest(piece), piece.model]))
    return None if content is None else content["Look"]


def _look(piece: Piece) -> None:
    if read_look(piece) is not None:
        return
    scan, model_there = _load(piece), _volumes(look_folder(piece.out, piece.look), piece.model)
    restored = _restored(piece, scan, read_measured(piece) or {})
    seen = look_again(model_there, piece.intensity, restored) if piece.look == 1 else look_last(model_there, restored)
    digest = digest_of([_measured_digest(piece), piece.model])
    files.write_json(piece.looked, {"Digest": digest, "Look": seen.to_json()})


def look(piece: Piece) -> float:
    """Look at a scan as far as it is made alike; seconds it took.

    Raises:
        InputError: a scan without tissues, or whose sharpness cannot be told.
    """
    return timed(lambda: _look(piece))


# -- harmonise --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _volumes(folder: str, digest: str) -> VolumeModel:  # noqa: ARG001 - another model is read anew
    return model.read(folder).volumes


def _problems(piece: Piece, scan: Scan, view_mask: Kept, made: Made) -> list[tuple[str, str]]:
    """What makes a harmonised scan doubtful: its restoration, its brain masks, its field of view, what is beyond the fit."""
    problems = [(scan.record.code or "flagged", scan.record.reason)] if scan.record.state == "flagged" else []
    for name, mask in {"restored": scan.mask, "harmonised": made.mask}.items():
        millilitres = float(np.count_nonzero(mask)) * math.prod(scan.grid.spacing) / 1000
        if not BRAIN_ML[0] <= millilitres <= BRAIN_ML[1]:
            usual = f"usual are {BRAIN_ML[0]:g} to {BRAIN_ML[1]:g}"
            problems.append(("brain-volume", f"the brain mask of the {name} scan has {millilitres:.0f} ml ({usual})"))
    if lost := int(np.count_nonzero(scan.mask)) - int(np.count_nonzero(view_mask)):
        share = 100 * lost / np.count_nonzero(scan.mask)
        problems.append(
            ("field-of-view", f"{share:.2g} % of the brain lies outside {' x '.join(f'{mm:g}' for mm in piece.extent)} mm")
        )
    return problems + [("beyond-fit", why) for why in made.notes]


def _sidecar(piece: Piece, scan: Scan, grid: Grid, digest: str, volumes: VolumeModel) -> dict[str, Any]:
    normaliser, steps = volumes.normaliser, volumes.steps.wanted()
    method = None if normaliser is None else {"Method": normaliser.method, "Library": normaliser.library}
    about: dict[str, Any] = {"Site": piece.site, "Model": piece.model, "Intensity": method, "Digest": digest}
    own = {"Harmonized": about | {"Grid": grid.to_json()}}
    if steps:
        own["Harmonized"] |= {"Steps": steps}
    if volumes.steps.brain_only:
        own["Harmonized"] |= {"BrainMask": ROUGH}
    source = f"{scan.stem}.nii.gz"
    sidecar = {"Description": HARMONIZED, "Sources": [derivatives.bids_uri(source)]}
    return scan.sidecar | sidecar | {"Isovox": own | {"Inputs": {source: scan.record.outputs[source]}}}


def _write(piece: Piece, scan: Scan, digest: str) -> ScanRecord:
    volumes, out = _volumes(model_folder(piece.out), piece.model), piece.harmonized
    made = volumes.apply(_restored(piece, scan, read_measured(piece) or {}))
    before, after = common_view(scan.grid, scan.mask, piece.extent)
    grid = scan.grid.pad(before, after)  # type: ignore[arg-type]
    image, mask = view(made.image, before, after), view(scan.mask, before, after)
    stem = scan.stem.replace(f"desc-{derivatives.DESC}", f"desc-{LABEL}")
    written = {f"{stem}.nii.gz": nifti.save(out.path(f"{stem}.nii.gz"), image, grid)}
    files.write_json(out.path(f"{stem}.json"), _sidecar(piece, scan, grid, digest, volumes))
    written[f"{stem}.json"] = files.sha256(out.path(f"{stem}.json"))
    seen = view(made.mask, before, after)
    image, grid, _ = nifti.load(out.path(f"{stem}.nii.gz"))  # what is said of a volume is said of the file
    features = _finite(features_of(image, grid, seen, piece.contrast) | of_restoration(scan.record.quality))
    figures = _said(image[seen & view(scan.image > 0, before, after)].astype(np.float64))
    problems = _problems(piece, scan, mask, made)
    return ScanRecord(
        key=piece.key,
        state="flagged" if problems else "done",
        code=problems[0][0] if problems else "",
        reason="; ".join(reason for _, reason in problems),
        digest=digest,
        method=piece.intensity,
        inputs=scan.record.outputs,
        outputs=written,
        provenance={"Model": piece.model, "Features": features, "Grid": grid.to_json()} | figures,
    )


def _harmonize(piece: Piece) -> None:
    out = piece.harmonized
    digest = digest_of([_source_digest(_record(piece)), piece.contrast, piece.extent, piece.model])
    if out.done(piece.key, digest):
        return
    start = time.monotonic()
    record = _write(piece, _load(piece), digest)
    out.write_record(record.model_copy(update={"seconds": {"harmonize": round(time.monotonic() - start, 3)}}))


def harmonize(piece: Piece) -> float:
    """Write a scan on the common scale and field of view, its record last; seconds it took.

    Raises:
        InputError: a scan without a brain, or without intensities to fit on.
    """
    return timed(lambda: _harmonize(piece))


# -- all of them ------------------------------------------------------------------------------------------------------------


def run(
    dispatch: Dispatch,
    function: Callable[[Piece], float],
    pieces: Iterable[Piece],
    workers: int,
    tell: Tell = nobody,
) -> dict[str, BaseException]:
    """Run a worker's function for each scan; what failed, by the scan's name. One bad scan never stops the others."""
    failed: dict[str, BaseException] = {}
    for piece, outcome in dispatch(function, pieces, window=2 * workers, deadline=DEADLINE):
        if isinstance(outcome, BaseException):
            failed[piece.name] = outcome
        tell(Advanced("scans"))
    return failed


def note_failed(piece: Piece, error: BaseException) -> ScanRecord:
    """The record of a scan that failed; what an earlier run made of it is gone."""
    code = error.code if isinstance(error, IsovoxError) else "storage" if isinstance(error, OSError) else "unexpected"
    reason = str(error) if isinstance(error, IsovoxError) else f"{type(error).__name__}: {error}"
    if (before := piece.harmonized.read_record(piece.key)) is not None:
        for path in before.outputs:
            files.remove(piece.harmonized.path(path))
    record = ScanRecord(key=piece.key, state="failed", code=code, reason=reason[:500], method=piece.intensity)
    piece.harmonized.write_record(record)
    return record


def write_dataset(out: str, site: str, digest: str) -> None:
    """The files that make a site's harmonised scans a BIDS derivative dataset."""
    folder = files.join(out, LABEL, site)
    if not files.exists(files.join(folder, "README.md")):
        files.write_atomic(files.join(folder, "README.md"), README.encode())
    derivatives.write_dataset_files(folder, files.join(out, site), {"Model": digest})


def write_persons(out: str, site: str) -> None:
    """The table of the persons whose harmonised scans are there, when they are."""
    folder = Output(files.join(out, LABEL, site))
    write_people(folder.uri, folder.records())
