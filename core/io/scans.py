"""A scan that was found, or one that is refused, and which of them a run is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from core.errors import InputError, UsageError, listed
from core.io.derivatives import safe_key
from core.io.names import Entities, entities_of, without_extension
from core.io.tables import read_table
from core.settings.scans import Selection


@dataclass(frozen=True)
class Source:
    """A scan that was found.

    Attributes:
        key: unique name in its cohort, safe as a file name ("sub-01_ses-1_T1w").
        uris: its file, the two files of a pair, or the folders or files of a DICOM series.
        kind: name of its reader.
        stem: path of its restored image in the output, without extension ("sub-01/anat/sub-01_desc-restored_T1w").
        group: scans of one person and session (of one folder, where there are no entities) have the same.
        relative: its path in the input; only the name where it lies elsewhere.
        entities: BIDS entities by their short names, with "suffix" and "datatype".
        sidecar: allow-listed metadata of its JSON sidecars, inherited as BIDS says.
        reference: the truth that its table names.
        evidence: identifiers that scans of one person share; kept in memory alone.
        simulation: what the sidecar of a simulated scan tells of how it was made (see ``core.operators.sidecar``).
        mask: beside it, that its table names.
        withheld: words of its DICOM series' description that were left out, as they may name a person.
    """

    key: str
    uris: tuple[str, ...]
    kind: str
    stem: str
    group: str
    relative: str
    entities: Entities = field(default_factory=dict)
    sidecar: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    evidence: tuple[str, ...] = ()
    simulation: dict[str, Any] = field(default_factory=dict)
    mask: str | None = None
    withheld: int = 0

    @property
    def person(self) -> str:
        """The label of the person in its output's name, which no other person of the cohort has."""
        return self.stem.partition("/")[0].removeprefix("sub-")

    @property
    def named(self) -> Entities:
        """Entities of its name in the output, which tells its contrast and agent whatever its own name looks like."""
        return entities_of(self.stem)

    @property
    def participant(self) -> str:
        """The label by which a participants.tsv knows the person: that of the scan's own name, else of its output's."""
        return self.entities.get("sub") or self.person


@dataclass(frozen=True)
class Refused:
    """A scan that was found but cannot be taken, with its named reason."""

    key: str
    uri: str
    code: str
    reason: str


def simulation(sidecar: dict[str, Any]) -> dict[str, Any]:
    """What a sidecar tells of a simulation by isovox, and nothing else of it; empty where it tells none."""
    own = sidecar.get("Isovox")
    simulated = {key: own[key] for key in ("Degradation", "Axis") if key in own} if isinstance(own, dict) else {}
    return {"Isovox": simulated} if "Degradation" in simulated else {}


def refuse(key: str, uri: str, error: InputError) -> Refused:
    """The refusal of a scan."""
    return Refused(safe_key(key), uri, error.code, str(error))


# -- selection --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """What a selection goes by, of an image.

    Attributes:
        path: relative to the input.
        said: labels by entity, without prefixes; of a person several where the folder and the name disagree.
        names: what plans, pages and tables of ratings call it, alone and fused with others of its person.
    """

    path: str
    said: dict[str, set[str]]
    names: tuple[str, ...] = ()


def candidate(path: str, entities: Entities, stem: str = "", names: tuple[str, ...] = ()) -> Candidate:
    """What a selection goes by.

    Args:
        path: relative to the input.
        entities: of the name, or of a line in a table.
        stem: path of the restored image in the output, of a scan whose own name is not BIDS: its person and contrast count too.
        names: of the scan in plans and pages.
    """
    labels = {name: {value} for name, value in entities.items()}
    top = path.partition("/")[0]
    if top.startswith("sub-") and top != path:
        labels.setdefault("sub", set()).add(top.removeprefix("sub-"))
    if stem:
        labels.setdefault("sub", set()).add(stem.partition("/")[0].removeprefix("sub-"))
        labels.setdefault("suffix", set()).add(stem.rpartition("_")[2])
    return Candidate(path, labels, tuple(filter(None, names)))


def is_asked(suffix: str | None, selection: Selection) -> bool:
    """Whether a selection names a suffix, in capitals or not."""
    return suffix is not None and suffix.casefold() in {wanted.casefold() for wanted in selection.suffix}


OPTIONS = {  # of the command line: the entity, and its prefix in BIDS
    "--participant-label": ("participant_label", "sub", "sub-"),
    "--session-label": ("session_label", "ses", "ses-"),
    "--suffix": ("suffix", "suffix", ""),
    "--acquisition": ("acquisition", "acq", "acq-"),
}


class Filters:
    """The filters of a selection, one after another; each tells how many it kept.

    Args:
        selection: which scans are asked for.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self.told: list[str] = []

    def keep(self, scans: Sequence[Candidate]) -> dict[str, str]:
        """Why paths are left out: "unselected" or "excluded"; those that are kept are not named.

        Raises:
            UsageError: participant-missing, label-missing, no-scans: a filter that keeps nothing, or a label that no scan has.
        """
        left: dict[str, str] = {}
        remaining = list(scans)
        for option, (name, entity, prefix) in OPTIONS.items():
            wanted = {label.removeprefix(prefix) for label in getattr(self._selection, name)}
            if wanted and scans:
                _check_labels(option, entity, wanted, {label for scan in scans for label in scan.said.get(entity, ())})
                remaining = self._apply(option, sorted(wanted), remaining, left, _has(entity, wanted))
        if self._selection.exclude:
            patterns = patterns_of(self._selection.exclude)
            for pattern in self._selection.exclude:  # what tables name may be gone
                if scans and not pattern.lower().endswith(TABLES) and not any(is_excluded(scan, [pattern]) for scan in scans):
                    got = f"no scan that {pattern!r} names"
                    raise UsageError("label-missing", "something to exclude", got, "check --exclude against isovox plan --files")
            named = patterns or self._selection.exclude  # of a table that rejects nothing, its name
            remaining = self._apply("--exclude", named, remaining, left, lambda scan: not is_excluded(scan, patterns))
        return left

    def _apply(
        self, option: str, words: Iterable[str], scans: list[Candidate], left: dict[str, str], test: Callable[[Candidate], bool]
    ) -> list[Candidate]:
        passed = [scan for scan in scans if test(scan)]
        left |= {scan.path: "excluded" if option == "--exclude" else "unselected" for scan in scans if not test(scan)}
        self.told.append(f"{option} {' '.join(words)}: kept {len(passed)} of {len(scans)}")
        if scans and not passed:
            got = f"none of {len(scans)} scans ({'; '.join(self.told)})"
            raise UsageError("no-scans", f"scans that {option} keeps", got, "check the path, the labels and the suffixes")
        return passed


def _plain(entity: str, labels: Iterable[str]) -> dict[str, str]:
    """Labels by what they are compared by: suffixes without regard to capitals."""
    return {label.casefold() if entity == "suffix" else label: label for label in sorted(labels)}


def _has(entity: str, wanted: set[str]) -> Callable[[Candidate], bool]:
    asked = _plain(entity, wanted).keys()
    return lambda scan: bool(_plain(entity, scan.said.get(entity, ())).keys() & asked)


def _check_labels(option: str, entity: str, wanted: set[str], there: set[str]) -> None:
    known = _plain(entity, there)
    if gone := [label for label in sorted(wanted) if not _plain(entity, [label]).keys() & known.keys()]:
        code = "participant-missing" if option == "--participant-label" else "label-missing"
        what = "participants of the dataset" if code == "participant-missing" else "labels that scans have"
        raise UsageError(code, what, ", ".join(gone), f"check {option}; there are {listed(sorted(known.values()))}")


TABLES = (".tsv", ".csv", ".txt")  # of which those without tabs are refused by name
RATINGS = ("rating", "quality", "verdict", "decision")
BAD = {"exclude", "excluded", "bad", "fail", "failed", "reject", "rejected", "poor", "unusable", "0"}
NAMED = ("path", "scan", "participant_id")  # columns by which a table names scans, the first that it has


def patterns_of(words: Iterable[str]) -> list[str]:
    """What is to be excluded: the words themselves, and what the tables (.tsv) among them name.

    A table names scans in its column path, scan or participant_id; where it has a column rating, quality, verdict or decision,
    it names those that are rated bad, fail, reject, exclude, poor, unusable or 0.

    Raises:
        UsageError: exclude-table, and what ``read_table`` raises.
    """
    patterns: list[str] = []
    for word in words:
        if not word.lower().endswith(TABLES):
            patterns.append(word)
            continue
        try:
            head, rows = read_table(word)
        except FileNotFoundError as error:
            raise UsageError("exclude-table", "a table of scans to exclude", f"nothing at {word}", "check the path") from error
        except PermissionError as error:
            got = f"no permission to read {word}"
            raise UsageError("exclude-table", "a table of scans to exclude", got, "check its permissions") from error
        named = next((name for name in NAMED if name in head), "")
        if not named:
            remedy = "name its column of scans path, scan or participant_id"
            raise UsageError("exclude-table", f"a column {', '.join(NAMED)}", ", ".join(head), remedy)
        rated = next((name for name in RATINGS if name in head), "")
        rejected = [row[named] for row in rows.values() if not rated or row.get(rated, "").lower() in BAD]
        patterns += [f"sub-{name.removeprefix('sub-')}" if named == "participant_id" else name for name in rejected if name]
    return patterns


def is_excluded(scan: Candidate, patterns: Iterable[str]) -> bool:
    """Whether a pattern names an image: a path, its beginning, a pattern of one (``*_T2w*``), an entity (``run-02``), its key."""
    for pattern in patterns:
        entity, dash, value = pattern.partition("-")
        if dash and value in scan.said.get(entity, ()):
            return True
        plain = pattern.rstrip("/").removeprefix("./")
        name = scan.path.rpartition("/")[2]
        if without_extension(name) == plain or plain in scan.names:
            return True
        if (
            scan.path == plain
            or scan.path.startswith(f"{plain}/")
            or fnmatchcase(scan.path, pattern)
            or fnmatchcase(name, pattern)
        ):
            return True
    return False
