"""Several methods on scans whose truth is known: restored, scored, and never twice.

    cohort --degrade--> simulated/ --each method--> restored/<method>/ --against the truth--> scores/<method>/<scan>.json

All three steps skip what their digest says is there. What goes wrong with one scan or method is told in its row.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from core import __version__
from core.digest import digest_of
from core.engine.consistency import REVISION, explained_by, repaired, unrepaired
from core.engine.iterate import Checkpoint, Driver
from core.errors import InputError
from core.evaluation.metrics.interval import interval_scores
from core.evaluation.protocol import Protocol
from core.geometry.grid import Array, Grid
from core.io import bids, files, nifti, readers
from core.io.arrays.slabs import StoredAs
from core.methods import registry
from core.methods.base import Measured
from core.methods.iterative import IterativeMethod
from core.methods.registry import methods
from core.models.calibration import UNCERTAINTY
from core.models.domain import Facts, disagreements, facts_of, look_of
from core.models.scaling import values_of
from core.noise import field_key
from core.settings.base import Settings
from core.settings.evaluate import EvaluationSettings
from core.settings.simulate import SimulateSettings
from core.stats import scan_stats
from tasks.bounded import Dispatch, Piece, code, in_order, read_work, reason, serially, write_work
from tasks.evaluate import simulate
from tasks.evaluate.beside import mask_on, unmasked
from tasks.evaluate.candidates import Candidate
from tasks.evaluate.cases import Case, covered, forward_told, not_sharp
from tasks.evaluate.probing import other_truth, probed, restored_by
from tasks.evaluate.scorers import Scorer, Scoring, scorer_of
from tasks.events import Advanced, Tell

SAID = ("person", "contrast", "spacing", "chosen")  # of a row, which rows of before do not all say
VERSION = 3  # of the figures: a change of their definition scores anew

State = Literal["done", "failed"]


class Score(Settings):
    """A row: one scan by one method.

    Attributes:
        scan: key of the truth.
        degradation: name of the one of the protocol's by which the scan was made; empty of a protocol with one.
        person: label of the person; empty where it is not known, and each scan counts as another's.
        contrast: BIDS suffix of the scan, with its contrast agent where it tells one; empty where it has none.
        spacing: distance of the scan's slices, mm.
        method: label of the method.
        chosen: name of the method that restored the scan, where ``method`` is a choice among several.
        model: of a learned method; name and version.
        state: done or failed.
        code: of the fault.
        reason: why it failed.
        note: what to know of a row that is done.
        digest: of all that the figures depend on.
        image: path of the restored scan in the output.
        seconds: of restoration, the model's loading included.
        figures: by name.
    """

    scan: str
    degradation: str = ""
    person: str = ""
    contrast: str = ""
    spacing: float | None = None
    method: str
    chosen: str = ""
    model: str = ""
    state: State = "done"
    code: str = ""
    reason: str = ""
    note: str = ""
    digest: str = ""
    image: str = ""
    seconds: float | None = None
    figures: dict[str, float] = {}


# -- one case ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CaseImages:
    """A case in memory: the measured scan, and the truth on the part of its grid that the measured scan covers."""

    measured: Measured
    stored: StoredAs
    truth: Array
    target: Grid


class CaseEvaluation:
    """One case by all candidates; its images are read when the first of them needs them.

    Args:
        settings: of the evaluation.
        case: which.
        scorer: of what needs more than the two images.
        others: cases beside it, of which protocols may want another person's truth.
    """

    def __init__(self, settings: EvaluationSettings, case: Case, scorer: Scorer, others: Sequence[Case] = ()) -> None:
        self.settings, self.case, self.scorer, self.others = settings, case, scorer, others

    @cached_property
    def digests(self) -> tuple[str, str]:
        """sha256 of the measured scan and of the truth."""
        return files.sha256_all(self.case.measured), files.sha256_all(self.case.truth.uris)

    @property
    def protocol(self) -> Protocol:
        """By which the case is scored."""
        return registry.protocol(self.settings.protocol)

    @cached_property
    def grid(self) -> Grid:
        """Of the measured scan."""
        return readers.header(self.case.kind, self.case.measured, self.settings.trust).grid

    @cached_property
    def images(self) -> CaseImages:
        """The case in memory."""
        settings = SimulateSettings(input="", out="", trust=self.settings.trust)
        truth, sharp, _ = simulate.load(self.case.truth, settings)
        image, grid, stored = readers.load(self.case.kind, self.case.measured, self.settings.trust)
        key = field_key(self.settings.seed, self.digests[0])
        box = covered(sharp, grid)
        measured = Measured(image, grid, scan_stats(image), forward_told(self.case, grid), key)
        return CaseImages(measured, stored, np.ascontiguousarray(truth[box.slices]), sharp.crop(box))

    @cached_property
    def other(self) -> Array | None:
        """Another person's truth on the target grid."""
        settings = SimulateSettings(input="", out="", trust=self.settings.trust)
        return other_truth(self.case, self.others, self.images.target, settings)

    @cached_property
    def prepared(self) -> Any:
        """What the scorer wants to know of the truth, once a case."""
        return self.scorer.prepare(self.images.truth, self.images.target)

    def measured(self, candidate: Candidate) -> Measured:
        """The measured scan with what the method takes beside it.

        Raises:
            InputError: for a mask that cannot be read.
        """
        takes, measured = methods()[candidate.method].takes, self.images.measured
        if takes.mask != "none" and self.case.mask:
            mask = mask_on(self.case.mask, measured.grid, measured.forward, self.settings)
            measured = replace(measured, mask=mask)
        return replace(measured, covariates=self.covariates(candidate) or None) if takes.covariates else measured

    def covariates(self, candidate: Candidate) -> dict[str, float | str]:
        """What is known of the person, of what the method asks for."""
        wanted = methods()[candidate.method].takes.covariates
        return {name: value for name, value in self.case.covariates.items() if name in wanted}

    def path(self, candidate: Candidate) -> str:
        """Where the restored scan lies, relative to the output."""
        return f"restored/{candidate.slug}/{self.case.path}.nii.gz"

    def checkpoint(self, candidate: Candidate) -> Checkpoint:
        """Where the state of the restoration is kept, for methods that have one."""
        uri = files.join(self.settings.out, "isovox", "state", candidate.slug, f"{self.case.path}.safetensors")
        return Checkpoint(uri, self.restore_digest(candidate), 60 * self.settings.compute.state_minutes)

    def restore_digest(self, candidate: Candidate) -> str:
        """Of all that a restored scan depends on."""
        tiling = self.settings.tiling.model_dump(mode="json", exclude={"mode"})
        weights = candidate.weights.sha256 if candidate.weights else ""
        masked = self.case.mask is not None and methods()[candidate.method].takes.mask != "none"
        beside = [self.case.mask.sha256 if self.case.mask and masked else "", self.covariates(candidate)]
        more = [*(beside if any(beside) else []), *([candidate.depends_on] if candidate.depends_on else [])]
        more += [f"revision {candidate.revision}"] if candidate.revision != 1 else []
        more += [f"repair {REVISION}", *["evened"] * candidate.build().evens, *["masked"] * masked] if candidate.repair else []
        more += [forward_told(self.case, self.grid).digested()] if self.case.given else []  # else its bytes follow from it
        inputs = [self.digests, candidate.method, candidate.options, weights, tiling, self.settings.seed, __version__]
        return digest_of([*inputs, *more], spaced=True)

    def score_digest(self, candidate: Candidate) -> str:
        """Of all that a row depends on."""
        domain = [candidate.domain.model_dump(mode="json", exclude_none=True)] if candidate.domain.stated else []
        return digest_of(
            [self.restore_digest(candidate), self.scorer.identity, VERSION, *domain, *self.protocol.identity], spaced=True
        )

    @cached_property
    def facts(self) -> Facts:
        """What is known of the measured scan and of how it is restored."""
        measured, metadata = self.images.measured, self.case.metadata()
        return facts_of(
            measured.grid,
            measured.forward,
            voxel_size=max(self.images.target.spacing),
            suffix=self.case.truth.named.get("suffix"),
            agent=self.case.truth.named.get("ce"),
            skull_stripped=metadata.get("SkullStripped"),
            **values_of(measured.stats),
        )


@dataclass(frozen=True)
class Restored:
    """A restored scan, the maps beside it by name, and the seconds that it took."""

    image: Array
    maps: Mapping[str, Array]
    seconds: float


def _restored(evaluation: CaseEvaluation, candidate: Candidate, checkpoint: Checkpoint) -> tuple[Array, dict[str, Array]]:
    """The restored scan and its maps; a method with state goes on from the one that was kept."""
    method, images = candidate.build(), evaluation.images
    driver = Driver(method, checkpoint) if isinstance(method, IterativeMethod) else None
    image, *maps = restored_by(method, evaluation.measured(candidate), images.target, evaluation.settings.tiling, driver)
    if candidate.repair and not unrepaired(method, images.measured.forward):
        image = repaired(image, images.target, explained_by(method, images.measured))
    return image, dict(zip(method.maps, maps, strict=True))


def _probed(evaluation: CaseEvaluation, candidate: Candidate, image: Array) -> Mapping[str, float]:
    """The figures of the protocol that need more than the two images."""
    if evaluation.protocol.probe is None:
        return {}
    images = evaluation.images
    both = (evaluation.measured(candidate), image, images.truth, images.target)
    settings, method = evaluation.settings, candidate.build()
    return probed(evaluation.protocol, method, both, settings.tiling, evaluation.other, repaired=candidate.repair)


def _map_uri(uri: str, name: str) -> str:
    """Where a map lies, beside its restored image."""
    return f"{bids.without_extension(uri)}_{name}.nii.gz"


def _kept_scan(uri: str, side: str, digest: str) -> Restored | None:
    """A scan that was restored before; None where there is none of that digest, or it is not whole."""
    try:
        sidecar = files.read_json(side)
        known = {uri: sidecar["SHA256"]} | {_map_uri(uri, name): sha256 for name, sha256 in sidecar.get("Maps", {}).items()}
        if sidecar["Digest"] != digest or any(files.sha256(each) != sha256 for each, sha256 in known.items()):
            return None
        image, *maps = (nifti.load(each)[0] for each in known)
        return Restored(image, dict(zip(sidecar.get("Maps", {}), maps, strict=True)), float(sidecar["Seconds"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def restored_scan(evaluation: CaseEvaluation, candidate: Candidate) -> Restored:
    """A restored scan; from the output where it is there already.

    Raises:
        RestorationError: the method has no finite answer.
    """
    uri, digest = files.join(evaluation.settings.out, evaluation.path(candidate)), evaluation.restore_digest(candidate)
    side = bids.without_extension(uri) + ".json"
    if (restored := _kept_scan(uri, side, digest)) is not None:
        return restored
    _ = evaluation.images  # read before the clock starts
    start, checkpoint = time.monotonic(), evaluation.checkpoint(candidate)
    image, maps = _restored(evaluation, candidate, checkpoint)
    seconds = round(checkpoint.before + time.monotonic() - start, 3)
    images = evaluation.images
    sha256 = nifti.save(uri, image, images.target, images.stored)
    beside = {name: nifti.save(_map_uri(uri, name), each, images.target, images.stored) for name, each in maps.items()}
    facts = {"Method": candidate.method, "Model": candidate.model, "Options": candidate.options, "Seconds": seconds}
    files.write_json(side, facts | {"Digest": digest, "SHA256": sha256} | ({"Maps": beside} if beside else {}))
    checkpoint.remove()
    return Restored(image, maps, seconds)


def _check_unseen(evaluation: CaseEvaluation, candidate: Candidate) -> str:
    """Refuse a scan that the model was trained on; a note where it chose the model's weights."""
    trained, case, trust = candidate.trained, evaluation.case, evaluation.settings.trust
    part = trained.part(case, evaluation.digests[1], lambda: case.voxels(trust)) if trained else ""
    if part == "train":
        wanted, got = "a person that the model was not trained on", f"{case.person}, in the train part of {candidate.model}"
        raise InputError("trained-on", wanted, got, "leave the person out (--participant-label), or name another model")
    return f"{case.person} was in the {part} part of the training" if part else ""


def _kept_score(uri: str, out: str, digest: str) -> Score | None:
    """A row that was scored before; None where there is none of that digest, or its image is gone."""
    try:
        stored = Score.model_validate(files.read_json(uri))
    except (FileNotFoundError, ValueError):
        return None
    return stored if stored.digest == digest and stored.state == "done" and files.exists(files.join(out, stored.image)) else None


def _row(case: Case, candidate: Candidate) -> Score:
    contrast = look_of(case.truth.named.get("suffix", ""), case.truth.named.get("ce"))
    named = {"scan": case.scan, "degradation": case.degradation, "person": case.person, "contrast": contrast}
    return Score(**named, method=candidate.label, model=candidate.model)


def _score(evaluation: CaseEvaluation, candidate: Candidate, why: str) -> Score:
    known = {"spacing": (spacing := max(evaluation.grid.spacing)), "chosen": candidate.method if why else ""}
    row = _row(evaluation.case, candidate).model_copy(update=known)
    note = "; ".join(filter(None, [why, _check_unseen(evaluation, candidate)]))
    digest = evaluation.score_digest(candidate)
    uri = files.join(evaluation.settings.out, "scores", candidate.slug, f"{evaluation.case.path}.json")
    if (stored := _kept_score(uri, evaluation.settings.out, digest)) is not None:
        return stored.model_copy(update={name: getattr(row, name) for name in SAID})
    scan = restored_scan(evaluation, candidate)
    outside = disagreements(candidate.domain, evaluation.facts) if candidate.domain.stated else []
    beyond = f"outside what {candidate.method} is for: {'; '.join(outside)}" if outside else ""
    images = evaluation.images
    note = "; ".join(filter(None, [note, beyond, not_sharp(images.target)]))
    scorer, grids = evaluation.scorer, (images.target, images.measured.grid)
    figures = evaluation.protocol.score(scan.image, images.truth, grids, scorer.perceptual)
    figures |= scorer.score(scan.image, images.target, evaluation.prepared)
    if (half_width := scan.maps.get(UNCERTAINTY)) is not None:
        stretched = candidate.build().calibration.at(spacing)
        figures |= interval_scores(scan.image, images.truth, half_width, stretched) | {"spacing": spacing}
    figures |= _probed(evaluation, candidate, scan.image)
    done = {"digest": digest, "image": evaluation.path(candidate), "seconds": scan.seconds, "figures": figures, "note": note}
    row = row.model_copy(update=done)
    files.write_atomic(uri, (row.model_dump_json(indent=2) + "\n").encode())
    return row


def score_one(evaluation: CaseEvaluation, candidate: Candidate) -> Score:
    """Restore and score a case by one method; what goes wrong is told, not raised."""
    row = _row(evaluation.case, candidate).model_copy(update={"state": "failed"})
    case = evaluation.case
    if why := case.reason or candidate.reason:
        return row.model_copy(update={"code": why.partition(":")[0], "reason": why})
    try:
        candidate, why = candidate.chosen(evaluation.facts) if candidate.choices else (candidate, "")
        if lacking := unmasked(case, methods()[candidate.method].takes):
            return row.model_copy(update={"code": lacking.partition(":")[0], "reason": lacking})
        return _score(evaluation, candidate, why)
    except Exception as error:  # noqa: BLE001 - a method of many that breaks is a row, not the end
        return row.model_copy(update={"code": code(error), "reason": reason(error)})


@dataclass(frozen=True)
class Evaluation:
    """All that a worker must know to score any case.

    Attributes:
        settings: of the evaluation.
        cases: from ``find_cases``.
        candidates: methods with unique labels.
        scoring: what is scored beside the figures of the two images.
    """

    settings: EvaluationSettings
    cases: tuple[Case, ...]
    candidates: tuple[Candidate, ...]
    scoring: Scoring


def score_case(piece: Piece) -> list[Score]:
    """What a worker runs: the case of that number by all candidates, one after the other; its images are read once."""
    work = read_work(Evaluation, piece)
    case, others = work.cases[piece.number], work.cases
    evaluation = CaseEvaluation(work.settings, case, scorer_of(work.scoring), others)
    return [score_one(evaluation, candidate) for candidate in work.candidates]


def evaluate(work: Evaluation, tell: Tell, dispatch: Dispatch = serially) -> list[Score]:
    """All cases by all candidates: a row each, in their order.

    Args:
        work: what to do.
        tell: hears of rows as "restored" after each case.
        dispatch: runs the work, one case at a time in a worker; see ``tasks.bounded.in_order``.
    """
    uri = files.join(work.settings.out, "isovox", "evaluation.json")
    pieces = write_work(uri, work, len(work.cases))
    workers, each = work.settings.compute.workers, len(work.candidates)
    outcomes = in_order(dispatch, score_case, pieces, workers=workers, on_done=lambda _: tell(Advanced("restored", each)))
    files.remove(uri)
    both = zip(work.cases, outcomes, strict=True)
    return [row for case, rows in both for row in (_lost(work, case, rows) if isinstance(rows, BaseException) else rows)]


def _lost(work: Evaluation, case: Case, error: BaseException) -> list[Score]:
    """The rows of a case whose worker did not come back."""
    rows = [_row(case, candidate) for candidate in work.candidates]
    return [row.model_copy(update={"state": "failed", "code": code(error), "reason": reason(error)}) for row in rows]
