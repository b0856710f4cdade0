"""The ledger of files: every file below an input is taken, refused with its reason, or left out with its kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import listed, printable
from core.settings.base import Settings

KINDS = {  # why a file is no scan that is taken, in words
    "archive": "archives, which are not looked into",
    "beside": "masks, taken with their scans",
    "carried": "masks and labels, carried onto the restored grid",
    "checksum": "checksums",
    "code": "scripts and settings",
    "dicom-other": "DICOM files without an image (reports, presentations, directories)",
    "dicomdir": "DICOM directories",
    "document": "documents",
    "empty": "empty files",
    "excluded": "excluded by --exclude",
    "hidden": "hidden files",
    "localizer": "localizers",
    "mask": "masks and labels",
    "other-datatype": "images of other kinds (func, dwi, fmap, CT, PET …)",
    "outside": "images beside the dataset's persons (code, stimuli …)",
    "own": "results of isovox",
    "phase": "phase and complex parts",
    "picture": "pictures",
    "sidecar": "metadata (JSON)",
    "signal": "signals that are no images",
    "special": "what is no regular file (pipes, devices, broken links)",
    "table": "tables",
    "text": "texts",
    "transform": "transforms, surfaces and arrays",
    "unknown": "of unknown content",
    "unselected": "images that the selection leaves out",
}
SHOWN = 3  # names that a line tells


class Account(Settings):
    """The ledger in figures, as a plan keeps it.

    Attributes:
        seen: files below the input; lines of a table.
        taken: of scans that are planned.
        refused: of scans that are refused with a reason.
        left: the others, by kind.
        unread: folders that were not looked into, and why.
        filters: what each filter kept, in words.
    """

    seen: int = 0
    taken: int = 0
    refused: int = 0
    left: dict[str, int] = {}
    unread: dict[str, str] = {}
    filters: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What is to be told, a line each; nothing where nothing was seen."""
        if not self.seen and not self.unread:
            return []
        left = sum(self.left.values())
        lines = [f"files: {self.seen} seen = {self.taken} of scans + {self.refused} refused + {left} left out"]
        kinds = sorted(self.left.items(), key=lambda item: (-item[1], item[0]))
        lines += ["left out: " + ", ".join(f"{KINDS.get(kind, kind)} {count}" for kind, count in kinds)] if kinds else []
        folders = [f"{path}/ ({why})" for path, why in sorted(self.unread.items())]
        lines += [f"not looked into: {listed(folders, SHOWN)}"] if folders else []
        return [printable(line) for line in (*lines, *self.filters)]


@dataclass
class Ledger:
    """Every file below an input, in one of three states.

    Attributes:
        taken: key of its scan, by path.
        refused: key of its refusal, by path.
        left: kind, by path.
        unread: folders that were not looked into, and why.
        filters: what each filter kept, in words.
    """

    taken: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    filters: Sequence[str] = ()

    def refuse(self, keys: Collection[str]) -> None:
        """Move the files of scans that were refused when they were looked into."""
        for path in [path for path, key in self.taken.items() if key in keys]:
            self.refused[path] = self.taken.pop(path)

    def account(self) -> Account:
        """The figures."""
        kinds = Counter(self.left.values())
        seen = len(self.taken.keys() | self.refused.keys() | self.left.keys())
        return Account(
            seen=seen,
            taken=len(self.taken),
            refused=len(self.refused),
            left=dict(sorted(kinds.items())),
            unread=dict(self.unread),
            filters=tuple(self.filters),
        )

    def names(self) -> Iterator[str]:
        """A line a file: its state, and its path."""
        states = [(path, f"scan {key}") for path, key in self.taken.items()]
        states += [(path, f"refused {key}") for path, key in self.refused.items()]
        states += [(path, f"left out: {KINDS.get(kind, kind)}") for path, kind in self.left.items()]
        states += [(f"{path}/", f"not looked into: {why}") for path, why in self.unread.items()]
        yield from (f"{state}\t{printable(path)}" for path, state in sorted(states))
