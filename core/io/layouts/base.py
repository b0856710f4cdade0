"""What a layout gives: scans, refusals, and the account of every file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from core.errors import InputError
from core.io import files
from core.io.derivatives import safe_key
from core.io.inventory.entries import Entry
from core.io.inventory.ledger import Ledger
from core.io.readers import Reading
from core.io.scans import Refused, Source, refuse

Scan = Source | Refused


@dataclass
class Discovery:
    """What there is to restore, and where every file went.

    Attributes:
        scans: what was found and what was refused.
        ledger: the account of every file.
    """

    scans: list[Scan] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    _files: list[Sequence[str]] = field(default_factory=list)

    def take(self, scan: Scan, paths: Sequence[str]) -> None:
        """Note a scan, and the files that are its."""
        self.scans.append(scan)
        self._files.append(paths)
        taken, refused = self.ledger.taken, self.ledger.refused
        where = taken if isinstance(scan, Source) else refused
        where |= {path: scan.key for path in paths if path not in taken and path not in refused}  # two headers may share voxels

    def refuse(self, name: str, uri: str, error: InputError, paths: Sequence[str]) -> None:
        """Note a scan that cannot be taken."""
        self.take(refuse(name, uri, error), paths)

    def leave(self, paths: Sequence[str], kind: str) -> None:
        """Note files that are left out."""
        self.ledger.left |= dict.fromkeys(paths, kind)

    def unique(self) -> None:
        """Refuse all scans that would get the same name, rather than let one win."""
        names: dict[str, list[str]] = defaultdict(list)
        for scan in self.scans:
            if isinstance(scan, Source):
                for name in {scan.key, scan.stem}:
                    names[name].append(scan.uris[0])
        taken, self.scans = zip(self.scans, self._files, strict=True), []
        self.ledger.taken, self.ledger.refused, self._files = {}, {}, []
        alone = [(self._alone(scan, names), paths) for scan, paths in taken]
        keys = {scan.key for scan, _ in alone if isinstance(scan, Source)}
        for scan, paths in alone:
            self.take(_apart(scan, keys, paths), paths)
            keys.add(self.scans[-1].key)

    @staticmethod
    def _alone(scan: Scan, names: dict[str, list[str]]) -> Scan:
        if isinstance(scan, Refused) or not (same := max(names[scan.key], names[scan.stem], key=len))[1:]:
            return scan
        got = f"{len(same)} scans that would all be {scan.key}: {', '.join(map(files.name_of, same))}"
        error = InputError("entities-duplicate", "one scan for each set of entities", got, "rename or leave out all but one")
        return Refused(f"{scan.key}-duplicate{same.index(scan.uris[0]) + 1}", scan.uris[0], error.code, str(error))


def _apart(scan: Scan, keys: set[str], paths: Sequence[str]) -> Scan:
    """A refusal by a key that no other has."""
    if isinstance(scan, Source) or scan.key not in keys:
        return scan
    return replace(scan, key=safe_key(f"{scan.key} at {paths[0] if paths else scan.uri}"))


def unexplained(entries: Sequence[Entry], discovery: Discovery) -> Iterator[Entry]:
    """The files; folders that cannot be listed are refused."""
    for entry in entries:
        if not entry.unreadable.startswith("a folder"):
            yield entry
        else:
            error = InputError("folder-forbidden", "folders that can be listed", entry.unreadable, "check their permissions")
            discovery.refuse(entry.path, entry.uri, error, (entry.path,))


def take_rest(reading: Reading, discovery: Discovery) -> None:
    """Note what no reader takes."""
    for path, kind in reading.left.items():
        discovery.leave((path,), kind)
