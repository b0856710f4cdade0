"""A trial of harmonisation: each person seen by several simulated scanners; fitted on half of the persons, scored on others.

OUT/isovox/seen/<person>.npz     what each scanner shows of a person, restored to cubic voxels, and the truth
OUT/isovox/harmonised/<person>.npz    the same by all steps of ours
OUT/isovox/trial/*.json          what came of each person in each stage, with a digest: what is there is not done again
OUT/features/<rival>.tsv         features of the scored persons' harmonised scans; fitted on: features/<rival>_fit.tsv
OUT/summary.tsv, summary.json    the table of all rivals
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import __version__
from core.digest import digest_of
from core.engine.fit import check_disk
from core.errors import UsageError
from core.evaluation.metrics.image import psnr, ssim
from core.evaluation.rivals import ALL, NAMES, OURS, RAW, REFERENCE, Readings, Rivals, Seen, begin, fit, fit_ours, read_first
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.harmonize.features import measure
from core.harmonize.images.brain import brain
from core.harmonize.images.fit import Look, fit_last, last_looks, look_again, look_last, wants_look
from core.harmonize.images.intensity import Normaliser
from core.harmonize.images.resolution import blurred
from core.harmonize.images.volume import Scan, VolumeModel
from core.io import bids, files, readers, space
from core.io.bids import Source
from core.io.derivatives import UNNAMED
from core.operators.forward import Beside
from core.operators.linear import apply_axis
from core.operators.profile import gaussian_matrix
from core.operators.scanner import Scanner
from core.settings.harmonisation import HarmonisationTrial
from core.tissues import Tissues
from tasks.bounded import Dispatch, Piece, in_order, read_work, serially, write_work
from tasks.events import Advanced, Tell, nobody

VERSION = 5  # of the figures
TORN = ValueError, KeyError, EOFError, zipfile.BadZipFile  # what numpy makes of a file that is not whole
AGES = 20.0, 80.0  # years
MIDDLE = 50.0  # years at which nothing is lost
SEEN, HARMONISED, PLACED = "seen", "harmonised", "placed"  # folders of the persons' images
ACROSS = 2  # axis across the slices: superior
Images = dict[str, NDArray[Any]]
FITTED = (RAW, ALL)  # rivals whose features of the fit's persons are kept, for ComBat


@dataclass(frozen=True)
class Trial:
    """What all stages know.

    Attributes:
        settings: of the trial.
        sources: the sharp scans, a person each.
        models: ours as far as they are fitted, JSON by name; empty before.
        rivals: all, fitted, JSON; empty before.
        look: how often mapped scans were looked at before.
    """

    settings: HarmonisationTrial
    sources: tuple[Source, ...] = ()
    models: dict[str, Any] = field(default_factory=dict)
    rivals: dict[str, Any] = field(default_factory=dict)
    look: int = 0

    def person(self, number: int) -> str:
        """Label of a person."""
        return self.sources[number].person

    def scored(self, number: int) -> bool:
        """Whether a person is scored; else the rivals are fitted on it."""
        return number % 2 == 1

    @property
    def ages(self) -> list[float]:
        """Years, drawn."""
        draw = np.random.default_rng([self.settings.seed, 0xA6E])
        return [round(float(age), 2) for age in draw.uniform(*AGES, len(self.sources))]

    def path(self, *parts: str) -> str:
        """Of a file in the output."""
        return files.join(self.settings.out, *parts)

    def images(self, folder: str, number: int) -> str:
        """Of a file of a person's images."""
        return self.path("isovox", folder, f"{self.person(number)}.npz")


def find(settings: HarmonisationTrial) -> Trial:
    """The persons of a trial, one scan each.

    Raises:
        UsageError: no such cohort, or persons-few.
    """
    sources: dict[str, Source] = {}
    for scan in bids.discover(settings.cohort, settings.selection):
        if isinstance(scan, Source) and scan.named.get("suffix") in {"T1w", UNNAMED}:
            sources.setdefault(scan.person, scan)
    if len(sources) < 12:
        wanted, remedy = "12 persons or more with a T1w scan, half to fit on", "name a larger cohort"
        raise UsageError("persons-few", wanted, str(len(sources)), remedy)
    return Trial(settings, tuple(sources.values()))


def _check_room(trial: Trial) -> None:
    """Refuse a trial for whose images its disk has no room; those that are there already are not counted.

    Raises:
        PlanError: disk-too-small.
    """
    settings = trial.settings
    if files.is_remote(settings.out):  # whose headers need not be read for it
        return
    images = {SEEN: 1 + settings.scanners, HARMONISED: settings.scanners, PLACED: settings.scanners}  # of a person
    room = 0
    for number, source in enumerate(trial.sources):
        if left := sum(count for folder, count in images.items() if not files.exists(trial.images(folder, number))):
            grid = readers.header(source.kind, source.uris, None).grid.isotropic(settings.trial_voxel)
            room += 4 * left * math.prod(grid.shape)
    check_disk(room, space.room(settings.out), f"the images of {len(trial.sources)} persons by {settings.scanners} scanners")


# -- first stage: what the scanners show ------------------------------------------------------------------------------------


def sharp(image: Array, grid: Grid, voxel: float, kept: float) -> tuple[Array, Grid]:
    """A sharp scan on cubic voxels, of a brain that kept a share of its volume; a voxel sees a Gaussian of its own width."""
    narrow = kept ** (1 / 3)
    middle = grid.affine @ [*((n - 1) / 2 for n in grid.shape), 1.0]
    move = np.diag([narrow, narrow, narrow, 1.0])
    move[:3, 3] = (1 - narrow) * middle[:3]
    small = Grid(grid.shape, move @ grid.affine)
    cubic = small.isotropic(voxel)
    for axis, (scale, offset) in enumerate(small.index_map(cubic)):
        image = apply_axis(gaussian_matrix(image.shape[axis], cubic.shape[axis], scale, offset, max(scale, 1.0)), image, axis)
    return image, cubic


def _see(trial: Trial, number: int) -> dict[str, NDArray[Any]]:
    """The truth and each scanner's scan, all on one grid."""
    source, settings = trial.sources[number], trial.settings
    image, grid, _ = readers.load(source.kind, source.uris, None)
    kept = 1 - settings.atrophy / 100 * (trial.ages[number] - MIDDLE)
    truth, cubic = sharp(image, grid, settings.trial_voxel, kept)
    tissues = Tissues.fit(truth)
    shown: Images = {}
    for scanner in range(settings.scanners):
        draw = np.random.default_rng([settings.seed, number, scanner])
        made = Scanner.drawn(scanner).degrade(truth, cubic, ACROSS, draw, Beside(tissues))
        image = np.maximum(interpolate(made.image, made.grid, cubic, 3), 0)
        scan = Scan(image, cubic, brain(image, cubic, stripped=True), "")
        shown |= {f"scan{scanner}": image, f"trend{scanner}": np.array(scan.own_trend())}
    quiet = Scanner.drawn(0).model_copy(update={"bias": 0.0, "noise": 0.0})
    shown["truth"] = quiet.degrade(truth, cubic, ACROSS, np.random.default_rng(0), Beside(tissues)).image
    return shown | {"affine": cubic.affine}


def load(trial: Trial, number: int) -> tuple[Array, Grid, list[Seen]]:
    """The truth and the scans of a person; made where they are not there."""
    kept = kept_images(trial, SEEN, number, [], lambda: _see(trial, number))
    grid, name = Grid(kept["truth"].shape, kept["affine"]), trial.person(number)
    scans = [(kept[f"scan{scanner}"], tuple(kept[f"trend{scanner}"].tolist())) for scanner in range(trial.settings.scanners)]
    seen = [
        Seen(scanner, image, grid, brain(image, grid, stripped=True), f"{scanner}/{name}", trend)
        for scanner, (image, trend) in enumerate(scans)
    ]
    return kept["truth"], grid, seen


def kept_images(trial: Trial, folder: str, number: int, fitted: list[Any], make: Callable[[], Images]) -> Images:
    """A person's arrays, from their file where that is of this very work.

    Args:
        trial: they are of.
        folder: of the file.
        number: of the person.
        fitted: what they come from beside the settings and the scan, JSON.
        make: gives them.
    """
    path = trial.images(folder, number)
    digest = digest_of([VERSION, __version__, _bytes(trial, number), _told(trial), number, *fitted])
    with suppress(OSError, *TORN), np.load(io.BytesIO(files.read_bytes(path))) as kept:
        if str(kept["digest"]) == digest:
            return dict(kept)
    buffer, made = io.BytesIO(), make()
    arrays: dict[str, Any] = {**made, "digest": np.array(digest)}
    np.savez(buffer, **arrays)
    files.write_atomic(path, buffer.getvalue())
    return made


def _bytes(trial: Trial, number: int) -> str:
    """The sha256 of a person's scan."""
    return files.sha256_all(trial.sources[number].uris)


def _told(trial: Trial) -> dict[str, Any]:
    """The settings that figures depend on."""
    return trial.settings.model_dump(mode="json", exclude={"cohort", "out", "compute", "selection"}) | {
        "persons": len(trial.sources)
    }


def made_once(piece: Piece, stage: str, make: Callable[[Trial, int], dict[str, Any]]) -> dict[str, Any]:
    """What a stage made of a person, from its file where that is of this very work."""
    trial = read_work(Trial, piece)
    path = trial.path("isovox", "trial", f"{stage}-{trial.person(piece.number)}.json")
    digest = digest_of([VERSION, __version__, _told(trial), _bytes(trial, piece.number), trial.models, trial.rivals])
    with suppress(FileNotFoundError, ValueError):  # nothing was made before, or it was cut off: it is made now
        if (before := files.read_json(path)).get("Digest") == digest:
            return dict(before["Made"])
    made = make(trial, piece.number)
    files.write_json(path, {"Digest": digest, "Made": made})
    return made


def first_piece(piece: Piece) -> dict[str, Any]:
    """What a worker runs first: make a person's scans; of a person that is fitted on, read them."""
    return made_once(piece, "first", _first)


def _first(trial: Trial, number: int) -> dict[str, Any]:
    seen = load(trial, number)[2]
    if trial.scored(number):
        return {}
    readings = [read_first(scan) for scan in seen]
    return {"readings": [[each.look.site, each.look.to_json(), dict(each.plain), each.quantiles] for each in readings]}


def second_piece(piece: Piece) -> dict[str, Any]:
    """What a worker runs then: look at a person's scans as our models prepare them."""
    return made_once(piece, "second", _second)


def _second(trial: Trial, number: int) -> dict[str, Any]:
    return _looks(trial, number, lambda model, scan: look_again(model, "tissues", scan))


def later_piece(piece: Piece) -> dict[str, Any]:
    """What a worker runs then: look at a person's scans as our models map them."""
    return made_once(piece, f"later{read_work(Trial, piece).look}", _later)


def _later(trial: Trial, number: int) -> dict[str, Any]:
    return _looks(trial, number, look_last)


def _looks(trial: Trial, number: int, look: Callable[[VolumeModel, Scan], Look]) -> dict[str, Any]:
    """Of each of our models, what it sees of a person's scans; of who is scored nothing."""
    if trial.scored(number):
        return {}
    models = {name: _model_from(value) for name, value in trial.models.items()}
    rank = number // 2  # among those who are fitted on, every second person
    asked = {name: model for name, model in models.items() if model.shown is None or rank < model.shown}
    seen = load(trial, number)[2] if asked else []
    return {name: [[each.site, each.to_json()] for each in (look(model, s.scan) for s in seen)] for name, model in asked.items()}


def third_piece(piece: Piece) -> dict[str, Any]:
    """What a worker runs last: harmonise a person's scans by all rivals, and score them."""
    return made_once(piece, "third", _third)


def _third(trial: Trial, number: int) -> dict[str, Any]:
    rivals, (sharpest, grid, seen) = rivals_from(trial.rivals), load(trial, number)
    scored, reference, ours = trial.scored(number), seen[0].mask, harmonised(trial, number)
    truth = blurred(sharpest, grid, rivals.ours[ALL].widths_of(REFERENCE))
    lines: dict[str, tuple[float, float]] = {}
    rows = []
    for scan in seen:
        names = [name for name in (NAMES if scored else FITTED) if name != ALL]
        for name, image in (rivals.made(scan, names) | {ALL: ours[scan.scanner]}).items():
            if scan.scanner == 0:
                lines[name] = _line(image, truth, reference)
            figures = _alike(image, truth, reference, lines[name]) if scored else {}
            rows.append([scan.scanner, name, figures, features_in(image, grid), rivals.refuses(name, scan)])
    return {"rows": rows, "truth": features_in(truth, grid)}


def features_in(image: Array, grid: Grid) -> dict[str, float]:
    """Features of a stripped brain."""
    return measure(image, grid, brain(image, grid, stripped=True))


def harmonised(trial: Trial, number: int) -> list[Array]:
    """A person's scans by all steps of ours, a scanner each."""

    def make() -> Images:
        model, (_, _, seen) = rivals_from(trial.rivals).ours[ALL], load(trial, number)
        return {f"scan{scan.scanner}": model.apply(scan.scan).image for scan in seen}

    kept = kept_images(trial, HARMONISED, number, [trial.rivals], make)
    return [kept[f"scan{scanner}"] for scanner in range(trial.settings.scanners)]


def _line(image: Array, truth: Array, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Gain and offset that take what a rival makes of the reference scanner's scan to the truth's unit."""
    gain, offset = np.polyfit(image[mask].astype(np.float64), truth[mask].astype(np.float64), 1)
    return float(gain), float(offset)


def _alike(image: Array, truth: Array, mask: NDArray[np.bool_], line: tuple[float, float]) -> dict[str, float]:
    """PSNR and SSIM in the brain, in the truth's unit by the rival's own line for this person."""
    same, peak = np.float32(line[0]) * image + np.float32(line[1]), float(np.percentile(truth, 99.9))
    return {name: float(score(same, truth, data_range=peak, mask=mask)) for name, score in (("psnr", psnr), ("ssim", ssim))}


# -- the fit ----------------------------------------------------------------------------------------------------------------


def rivals_to_json(rivals: Rivals) -> dict[str, Any]:
    """A JSON value that ``rivals_from`` turns back, bit for bit."""
    ours = {name: _model_to(model) for name, model in rivals.ours.items()}
    return {"plain": {name: each.to_json() for name, each in rivals.plain.items()}, "quantiles": rivals.quantiles, "ours": ours}


def rivals_from(value: Mapping[str, Any]) -> Rivals:
    """What ``rivals_to_json`` wrote."""
    plain = {name: Normaliser.from_json(each) for name, each in value["plain"].items()}
    return Rivals(plain, list(value["quantiles"]), {name: _model_from(each) for name, each in value["ours"].items()})


def _model_to(model: VolumeModel) -> dict[str, Any]:
    return {"model": model.to_json(), "normaliser": None if model.normaliser is None else model.normaliser.to_json()}


def _model_from(value: Mapping[str, Any]) -> VolumeModel:
    normaliser = None if value["normaliser"] is None else Normaliser.from_json(value["normaliser"])
    return VolumeModel.from_json(value["model"], "T1w", normaliser)


def run(settings: HarmonisationTrial, tell: Tell = nobody, dispatch: Dispatch = serially) -> tuple[Trial, list[dict[str, Any]]]:
    """All stages; the trial as fitted and what came of each person.

    Raises:
        UsageError: no such cohort, persons-few.
        PlanError: disk-too-small.
        IsovoxError: the first fault of a person; none is left out, for halves would change.
    """
    trial = find(settings)
    _check_room(trial)
    first = stage_of(trial, first_piece, tell, dispatch)
    readings = [
        Readings(Look(site, **look), plain, quantiles)
        for made in first
        for site, look, plain, quantiles in made.get("readings", ())
    ]
    models = begin([reading.look for reading in readings])

    def looked(function: Callable[[Piece], dict[str, Any]], names: Sequence[str], number: int = 0) -> dict[str, list[Look]]:
        at = Trial(settings, trial.sources, {name: _model_to(models[name]) for name in names}, look=number)
        made = stage_of(at, function, tell, dispatch)
        return {name: [Look(site, **look) for part in made for site, look in part.get(name, ())] for name in at.models}

    models = {name: fit_ours(models[name], looks) for name, looks in looked(second_piece, list(models)).items()}
    number = 0
    while wants_look(models[ALL], number):
        models[ALL] = fit_last(models[ALL], looked(later_piece, [ALL], number)[ALL], REFERENCE, number)
        number += 1
    whole = Trial(settings, trial.sources, rivals=rivals_to_json(fit(readings, models)))
    return whole, stage_of(whole, third_piece, tell, dispatch)


def stages() -> int:
    """How often each person is worked on, at most: seen, looked at as prepared and as harmonised, scored."""
    return 3 + last_looks(OURS[ALL])


def stage_of(trial: Trial, function: Callable[[Piece], dict[str, Any]], tell: Tell, dispatch: Dispatch) -> list[dict[str, Any]]:
    """What a stage made of each person.

    Raises:
        IsovoxError: the first fault of a person.
    """
    uri = trial.path("isovox", "trial.json")
    pieces, workers = write_work(uri, trial, len(trial.sources)), trial.settings.compute.workers
    outcomes = in_order(dispatch, function, pieces, workers=workers, on_done=lambda _: tell(Advanced("persons")))
    files.remove(uri)
    made = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        made.append(outcome)
    return made
