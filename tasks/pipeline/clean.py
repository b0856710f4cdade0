"""What may go from an output: scratch, and what belongs to scans that are neither planned nor in the input any more.

Only files that isovox wrote are ever named: by their pattern, by a record that holds their digest, or by our marks in the store.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from core.engine.iterate import made_of
from core.engine.plan import CohortPlan, ScanPlan
from core.errors import IsovoxError
from core.io import bids, claim, files, s3
from core.io.arrays.store import NODE, Store
from core.io.inventory.folder import inventory, remove_listed
from core.io.output import Output
from core.io.participants import write_people
from core.settings.scans import Selection
from tasks.restore.progress import read_progress

LEFTOVER = re.compile(r"(?:.*/)?\.[^/]+\.\d+-\d+-[0-9a-f]{8}\.tmp")  # as core.io.files names them
PARTIAL = re.compile(r".*\.partial")  # as Zarr does
PARTS = re.compile(r".*/(?:tiles(?:-[0-9A-Za-z]+)?|assembled)")  # images that a restoration in tile mode makes on its way
STATE = re.compile(r"isovox/state/[^/.][^/]*\.safetensors")
TOLD = re.compile(r"isovox/state/[^/.][^/]*\.json")
LOGGED = re.compile(r"isovox/mlartifacts/(?:[^/]+/)+artifacts/([^/]+)\.(?:html|jpg)")  # pages and pictures of scans, with MLflow
STORE = "isovox/cohort.zarr/"
OURS = re.compile(
    r"([^/]+)/(measured|[^/]+/(?:restored|consistency|tiles(?:-[0-9A-Za-z]+)?|assembled|map-[0-9A-Za-z]+))/zarr\.json"
)
Kind = Literal["scratch", "kept", "orphan"]


@dataclass(frozen=True)
class Item:
    """Something that may go.

    Attributes:
        kind: scratch; kept, which the next run would go on with; or orphan.
        what: for a reader.
        paths: files, relative to the output, in the order in which they are to go.
        nbytes: of them all.
        uploads: how many unfinished uploads it stands for instead.
    """

    kind: Kind
    what: str
    paths: tuple[str, ...]
    nbytes: int
    uploads: int = 0


@dataclass(frozen=True)
class Survey:
    """What may go, and what was left out of account.

    Attributes:
        items: in the order in which they are told.
        notes: for a reader: why orphans were not looked for, which files were changed by others.
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...]

    def of(self, *kinds: Kind) -> list[Item]:
        """The items of these kinds."""
        return [item for item in self.items if item.kind in kinds]


class _Look:
    """An output with the listing of all its files."""

    def __init__(self, out: Output, plan: CohortPlan) -> None:
        self.out, self.plan, self.store = out, plan, Store(out.store)
        self.there = inventory(out.uri)
        self.notes: list[str] = []
        self.records = {record.key: record for record in out.records()}
        self.planned = {scan.key: scan for scan in plan.scans}
        self.images: dict[str, list[str]] = defaultdict(list)
        for path in self.there:
            if path.startswith(STORE) and (match := OURS.fullmatch(path.removeprefix(STORE))):
                self.images[match[1]].append(f"{match[1]}/{match[2]}")

    def item(self, kind: Kind, what: str, paths: Iterable[str]) -> Iterator[Item]:
        """The item of these paths, if there are any."""
        if present := tuple(dict.fromkeys(path for path in paths if path in self.there)):
            yield Item(kind, what, present, sum(self.there[path] for path in present))

    def below(self, image: str) -> list[str]:
        """Files of an image or array of the store, its mark first, for without it none of the rest counts."""
        top = f"{STORE}{image}/"
        return [top + NODE, *(path for path in self.there if path.startswith(top))]

    def scratch(self) -> Iterator[Item]:
        """What killed writers left."""
        yield from self.item("scratch", "leftovers of killed writers", filter(LEFTOVER.fullmatch, self.there))
        torn = [path for path in self.there if path.startswith(STORE) and PARTIAL.fullmatch(path)]
        yield from self.item("scratch", "half-written chunks of the store", torn)
        if files.is_remote(self.out.uri) and (count := len(s3.unfinished_uploads(self.out.uri))):
            yield Item("scratch", f"{count} unfinished uploads", (), 0, count)

    def tiles(self, gone: set[str]) -> Iterator[Item]:
        """Tiles, and what is put together of them: those that the next run would go on with, and others."""
        useless: list[str] = []
        useful: list[str] = []
        for key, images in self.images.items():
            for path in (at for at in images if PARTS.fullmatch(at) and key not in gone and self.store.is_ours(at)):
                scan, restored = self.planned.get(key), path.rpartition("/")[0] + "/restored"
                wanted = scan.restore_digest if scan else None
                waits = wanted is not None and self.store.made_of(path) == wanted and self.store.digest(restored) != wanted
                (useful if waits else useless).extend(self.below(path))
        yield from self.item("scratch", "tiles of restorations that are done or out of date", useless)
        yield from self.item("kept", "tiles of a restoration that the next run would go on with", useful)

    def states(self) -> Iterator[Item]:
        """States of restorations that go step by step: those that the next run would go on with, and others."""
        first = {self.out.state(group[0].key): group[0] for group in self.plan.groups()}
        digests = {path: made_of(self.out.path(path)) for path in self.there if STATE.fullmatch(path)}
        useless: list[str] = []
        useful: list[str] = []
        for path, digest in ((path, digest) for path, digest in digests.items() if digest is not None):
            scan = first.get(self.out.path(path))
            waits = scan is not None and digest == scan.restore_digest and not self._restored(scan)
            (useful if waits else useless).append(path)
        progress = [path for path in self.there if TOLD.fullmatch(path) and read_progress(self.out.path(path))]
        yield from self.item("scratch", "states of restorations that are done or out of date", useless)
        yield from self.item("scratch", "progress that killed workers told of", progress)
        yield from self.item("kept", "states of restorations that the next run would go on with", useful)

    def _restored(self, scan: ScanPlan) -> bool:
        return any(self.store.digest(path) == scan.restore_digest for path in self.images[scan.key] if path.endswith("/restored"))

    def orphans(self, gone: set[str]) -> Iterator[Item]:
        """All that belongs to scans that are gone."""
        for key in sorted(gone):
            ours = [path for image in self.images[key] if self.store.is_ours(image) for path in self.below(image)]
            pages = (self.out.scan_page(key), self.out.viewer_page(key), self.out.picture(key))
            volumes = [path for path in self.there if path.startswith(f"reports/{key}/")]
            volumes += [path for path in self.there if (logged := LOGGED.fullmatch(path)) and logged[1] == key]
            paths = [*self._outputs(key), *(f"reports/{files.name_of(uri)}" for uri in pages), *volumes, *ours]
            paths += [*self._groups(key, set(paths)), f"isovox/scans/{key}.json"]  # the record last: it names the rest
            yield from self.item("orphan", f"{key}: neither planned nor in the input", paths)
        if gone:
            self.notes.append(
                "names of scans that are gone stay in the records and pages that MLflow and Prefect keep of earlier runs"
            )

    def _outputs(self, key: str) -> Iterator[str]:
        """Its restored files, if they are as they were written."""
        record = self.records.get(key)
        for path, digest in record.outputs.items() if record else ():
            if path in self.there and files.sha256(self.out.path(path)) != digest:
                self.notes.append(f"{path} is left: it was changed since isovox wrote it")
            else:
                yield path

    def _groups(self, key: str, ours: set[str]) -> Iterator[str]:
        """Marks of the groups above its images, where nothing of others lies below them."""
        top = f"{STORE}{key}/"
        methods = {image.split("/")[1] for image in self.images[key] if image.count("/") == 2}
        marks = {top + NODE, *(f"{top}{method}/{NODE}" for method in methods)}
        if {path for path in self.there if path.startswith(top)} <= ours | marks:
            yield from sorted(marks, reverse=True)

    def others(self) -> Iterator[Item]:
        """Images of methods that a scan's record no longer names."""
        for key, record in self.records.items():
            if key in self.planned and record.outputs and record.digest == self.planned[key].digest:
                old = [image for image in self.images[key] if image.count("/") == 2 and image.split("/")[1] != record.method]
                paths = [path for image in old if self.store.is_ours(image) for path in self.below(image)]
                yield from self.item("orphan", f"{key}: images of methods that were used before", paths)


def _in_input(out: Output, plan: CohortPlan) -> set[str]:
    """Keys of all scans in the input, whatever the run selected.

    Raises:
        IsovoxError: the input cannot be read, or there is nothing.
    """
    place = claim.input_of(out.uri) or plan.settings.input  # a path may be relative to the folder of the run's command
    keys = {scan.key for scan in bids.discover(place)}
    if (chosen := plan.settings.selection) != Selection():
        wider = chosen.model_copy(update={"participant_label": (), "session_label": (), "exclude": ()})
        keys |= {scan.key for scan in bids.discover(place, wider)}
    return keys


def _gone(look: _Look) -> set[str]:
    """Keys of scans that are neither planned nor in the input."""
    planned = set(look.planned) | {refusal.key for refusal in look.plan.refused}
    stored = {key for key, images in look.images.items() if key not in planned and any(map(look.store.is_ours, images))}
    known = (set(look.records) - planned) | stored
    if not known:
        return set()
    try:
        return known - _in_input(look.out, look.plan)
    except IsovoxError as error:
        look.notes.append(f"orphans are not looked for, as the input cannot be read: {error}")
        return set()


def survey(out: Output, plan: CohortPlan) -> Survey:
    """What may go; nothing is removed.

    Args:
        out: of a run; local or on S3. Call it only with its lock.
        plan: of the latest run.
    """
    look = _Look(out, plan)
    gone = _gone(look)
    items = [*look.scratch(), *look.tiles(gone), *look.states(), *look.orphans(gone), *look.others()]
    return Survey(tuple(items), tuple(look.notes))


def remove(out: Output, items: Sequence[Item]) -> tuple[int, int]:
    """Remove items; how many files and bytes that were.

    Call it only with the output's lock, and with what ``survey`` found under the same lock.
    """
    for item in items:
        if item.uploads:
            s3.give_up_uploads(out.uri)
        remove_listed(out.uri, item.paths)
    if items and files.exists(out.path("participants.tsv")):
        write_people(out.uri, out.records())
    return sum(len(item.paths) for item in items), sum(item.nbytes for item in items)
