"""Names of outputs of scans whose own names are not BIDS: a person's label, what tells their scans apart, and a contrast.

A name is a function of the input alone, not of what was selected of it. Words that say how a scan was made (``tse``, ``sag``)
go to ``acq-``, words that say its contrast to the suffix, those of a contrast agent to ``ce-``, all others before them to the
label of the person. Two persons never share a label: nothing proves that files of like names are one person's, but their folder,
or the study of DICOM headers. What would share a name all the same is numbered (``run-``); labels of persons that would are told
apart by a few hex digits.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.io.derivatives import UNNAMED, derivative_stem
from core.io.names import LABEL, Entities
from core.io.vocabulary import SEQUENCES

SUFFIXES = (
    *("T1w", "T2w", "FLAIR", "PDw", "T2starw", "T2star", "inplaneT1", "inplaneT2", "PDT2", "angio", "UNIT1"),
    *("T1map", "T2map", "R1map", "R2map", "PDmap"),
)
KEPT = ("ses", "acq", "ce", "rec", "run", "echo", "inv", "chunk")  # entities of a name that its output keeps
COUNTED = {"run", "echo", "inv", "chunk"}  # whose labels are numbers
PLANES = {*("ax", "axial", "tra", "trans", "transverse", "cor", "coronal", "sag", "sagittal", "obl", "oblique", "iso")}
MADE = (
    PLANES
    | set(SEQUENCES.split())
    | {  # words that tell how a scan was made
        *(
            "pre",
            "post",
            "gd",
            "gado",
            "ce",
            "contrast",
            "thick",
            "thin",
            "lr",
            "hr",
            "fs",
            "fatsat",
            "dark",
            "fluid",
            "darkfluid",
        ),
        *("tirm", "weighted", "brain", "head", "cube", "bravo", "t1c", "t1ce", "t1gd", "dwi", "adc", "flash"),
    }
)
PLACES = {  # words of folders and names that tell nothing
    *("dicom", "dicoms", "dcm", "nifti", "nii", "anat", "scan", "scans", "series", "study", "resources", "files", "data", "raw"),
    *("image", "images", "img", "mri", "mr", "sub", "ses", "original", "orig", "export"),
}
AROUND = r"(3d|2d|ax|tra|sag|cor)?"
CONTRASTS = (  # by the first that all words agree on; T1-weighted FLAIR is T1w, T2-weighted FLAIR is FLAIR
    ("T2starw", r"t2(star|s)w?"),
    ("FLAIR", rf"{AROUND}flair{AROUND}|darkfluid"),
    ("T1w", rf"{AROUND}t1(w|wi)?(c|ce|gd)?(se|tse|fse|ir)?{AROUND}|mprage|memprage|bravo"),
    ("T2w", rf"{AROUND}t2(w|wi)?(se|tse|fse)?{AROUND}"),
    ("PDw", rf"{AROUND}pd(w|wi)?(se|tse|fse)?{AROUND}"),
    ("angio", r"tof|mra|angio"),
)
PURE = re.compile(r"(t1|t2|pd)(w|wi)?|flair|t2(star|s)w?|darkfluid|angio")  # words that say no more than the suffix
GADOLINIUM = re.compile(rf"(post)?gd|gado|gadolinium|{AROUND}t1(w|wi)?gd(se|tse|fse|ir)?{AROUND}")
AGENT = re.compile(rf"ce|(post)?contrast|post|{AROUND}t1(w|wi)?(c|ce)(se|tse|fse|ir)?{AROUND}|{GADOLINIUM.pattern}")
PURE_AGENT = re.compile(r"(t1(w|wi)?)?(c|ce|gd)|gado|gadolinium|contrast|post(gd|contrast)?")  # words that say no more than ce-
WITHOUT = re.compile(r"(?<![^\W_])(w/?o|without|non?|pre)[\W_]+(contrast|gadolinium|gado|gd|ce)(?![^\W_])", re.IGNORECASE)
PLUS = re.compile(r"(?<![^\W_])c\+|\+ ?c(?![^\W_])", re.IGNORECASE)  # "T1 +C", "T1 C+"
NUMBER = re.compile(r"\d{1,3}(mm)?|p\d")
WORD = re.compile(r"[^\W_]+")
SUB = re.compile(r"sub(?=\d)", re.IGNORECASE)  # of "sub05"; "subject05" and "subA" are words
HEX = 6
LONGEST = 40  # characters of a label
Person = tuple[tuple[str, ...], Hashable]  # the words of a label, and what else tells persons apart


@dataclass(frozen=True)
class Unnamed:
    """A scan without a BIDS name.

    Attributes:
        path: that names it in the input, without extension.
        entities: that its name or its table tells.
        evidence: identifiers that scans of one person share.
        description: of its DICOM series, made safe.
    """

    path: str
    entities: Entities
    evidence: tuple[str, ...] = ()
    description: str = ""


def words_of(text: str) -> list[str]:
    """The words of a name in ASCII letters and digits; "pre" for what says "without contrast", "ce" for "+C"."""
    plain = unicodedata.normalize("NFKD", PLUS.sub(" ce ", WITHOUT.sub(" pre ", text)))
    ascii_words = [word.encode("ascii", "ignore").decode() for word in WORD.findall(plain)]
    return [word for word in ascii_words if word]


def _is_made(word: str) -> bool:
    return word.lower() in MADE or _contrast_of(word) != "" or AGENT.fullmatch(word.lower()) is not None


def _contrast_of(word: str) -> str:
    return next((suffix for suffix, pattern in CONTRASTS if re.fullmatch(pattern, word.lower())), "")


def safe_description(text: str) -> str:
    """The words of a series' description that say how a scan was made; all others may name a person, and are left out."""
    return " ".join(word for word in words_of(text) if _is_made(word) or NUMBER.fullmatch(word.lower()))


def suffix_of(words: Sequence[str]) -> str:
    """The BIDS suffix of the contrast that words tell; "MRI" where they tell none, or several."""
    lower = {word.lower() for word in words}
    exact = [suffix for suffix in SUFFIXES if suffix.lower() in lower]
    if len(exact) == 1 and not lower & {"t1", "t2"}:
        return exact[0]
    named = {suffix for word in words if (suffix := _contrast_of(word))} | ({"FLAIR"} if {"dark", "fluid"} <= lower else set())
    if "FLAIR" in named and named <= {"FLAIR", "T1w", "T2w"}:
        return "T1w" if named == {"FLAIR", "T1w"} else "FLAIR"
    if "angio" in named:
        return "angio"
    return named.pop() if len(named) == 1 else UNNAMED


def _without_entities(name: str, entities: Entities) -> str:
    """A name without the entities and the suffix that were read of it."""
    parts = [part for part in name.split("_") if part.partition("-")[0] not in entities or "-" not in part]
    return "_".join(part for part in parts if part not in SUFFIXES or part != entities.get("suffix"))


def _split(name: str) -> tuple[list[str], list[str]]:
    """The words of a name before the first that says how a scan was made, and the others."""
    words = words_of(name)
    first = next((n for n, word in enumerate(words) if _is_made(word)), len(words))
    return [word for word in words[:first] if word.lower() not in PLACES], words[first:]


def _person_of_folders(folders: Sequence[str]) -> list[str]:
    words = [word for folder in folders for word in words_of(folder)]
    return [word for word in words if word.lower() not in PLACES and not _is_made(word)]


def _person_words(scan: Unnamed) -> tuple[str, ...]:
    *folders, name = scan.path.split("/")
    person, own = _person_of_folders(folders), _split(_without_entities(name, scan.entities))[0]
    return (*person, *(own if person[len(person) - len(own) :] != own else ()))


def _studies(scans: Sequence[Unnamed]) -> dict[str, list[Unnamed]]:
    """The scans that share identifiers with others, by the first path of each such study."""
    owner: dict[str, str] = {}

    def root(uid: str) -> str:
        while owner.setdefault(uid, uid) != uid:
            uid = owner[uid]
        return uid

    for scan in scans:
        for uid in scan.evidence[1:]:
            owner[root(uid)] = root(scan.evidence[0])
    members: dict[str, list[Unnamed]] = defaultdict(list)
    for scan in scans:
        if scan.evidence and "sub" not in scan.entities:
            members[root(scan.evidence[0])].append(scan)
    return {min(scan.path for scan in study): study for study in members.values() if len(study) > 1}


def _shared_folders(study: Sequence[Unnamed]) -> list[str]:
    shared = []
    for level in zip(*(scan.path.split("/")[:-1] for scan in study), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return shared


def _label(words: Sequence[str]) -> str:
    return "".join(words)[:LONGEST]


def _persons(scans: Sequence[Unnamed], root: str) -> dict[str, str]:
    """The label of each scan's person, by the scan's path."""
    identity: dict[str, Person] = {}
    for first, study in _studies(scans).items():
        for scan in study:
            identity[scan.path] = (tuple(_person_of_folders(_shared_folders(study))), first)
    for scan in scans:
        stated = ((scan.entities["sub"],), "stated") if "sub" in scan.entities else None
        identity[scan.path] = stated or identity.get(scan.path) or (_person_words(scan), "")
    fallback = _person_of_folders([root]) or words_of(root) or ["scan"]
    wanted = {person: _label(person[0] or fallback) for person in set(identity.values())}
    same: dict[str, set[Hashable]] = defaultdict(set)
    for person, label in wanted.items():
        same[label.casefold()].add(person)
    labels = {
        person: label if person[1] == "stated" or len(same[label.casefold()]) == 1 else f"{label}{hex_of(repr(person))}"
        for person, label in wanted.items()
    }
    bare = _bare({person: label for person, label in labels.items() if person[1] != "stated"}, labels.values())
    return {path: bare.get(person, labels[person]) for path, person in identity.items()}


def _bare(labels: Mapping[Person, str], every: Iterable[str]) -> dict[Person, str]:
    """Labels without a ``sub`` that stands before a number, where no other person has or would have what is left.

    Args:
        labels: that may lose it, by persons.
        every: label of the cohort.
    """
    short = {person: SUB.sub("", label) for person, label in labels.items() if SUB.match(label)}
    count = Counter(label.casefold() for label in (*every, *short.values()))
    return {person: label for person, label in short.items() if count[label.casefold()] == 1}


def hex_of(text: str) -> str:
    """A few hex digits of a text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:HEX]


def camel(words: Sequence[str]) -> str:
    """Words as one label: t1SagThick."""
    lower = [word.lower() for word in words]
    return "".join(lower[:1] + [word.capitalize() for word in lower[1:]])[:LONGEST]


def _kept(entities: Entities) -> Entities:
    return {
        name: value
        for name in KEPT
        if (value := entities.get(name, "")) and LABEL.fullmatch(value) and (value.isdigit() or name not in COUNTED)
    }


def _told(scan: Unnamed) -> tuple[list[str], list[str]]:
    """Words that say how a scan was made: of its folders, and its own, of its description or else of its name."""
    if described := words_of(scan.description):
        return [], described
    *folders, name = scan.path.split("/")
    made = [word for folder in folders for word in words_of(folder) if _is_made(word)]
    return made, _split(_without_entities(name, scan.entities))[1]


def agent_of(scan: Unnamed) -> str:
    """The contrast agent that a scan's words tell: "gd", or "agent" where they do not name it; empty where they tell none.

    A folder "post" may as well be that of scans after an operation.
    """
    folders, own = _told(scan)
    lower = [word.lower() for word in own] + [word.lower() for word in folders if word.lower() != "post"]
    if any(GADOLINIUM.fullmatch(word) for word in lower):
        return "gd"
    return "agent" if any(AGENT.fullmatch(word) for word in lower) else ""


def _suffix(scan: Unnamed) -> str:
    """The suffix that is stated, but for a name that ends so by chance: a "T1 FLAIR" is no FLAIR."""
    folders, own = _told(scan)
    stated = scan.entities.get("suffix", "")
    by_name = scan.path.endswith(stated) and suffix_of([stated, *own]) == "T1w"
    if stated in SUFFIXES and not (stated == "FLAIR" and by_name):
        return stated
    return suffix_of([stated, *folders, *own] if stated else [*folders, *own])


def _entities(scan: Unnamed, person: str) -> Entities:
    """Of the output, before those that share them are told apart."""
    kept, agent = _kept(scan.entities), agent_of(scan)
    rest = [word for words in _told(scan) for word in words if not PURE.fullmatch(word.lower())]
    if agent:
        kept = {"ce": agent} | kept
        rest = [word for word in rest if not PURE_AGENT.fullmatch(word.lower())]
    if "run" not in kept and not scan.description and rest and rest[-1].isdigit() and len(rest[-1]) < 4:
        kept["run"] = rest.pop()
    if rest and "acq" not in kept:
        kept["acq"] = camel(rest)
    return {"sub": person, "datatype": "anat", "suffix": _suffix(scan)} | kept


def _stem(entities: Mapping[str, str]) -> str:
    return derivative_stem(dict(entities))


def _apart(paths: Sequence[str], named: Mapping[str, Entities]) -> dict[str, Entities]:
    """Scans of one person that would share a name, numbered in the order of their paths."""
    if len(paths) == 1:
        return {paths[0]: named[paths[0]]}
    if any("run" in named[path] for path in paths):
        return {path: named[path] | {"acq": named[path].get("acq", "") + hex_of(path)} for path in paths}
    return {path: named[path] | {"run": str(number)} for number, path in enumerate(sorted(paths), 1)}


def _parted(named: Mapping[str, Entities]) -> dict[str, Entities]:
    same: dict[str, list[str]] = defaultdict(list)
    for path, entities in named.items():
        same[_stem(entities).casefold()].append(path)
    return {path: entities for paths in same.values() for path, entities in _apart(paths, named).items()}


def stems_of(scans: Sequence[Unnamed], root: str) -> dict[str, str]:
    """Paths of the restored images in the output, without extension, by the scans' own paths.

    Args:
        scans: all of an input, with different paths.
        root: name of the input's folder, which names the person of scans that lie in it and tell nothing but how they were made.
    """
    persons = _persons(scans, root)
    named = _parted({scan.path: _entities(scan, persons[scan.path]) for scan in scans})
    stems = {path: _stem(entities) for path, entities in named.items()}
    if len({stem.casefold() for stem in stems.values()}) < len(stems):  # a number that another's own name has already
        stems = {path: _stem(entities) for path, entities in _parted(named).items()}
    return stems
