"""Several methods on scans whose truth is known: restored, scored, and never twice.

    cohort --degrade--> simulated/ --each method--> restored/<method>/ --against the truth--> scores/<method>/<scan>.json

All three steps skip what their digest says is there. What goes wrong with one scan or method is told in its row.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from core import __version__
from core.engine.plan import Weights
from core.engine.restore import Source as Scan
from core.engine.restore import restore_scan
from core.errors import InputError, IsovoxError
from core.evaluation.metrics.restoration import restoration_scores
from core.geometry.grid import Array, Grid
from core.io import bids, files, nifti
from core.io.nifti import StoredAs
from core.methods.base import Measured
from core.methods.registry import build_method
from core.noise import field_key
from core.settings.base import Settings
from core.settings.evaluate import EvaluationSettings
from core.settings.simulate import SimulateSettings
from core.stats import scan_stats
from tasks.evaluate import simulate
from tasks.evaluate.cases import Advance, Case, Trained, acquisition_told, covered
from tasks.evaluate.scorers import Scorer

VERSION = 1  # of the figures: a change of their definition scores anew
THICKNESS = 32  # planes of a block

State = Literal["done", "failed"]


@dataclass(frozen=True)
class Entrant:
    """A method that takes part.

    Attributes:
        label: unique; what tables call it.
        method: its name in ``core.methods``.
        options: its settings by name.
        weights: of a learned method.
        trained: what the model's makers say it was trained on.
        reason: why it cannot take part; empty where it can.
    """

    label: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    weights: Weights | None = None
    trained: Trained | None = None
    reason: str = ""

    @property
    def slug(self) -> str:
        """The label as a folder's name."""
        return re.sub(r"[^0-9A-Za-z.+-]+", "-", self.label).strip("-.")

    @property
    def model(self) -> str:
        """What tables call its weights: name and version, or the folder's name; empty without."""
        if self.weights is None:
            return ""
        return f"{self.weights.name}/{self.weights.version}" if self.weights.version else self.weights.name


class Score(Settings):
    """A row: one scan by one method.

    Attributes:
        scan: key of the truth.
        method: label of the method.
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
    method: str
    model: str = ""
    state: State = "done"
    code: str = ""
    reason: str = ""
    note: str = ""
    digest: str = ""
    image: str = ""
    seconds: float | None = None
    figures: dict[str, float] = {}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


# -- one case ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A case in memory: the measured scan, and the truth on the part of its grid that the measured scan covers."""

    measured: Measured
    stored: StoredAs
    truth: Array
    target: Grid


class Bench:
    """One case under all entrants; its images are read when the first of them needs them.

    Args:
        settings: of the evaluation.
        case: which.
        scorer: of what needs more than the two images.
    """

    def __init__(self, settings: EvaluationSettings, case: Case, scorer: Scorer) -> None:
        self.settings, self.case, self.scorer = settings, case, scorer

    @cached_property
    def digests(self) -> tuple[str, str]:
        """sha256 of the measured scan and of the truth."""
        return files.sha256(self.case.measured), files.sha256_all(self.case.truth.uris)

    @cached_property
    def pair(self) -> Pair:
        """The case in memory."""
        settings = SimulateSettings(input="", out="", trust=self.settings.trust)
        truth, sharp, _ = simulate.load(self.case.truth, settings)
        image, grid, stored = nifti.load(self.case.measured, self.settings.trust)
        key = field_key(self.settings.seed, self.digests[0])
        box = covered(sharp, grid)
        measured = Measured(image, grid, scan_stats(image), acquisition_told(self.case.measured, grid), key)
        return Pair(measured, stored, np.ascontiguousarray(truth[box.slices]), sharp.crop(box))

    @cached_property
    def prepared(self) -> Any:
        """What the scorer wants to know of the truth, once a case."""
        return self.scorer.prepare(self.pair.truth, self.pair.target)

    def path(self, entrant: Entrant) -> str:
        """Where the restored scan lies, relative to the output."""
        return f"restored/{entrant.slug}/{self.case.scan}.nii.gz"

    def restore_digest(self, entrant: Entrant) -> str:
        """Of all that a restored scan depends on."""
        tiling = self.settings.tiling.model_dump(mode="json", exclude={"mode"})
        weights = entrant.weights.sha256 if entrant.weights else ""
        return _digest([self.digests, entrant.method, entrant.options, weights, tiling, self.settings.seed, __version__])

    def score_digest(self, entrant: Entrant) -> str:
        """Of all that a row depends on."""
        return _digest([self.restore_digest(entrant), self.scorer.identity, VERSION])


def _restored(bench: Bench, entrant: Entrant) -> Array:
    pair = bench.pair
    method = build_method(entrant.method, entrant.options, entrant.weights.folder if entrant.weights else None)
    tiling = method.tiling(pair.measured.grid, pair.target, bench.settings.tiling)
    image = np.empty(pair.target.shape, np.float32)
    for box, (array,) in restore_scan(method, [Scan.in_memory(pair.measured)], pair.target, tiling, THICKNESS):
        image[box.slices] = array
    return image


def restored_scan(bench: Bench, entrant: Entrant) -> tuple[Array, float]:
    """A restored scan and the seconds that it took; from the output where it is there already.

    Raises:
        RestorationError: the method has no finite answer.
    """
    uri, digest = files.join(bench.settings.out, bench.path(entrant)), bench.restore_digest(entrant)
    side = bids.without_extension(uri) + ".json"
    try:
        told = files.read_json(side)
        if told["Digest"] == digest and files.sha256(uri) == told["SHA256"]:
            return nifti.load(uri)[0], float(told["Seconds"])
    except (FileNotFoundError, ValueError, KeyError):
        pass
    _ = bench.pair  # read before the clock starts
    start = time.monotonic()
    image = _restored(bench, entrant)
    seconds = round(time.monotonic() - start, 3)
    sha256 = nifti.save(uri, image, bench.pair.target, bench.pair.stored)
    said = {"Method": entrant.method, "Model": entrant.model, "Options": entrant.options, "Seconds": seconds}
    files.write_json(side, said | {"Digest": digest, "SHA256": sha256})
    return image, seconds


def _check_unseen(bench: Bench, entrant: Entrant) -> str:
    """Refuse a scan that the model was trained on; a note where it chose the model's weights."""
    part = entrant.trained.part(bench.case, bench.digests[1]) if entrant.trained else ""
    if part == "train":
        wanted, got = "a person that the model was not trained on", f"{bench.case.person}, in the train part of {entrant.model}"
        raise InputError("trained-on", wanted, got, "leave the person out (--participant-label), or name another model")
    return f"{bench.case.person} was in the {part} part of the training" if part else ""


def _score(bench: Bench, entrant: Entrant) -> Score:
    row = Score(scan=bench.case.scan, method=entrant.label, model=entrant.model)
    note, digest = _check_unseen(bench, entrant), bench.score_digest(entrant)
    uri = files.join(bench.settings.out, "scores", entrant.slug, f"{bench.case.scan}.json")
    try:
        kept = Score.model_validate(files.read_json(uri))
        if kept.digest == digest and kept.state == "done" and files.exists(files.join(bench.settings.out, kept.image)):
            return kept
    except (FileNotFoundError, ValueError):
        pass
    image, seconds = restored_scan(bench, entrant)
    figures = restoration_scores(image, bench.pair.truth) | bench.scorer.score(image, bench.pair.target, bench.prepared)
    done = {"digest": digest, "image": bench.path(entrant), "seconds": seconds, "figures": figures, "note": note}
    row = row.model_copy(update=done)
    files.write_atomic(uri, (row.model_dump_json(indent=2) + "\n").encode())
    return row


def score_one(bench: Bench, entrant: Entrant) -> Score:
    """Restore and score a case by one method; what goes wrong is told, not raised."""
    row = Score(scan=bench.case.scan, method=entrant.label, model=entrant.model, state="failed")
    if reason := bench.case.reason or entrant.reason:
        return row.model_copy(update={"code": reason.partition(":")[0], "reason": reason})
    try:
        return _score(bench, entrant)
    except IsovoxError as error:
        return row.model_copy(update={"code": error.code, "reason": str(error)})
    except Exception as error:  # noqa: BLE001 - a method of many that breaks is a row, not the end
        return row.model_copy(update={"code": type(error).__name__, "reason": f"{type(error).__name__}: {error}"})


def evaluate(
    settings: EvaluationSettings, cases: Sequence[Case], entrants: Sequence[Entrant], scorer: Scorer, advance: Advance
) -> list[Score]:
    """All cases by all entrants, a case after the other: a row each.

    Args:
        settings: of the evaluation.
        cases: from ``find_cases``.
        entrants: methods with unique labels.
        scorer: of what needs more than the two images.
        advance: told ("restored", 1) after each row.
    """
    rows = []
    for case in cases:
        bench = Bench(settings, case, scorer)
        for entrant in entrants:
            rows.append(score_one(bench, entrant))
            advance("restored", 1)
    return rows
