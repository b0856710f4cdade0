"""Names of outputs of scans whose own names are not BIDS: a person's label, what tells their scans apart, and a contrast.

A name is a function of the input alone, not of what was selected of it. Words that say how a scan was made (``tse``, ``sag``)
go to ``acq-``, words that say its contrast to the suffix, those of a contrast agent to ``ce-``, all others before them to the
label of the person. Two persons never share a label: nothing proves that files of like names are one person's, but their folder,
or the study of DICOM headers where folders do not name several; nor that a label is the same person's in two datasets. What would
share a name all the same is numbered (``run-``); labels of persons that would are told apart by a few hex digits.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.io.derivatives import UNNAMED, derivative_stem
from core.io.name_words import (
    AGENT,
    BESIDE,
    COUNTING,
    ECHOES,
    GADOLINIUM,
    NUMBER,
    PLACES,
    PURE,
    PURE_AGENT,
    SERIES,
    WITHIN,
    contrast_of,
    is_made,
    names_nobody,
    words_of,
    written,
)
from core.io.names import LABEL, Entities

SUFFIXES = (
    *("T1w", "T2w", "FLAIR", "PDw", "T2starw", "T2star", "inplaneT1", "inplaneT2", "PDT2", "angio", "UNIT1"),
    *("T1map", "T2map", "R1map", "R2map", "PDmap"),
)
KEPT = ("ses", "acq", "ce", "rec", "run", "echo", "inv", "chunk")  # entities of a name that its output keeps
COUNTED = {"run", "echo", "inv", "chunk"}  # whose labels are numbers
HEX = 6
LONGEST = 40  # characters of a label
SUB = re.compile(r"sub(?=\d)", re.IGNORECASE)  # of "sub05"; "subject05" and "subA" are words


@dataclass(frozen=True)
class Unnamed:
    """A scan without a BIDS name.

    Attributes:
        path: that names it in the input, without extension.
        entities: that its name or its table tells.
        evidence: identifiers that scans of one person share.
        description: of its DICOM series, made safe.
        dataset: what tells its dataset from others of the input (``dataset_of``), where its name states the person.
    """

    path: str
    entities: Entities
    evidence: tuple[str, ...] = ()
    description: str = ""
    dataset: str = ""


@dataclass(frozen=True)
class _Person:
    """Whose scans they are.

    Attributes:
        words: that name the person.
        text: as it is written; persons whose words are the same in ASCII differ in it.
        study: first path of the DICOM study that proves it; empty where none does.
        stated: whether names state the label.
    """

    words: tuple[str, ...]
    text: str = ""
    study: str = ""
    stated: bool = False


def safe_description(text: str) -> str:
    """The words of a series' description that say how a scan was made; all others may name a person, and are left out."""
    return " ".join(word for word in words_of(text) if is_made(word) or word.lower() in BESIDE or NUMBER.fullmatch(word.lower()))


def suffix_of(words: Sequence[str]) -> str:
    """The BIDS suffix of the contrast that words tell; "MRI" where they tell none, or several."""
    lower = {word.lower() for word in words}
    exact = [suffix for suffix in SUFFIXES if suffix.lower() in lower]
    if len(exact) == 1 and not lower & {"t1", "t2"}:
        return exact[0]
    named = {suffix for word in words if (suffix := contrast_of(word))} | ({"FLAIR"} if {"dark", "fluid"} <= lower else set())
    if "FLAIR" in named and named <= {"FLAIR", "T1w", "T2w"}:
        return "T1w" if named == {"FLAIR", "T1w"} else "FLAIR"
    if "angio" in named:
        return "angio"
    if named == {"T2w"} and lower & ECHOES:
        return "T2starw"
    return named.pop() if len(named) == 1 else UNNAMED


def _without_entities(name: str, entities: Entities) -> str:
    """A name without the entities and the suffix that were read of it."""
    parts = [part for part in name.split("_") if part.partition("-")[0] not in entities or "-" not in part]
    return "_".join(part for part in parts if part not in SUFFIXES or part != entities.get("suffix"))


def _split(name: str) -> tuple[list[str], list[str]]:
    """The words of a name before the first that says how a scan was made, and the others."""
    words = words_of(name)
    first = next((n for n, word in enumerate(words) if is_made(word)), len(words))
    return [word for word in words[:first] if word.lower() not in PLACES], words[first:]


def _person_of_folders(folders: Sequence[str]) -> list[str]:
    words = [word for folder in folders for word in words_of(folder)]
    return [word for word in words if word.lower() not in PLACES and not is_made(word)]


def _texts(folders: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text in map(written, folders) if text)


def dataset_of(path: str, label: str, described: Container[str]) -> str:
    """What tells the dataset of a scan from others below one folder: the described folder it lies in, and words of folders.

    What lies in derivatives/, rawdata/ and sourcedata/ is of the dataset around it; folders of sessions and contrasts are none.

    Args:
        path: of the scan in its input.
        label: of the person, as the scan's name states it.
        described: folders that have a description of a dataset, without those of rawdata.
    """
    *above, _ = path.split("/")
    person = f"sub-{label}"
    above = above[: above.index(person)] if person in above else above
    above = above[: above.index("derivatives")] if "derivatives" in above else above
    above = [folder for folder in above if folder not in WITHIN and not folder.startswith("ses-")]
    depth = next((n for n in range(len(above), 0, -1) if "/".join(above[:n]) in described), 0)
    return "/".join((*above[:depth], *_texts(above[depth:])))


def _person_of(scan: Unnamed) -> _Person:
    """The person that a scan's folders and own name tell."""
    if "sub" in scan.entities:
        return _Person((scan.entities["sub"],), scan.dataset, stated=True)
    *folders, name = scan.path.split("/")
    bare = _without_entities(name, scan.entities)
    person, own = _person_of_folders(folders), _split(bare)[0]
    texts, text = _texts(folders), written(bare, to_made=True)
    again = person[len(person) - len(own) :] == own  # the folder's name once more
    named = texts if again and (text.isascii() or text in texts) else (*texts, text)
    return _Person(tuple(person if again else person + own), "/".join(named))


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


def _person_folders(scan: Unnamed) -> tuple[str, ...]:
    """What the folders above a DICOM series say of its person: not those that count series or say how they were made."""
    texts: list[str] = []
    counts = False
    for folder in scan.path.split("/")[:-1]:
        words = [word.lower() for word in words_of(folder)]
        rest = [word for word in words if not names_nobody(word)]
        counts = counts or bool(words and SERIES.issuperset(words))
        if counts and texts:
            break
        numbered = counts or any(is_made(word) or word in {"scan", "series"} for word in words)
        if not (numbered and all(map(COUNTING.fullmatch, rest))) and (text := written(folder)):
            texts.append(text)
    return tuple(texts)


def _by_folders(study: Sequence[Unnamed]) -> list[list[Unnamed]]:
    """The series of a study by the persons that their folders tell: one identifier may have been given to all persons."""
    groups: dict[tuple[str, ...], list[Unnamed]] = defaultdict(list)
    for scan in study:
        groups[_person_folders(scan)].append(scan)
    above = {folders[:depth] for folders in groups for depth in range(len(folders))}
    parted = {folders: scans for folders, scans in groups.items() if folders not in above}
    for folders in above & groups.keys():
        below = [other for other in parted if other[: len(folders)] == folders and other not in above]
        place = below[0] if len(below) == 1 else folders  # what lies beside one person's folder is theirs
        parted[place] = parted.get(place, []) + groups[folders]
    return [part for scans in parted.values() for part in _by_names(scans)]


def _by_names(scans: Sequence[Unnamed]) -> list[list[Unnamed]]:
    """Series of like descriptions, of whose person no folder tells, by their names: p1 and p2 are no two series of one person."""
    named = [_split(scan.path.rpartition("/")[2])[0] for scan in scans]
    counted = not all(named) or any(COUNTING.fullmatch(words[-1].lower()) for words in named)
    if counted or any(map(_person_folders, scans)) or len({scan.description for scan in scans}) > 1:
        return [list(scans)]
    parted: dict[str, list[Unnamed]] = defaultdict(list)
    for scan in scans:
        parted[written(scan.path.rpartition("/")[2], to_made=True)].append(scan)
    return list(parted.values())


def _by_study(scans: Sequence[Unnamed]) -> dict[str, _Person]:
    """The persons of series that share their study with others, by the scans' paths."""
    persons: dict[str, _Person] = {}
    for study in _studies(scans).values():
        parts = _by_folders(study)
        for part in parts:
            if len(parts) == 1 or len(part) > 1:
                first = min(scan.path for scan in part)
                person = _Person(tuple(_person_of_folders(_shared_folders(part))), study=first)
                persons |= {scan.path: person for scan in part}
    return persons


def _persons(scans: Sequence[Unnamed], root: str) -> dict[str, str]:
    """The label of each scan's person, by the scan's path."""
    by_study = _by_study(scans)
    persons = {scan.path: by_study.get(scan.path) or _person_of(scan) for scan in scans}
    fallback = _person_of_folders([root]) or words_of(root) or ["scan"]
    wanted = {person: _label(person.words or fallback) for person in set(persons.values())}
    same: dict[str, dict[_Person, str]] = defaultdict(dict)
    for person, label in wanted.items():
        same[label.casefold()][person] = label
    labels = {person: _told_apart(person, same[label.casefold()]) for person, label in wanted.items()}
    bare = _bare({person: label for person, label in labels.items() if not person.stated}, labels.values())
    return {path: bare.get(person, labels[person]) for path, person in persons.items()}


def _bare(labels: Mapping[_Person, str], every: Iterable[str]) -> dict[_Person, str]:
    """Labels without a ``sub`` that stands before a number, where no other person has or would have what is left.

    Args:
        labels: that may lose it, by persons.
        every: label of the cohort.
    """
    short = {person: SUB.sub("", label) for person, label in labels.items() if SUB.match(label)}
    count = Counter(label.casefold() for label in (*every, *short.values()))
    return {person: label for person, label in short.items() if count[label.casefold()] == 1}


def _told_apart(person: _Person, rivals: Mapping[_Person, str]) -> str:
    """The label of a person.

    Args:
        person: whose it is.
        rivals: all who want that label, the person too, and how each would write it.
    """
    label = rivals[person]
    stated = [rival for rival, other in rivals.items() if rival.stated and other == label]
    if len(rivals) == 1 or stated == [person]:
        return label
    alike = [rival for rival in rivals if (rival.words, rival.study, rival.stated) == (person.words, person.study, person.stated)]
    what = (person.words, person.study) if len(alike) == 1 else (person.words, person.study, person.text)
    return f"{label}{hex_of(repr(what))}"


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
    made = [word for folder in folders for word in words_of(folder) if is_made(word)]
    return made, _split(_without_entities(name, scan.entities))[1]


def agent_of(scan: Unnamed) -> str:
    """The contrast agent that a scan's words tell: "gd", or "agent" where they do not name it; empty where they tell none.

    A folder "post" may as well be that of scans after an operation.
    """
    folders, own = _told(scan)
    lower = [word.lower() for word in own] + [word.lower() for word in folders if word.lower() != "post"]
    beside = {BESIDE.get(word.lower(), "") for word in own}
    if "gd" in beside or any(GADOLINIUM.fullmatch(word) for word in lower):
        return "gd"
    return "agent" if "agent" in beside or any(AGENT.fullmatch(word) for word in lower) else ""


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
