"""Which scans several folders of restored images have in common.

An image is matched by its name without the entity ``desc``; a truth also by the name that a simulated scan has its own from.
Where a folder has several of a name (as an evaluation of several degradations), names are paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from core.errors import UsageError
from core.io import claim, files, simulated
from core.io.derivatives import DESC, bids_stem
from core.io.names import entities_of, is_one_file, role, without_extension

OURS = {"isovox", "reports", "simulated", "scores"}  # folders at the top that hold no restored images
RESTORED = "restored"  # folder of an evaluation


@dataclass(frozen=True)
class Scan:
    """A scan that all sources have: its name, its person, and its image by source."""

    name: str
    person: str
    images: dict[str, str]


def sources_of(words: Sequence[str]) -> dict[str, str]:
    """Folders by the names that the words give them; an evaluation's folder gives a source for each method.

    Raises:
        UsageError: reading-source: a word without a name that is no evaluation's folder, a name given twice, or fewer than two.
    """
    pairs = [pair for word in words for pair in _named(word)]
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice or len(pairs) < 2:
        got = f"{twice[0]} twice" if twice else ", ".join(name for name, _ in pairs) or "none"
        raise UsageError("reading-source", "two sources or more of different names", got, "write NAME=FOLDER for each")
    return dict(pairs)


def _named(word: str) -> list[tuple[str, str]]:
    name, equals, folder = word.partition("=")
    if equals and name and files.is_folder(folder):
        return [(name, folder)]
    if not equals and claim.kind_of(word) == "evaluate":
        restored = files.join(word, RESTORED)
        return [(method, files.join(restored, method)) for method in files.listdir(restored)]
    remedy = "name folders that are there, as NAME=FOLDER"
    raise UsageError("reading-source", "NAME=FOLDER of images, or the folder of an evaluation", word, remedy)


def images_of(folder: str) -> dict[str, str]:
    """URIs of the restored or true images below a folder by name; masks, labels and maps are left out."""
    paths = [path for path in files.walk(folder) if path.partition("/")[0] not in OURS and _is_shown(path)]
    names = {path: files.name_of(plain(path)) for path in paths}
    counts = Counter(names.values())
    return {names[path] if counts[names[path]] == 1 else plain(path): files.join(folder, path) for path in sorted(paths)}


def _is_shown(path: str) -> bool:
    described = entities_of(files.name_of(path)).get("desc", DESC)
    return is_one_file(path) and not role(path) and described == DESC


def plain(path: str) -> str:
    """A path without extension and without the entity ``desc`` of restored images."""
    return without_extension(path).replace(f"_desc-{DESC}", "")


def truth_name(name: str) -> str:
    """What the truth of a simulated scan of this name is called; the name itself where it is no BIDS name."""
    entities = entities_of(files.name_of(name))
    complete = {"sub", "suffix"} <= set(entities)
    return files.name_of(bids_stem(simulated.truth_entities(entities))) if complete else files.name_of(name)


def common(sources: Mapping[str, str], patterns: Sequence[str] = ()) -> tuple[list[Scan], list[str]]:
    """The scans that all sources have, and the names of images that are left out as some source has none to set beside them.

    Args:
        sources: folders by name.
        patterns: names of scans, or patterns of them; all where there is none.

    Raises:
        UsageError: reading-scans: there is no common scan that a pattern names.
    """
    by_source = {name: images_of(folder) for name, folder in sources.items()}
    names = dict.fromkeys(name for images in by_source.values() for name in images)
    scans = [scan for name in names if (scan := _scan(name, by_source)) is not None]
    kept = [scan for scan in scans if not patterns or any(fnmatchcase(scan.name, pattern) for pattern in patterns)]
    if not kept:
        got = f"{len(scans)} common scans, of which none is named" if scans else "none"
        counts = ", ".join(f"{name}: {len(images)}" for name, images in by_source.items())
        raise UsageError("reading-scans", "scans that every source has", got, f"check the folders ({counts} images) and --scans")
    used = {uri for scan in scans for uri in scan.images.values()}
    return kept, sorted({name for images in by_source.values() for name, uri in images.items() if uri not in used})


def _scan(name: str, by_source: Mapping[str, Mapping[str, str]]) -> Scan | None:
    """The scan of a name; None where a source lacks it."""
    called = (name, files.name_of(name), truth_name(name))
    images = {source: next((there[each] for each in called if each in there), "") for source, there in by_source.items()}
    person = entities_of(files.name_of(name)).get("sub", name)
    return Scan(name, person, images) if all(images.values()) else None
