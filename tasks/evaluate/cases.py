"""The scans that an evaluation is about: each of low resolution with its truth, and who of them a model has seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.digest import digest_of_voxels
from core.engine.plan import MaskImage
from core.errors import InputError, UsageError
from core.geometry.grid import Box, Grid
from core.io import bids, files, readers, simulated
from core.io.bids import Refused, Source
from core.io.derivatives import allowed
from core.io.scans import simulation
from core.io.validation import Trust
from core.methods import registry
from core.models.bundle import read_split
from core.models.card import Card, read_card, read_text
from core.operators.forward_model import ForwardModel
from core.operators.sidecar import read_forward, simulated_by
from core.settings.evaluate import EvaluationSettings
from core.settings.simulate import SimulateSettings
from tasks.bounded import Dispatch, serially
from tasks.evaluate import simulate
from tasks.events import Advanced, Tell, nobody

THICK = 2.0  # of a truth's finest voxel size: from there on its coarsest is that of thick slices


def not_sharp(truth: Grid) -> str:
    """That a truth is in thick slices itself, and so tells little of how methods restore such slices; else empty."""
    if max(truth.spacing) < THICK * min(truth.spacing):
        return ""
    return f"a truth in voxels of {' x '.join(f'{size:.3g}' for size in truth.spacing)} mm is not sharp itself"


@dataclass(frozen=True)
class Case:
    """A scan of low resolution and its truth.

    Attributes:
        scan: key of the truth in its cohort.
        person: label of the person.
        measured: URIs of the scan of low resolution; none where there is none.
        kind: name of its reader.
        truth: the sharp scan.
        reason: why it cannot be scored; empty where it can.
        degradation: name of the one of the protocol's by which it was made; "" of a protocol with one, and where none fits.
        given: whether the cohort holds the measured scan; else its truth.
        mask: beside the scan that the cohort holds.
        mask_fault: why the mask cannot be had; empty where it can, or there is none.
        covariates: of the person, those that methods ask for and that are known.
        sidecars: metadata of a scan that the cohort holds, inherited as BIDS says.
    """

    scan: str
    person: str
    measured: tuple[str, ...]
    truth: Source
    reason: str = ""
    kind: str = "nifti"
    degradation: str = ""
    given: bool = False
    mask: MaskImage | None = None
    mask_fault: str = ""
    covariates: dict[str, float | str] = field(default_factory=dict)
    sidecars: dict[str, Any] | None = None

    @property
    def path(self) -> str:
        """Its own, below the folder of a method."""
        return f"{self.degradation}/{self.scan}" if self.degradation else self.scan

    def metadata(self) -> dict[str, Any]:
        """What the scan's format, or its sidecars, say of it, as a run takes it."""
        if self.sidecars is not None:
            return self.sidecars
        sidecar = readers.metadata(self.kind, self.measured)
        return allowed(sidecar) | simulation(sidecar)

    def voxels(self, trust: Trust | None) -> str:
        """The digest of the truth's voxels, which stays where its file is packed anew."""
        return digest_of_voxels(readers.load(self.truth.kind, self.truth.uris, trust)[0])


def truth_of(source: Source, root: str) -> str | None:
    """Where the truth of a scan lies, as its row of a table or its sidecar says; None of a sharp one."""
    return source.reference or (simulated.truth_of(source.uris[0], root) if source.kind != "dicom" else None)


def find_cases(settings: EvaluationSettings, tell: Tell = nobody, dispatch: Dispatch = serially) -> list[Case]:
    """The scans to score; a cohort without truths is degraded first, into ``simulated`` of the output.

    Args:
        settings: of the evaluation.
        tell: hears of scans as they are found or degraded.
        dispatch: runs the work; see ``tasks.bounded.in_order``.

    Raises:
        UsageError: no such cohort, or nothing that fits the selection.
    """
    scans = counted(settings, bids.discover(settings.cohort, settings.selection))
    truths = {scan.key: truth_of(scan, settings.cohort) for scan in scans if isinstance(scan, Source)}
    if any(truths.values()):
        tell(Advanced("scans", len(scans)))
        return [_named(_given(scan, truths.get(scan.key)), settings) for scan in scans]
    keys = {scan.key for scan in scans}
    return [case for name in settings.degradations for case in _simulated(settings, name, keys, tell, dispatch)]


def counted(settings: EvaluationSettings, scans: Sequence[Source | Refused]) -> list[Source | Refused]:
    """The scans that count by the protocol, and of its fold where one is asked for; what was refused is told all the same.

    Raises:
        UsageError: none counts, or a fold that there is not.
    """
    protocol = registry.protocol(settings.protocol)
    there = [scan for scan in scans if isinstance(scan, Source) and protocol.takes(scan.entities)]
    persons = protocol.fold([scan.person for scan in there], settings.fold) if settings.fold else None
    counted = {scan.key for scan in there if persons is None or scan.person in persons}
    if not counted and any(isinstance(scan, Source) for scan in scans):
        wanted, got = f"scans that count by the protocol {protocol.name}", f"none of {len(scans)}"
        raise UsageError("no-cases", wanted, got, "select other scans, or choose another protocol")
    return [scan for scan in scans if isinstance(scan, Refused) or scan.key in counted]


def _given(scan: Source | Refused, truth: str | None) -> Case:
    """The case of a scan that was degraded before."""
    if isinstance(scan, Refused):
        return _lost(scan.key, scan.reason)
    try:
        image = _image(truth)
    except InputError as error:
        return _lost(scan.key, str(error), scan.person)
    truth_source = Source(scan.key, image.uris, image.kind, scan.stem, scan.group, scan.relative, scan.entities)
    sidecars = scan.sidecar | scan.simulation
    return Case(scan.key, scan.person, scan.uris, truth_source, kind=scan.kind, given=True, sidecars=sidecars)


def _named(case: Case, settings: EvaluationSettings) -> Case:
    """The case with the name of the protocol's degradation that its sidecar tells of, where the protocol has several."""
    known, made = settings.degradations, None
    if len(known) > 1 and case.measured:
        with suppress(InputError):  # of what its sidecar tells its rows will say
            made = simulated_by(case.metadata())
    names = [name for name, how in known.items() if made and how.forward == made.model_copy(update={"axis": None})]
    return replace(case, degradation=names[0]) if names else case


def _image(truth: str | None) -> readers.Image:
    """The image that a truth is.

    Raises:
        InputError: truth-missing, file-missing, and as ``readers.image_at``.
    """
    if truth is None:
        raise InputError("truth-missing", "a sidecar or a table that names the truth", "none", "simulate the scan anew")
    if not files.exists(truth):
        raise InputError(
            "file-missing", "a truth", f"none at {files.name_of(truth)}", "check its path, or simulate the scan anew"
        )
    return readers.image_at(truth)


def _lost(key: str, reason: str, person: str = "") -> Case:
    return Case(key, person or key, (), Source(key, ("",), "nifti", key, key, key), reason)


def simulation_of(settings: EvaluationSettings, name: str) -> SimulateSettings:
    """How the cohort is degraded in the way of that name, and where to."""
    out = files.join(settings.out, "simulated", *([name] if name else []))
    how = {"input": settings.cohort, "out": out, "degradation": settings.degradations[name]}
    same = ("axis", "labels", "selection", "trust", "compute", "seed")
    return SimulateSettings.model_validate(how | {name: getattr(settings, name) for name in same})


def _simulated(settings: EvaluationSettings, name: str, keys: set[str], tell: Tell, dispatch: Dispatch) -> list[Case]:
    """The cases of these keys, degraded in the way of that name."""
    wanted = simulation_of(settings, name)
    job, scans = simulate.find(wanted, keys)
    sources = {scan.key: scan for scan in scans if isinstance(scan, Source)}
    cases = []
    for record in simulate.simulate(wanted, tell, dispatch, keys):
        if record.state == "failed":
            cases.append(_lost(record.key, record.reason))
        else:
            source = sources[record.key]
            cases.append(Case(record.key, source.person, (files.join(wanted.out, f"{job.stems[record.key]}.nii.gz"),), source))
    return [replace(case, degradation=name) for case in cases]


def covered(truth: Grid, measured: Grid) -> Box:
    """The voxels of ``truth`` whose centres lie in the field of view of ``measured``, a grid parallel to it.

    Raises:
        GridError: for grids that are not parallel.
        InputError: truth-elsewhere, where they have no voxel in common.
    """
    start, stop = [], []
    for n, m, (scale, offset) in zip(truth.shape, measured.shape, truth.index_map(measured), strict=True):
        start.append(max(0, int(np.ceil(offset - scale / 2 - 1e-3))))
        stop.append(min(n, int(np.floor(offset + scale * (m - 0.5) + 1e-3)) + 1))
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        raise InputError("truth-elsewhere", "a truth where the scan is", "no voxel in common", "check the two files' headers")
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def forward_told(case: Case, grid: Grid) -> ForwardModel:
    """How a scan of low resolution came about, as its sidecar says.

    Args:
        case: of the scan.
        grid: of the scan.

    Raises:
        InputError: degradation-unknown.
    """
    return read_forward(case.metadata(), grid)


def degradation_told(case: Case) -> str | None:
    """In words, how a scan of low resolution was simulated, as its sidecar says; None where it does not."""
    forward = simulated_by(case.metadata())
    return forward.describe() if forward else None


# -- whom a model has seen ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """What a model has seen: persons by part ("train", "validation"), the cohort's name, and files and voxels by their digests.

    Models of before know no voxels: of them a scan that was packed anew since is a stranger.
    """

    people: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cohort: str = ""
    sha256: frozenset[str] = frozenset()
    voxels: frozenset[str] = frozenset()

    def part(self, case: Case, digest: str, voxels: Callable[[], str]) -> str:
        """In which part of the training a scan was; empty where in none.

        Args:
            case: whose truth it is.
            digest: sha256 of the truth's files.
            voxels: gives the digest of the truth's voxels, which is asked for only where it matters.
        """
        if digest in self.sha256 or (self.voxels and voxels() in self.voxels):
            return "train"
        elsewhere = self.cohort and self.cohort not in _absolute(case.truth.uris[0]).split("/")
        here = not (self.sha256 or elsewhere)  # a person of another cohort may bear the same label
        return next((part for part, names in self.people.items() if here and part != "test" and case.person in names), "")


def _absolute(uri: str) -> str:
    return uri if files.is_remote(uri) else str(Path(uri).absolute())


def trained_of(folder: str) -> Trained:
    """What a model's folder says of its training: ``split.json``, else its card, else the lines of a card of before.

    Raises:
        WeightsError: split-unreadable, card-unreadable.
    """
    if (split := read_split(folder)) is not None:
        people = {part: tuple(map(str, names)) for part, names in split.get("people", split).items() if isinstance(names, list)}
        files_seen, voxels_seen = (frozenset(dict(split.get(name, {})).values()) for name in ("sha256", "voxels"))
        return Trained(people, str(split.get("cohort", "")), files_seen, voxels_seen)
    return _by_card(card) if (card := read_card(folder)) is not None else _by_text(read_text(folder))


def _by_card(card: Card) -> Trained:
    """What a card says; of several cohorts, persons of any of them, wherever they lie."""
    parts = {part for data in card.data for part in data.persons}
    people = {part: tuple(name for data in card.data for name in data.persons.get(part, ())) for part in sorted(parts)}
    return Trained(people, card.data[0].name if len(card.data) == 1 else "")


def _by_text(card: str) -> Trained:
    parts = re.findall(r"^- (train|validation): (.+)$", card, re.MULTILINE)
    cohort = re.search(r"^Cohort `([^`]+)`", card, re.MULTILINE)
    return Trained({part: tuple(names.split(", ")) for part, names in parts}, cohort[1] if cohort else "")
