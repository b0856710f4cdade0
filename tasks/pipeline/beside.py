"""What a method takes beside a scan: a mask of voxels that were not measured, and what is known of the person."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from core.engine.plan import MaskImage, Refusal, ScanPlan
from core.errors import InputError
from core.geometry.grid import Grid
from core.io import files, participants, readers
from core.io.bids import Discovery, Source
from core.io.names import entities_of, is_one_file, without_extension
from core.methods.registry import methods
from core.settings.run import RunSettings
from tasks.pipeline.labels import Trust, grid_of, is_on

MISSING = re.compile("lesion|tumou?r|missing", re.IGNORECASE)
PLAIN = ("mask", "roi")
OWN = {"suffix", "datatype", "desc", "label"}  # entities that a mask has of its own


def with_beside(scans: Sequence[ScanPlan], discovery: Discovery, settings: RunSettings) -> tuple[list[ScanPlan], list[Refusal]]:
    """The scans with the mask and the covariates that the method takes, and those that are refused for want of a mask.

    Where a method takes neither, nothing is looked for and no digest changes.

    Args:
        scans: planned.
        discovery: in the input.
        settings: of the run.

    Raises:
        UsageError: a participants.tsv that is no table.
    """
    if settings.method not in methods():
        return list(scans), []  # a choice is among methods that need nothing beside a scan
    takes = methods()[settings.method].takes
    people = participants.people(settings.input, takes.covariates) if takes.covariates else {}
    scans = [scan.model_copy(update={"covariates": people.get(scan.participant)}) for scan in scans]
    if takes.mask == "none":
        return scans, []
    masks = Masks(discovery, settings.input, settings.trust)
    ready: list[ScanPlan] = []
    refused: list[Refusal] = []
    for scan in scans:
        try:
            ready.append(scan.model_copy(update={"mask": masks.of(scan, scan.source_grid, needed=takes.mask == "needed")}))
        except InputError as error:
            refused.append(Refusal(key=scan.key, uri=scan.uris[0], code=error.code, reason=str(error)))
    return ready, refused


class Masks:
    """The masks of an input by the folders in which they lie, and those that a table names.

    Args:
        discovery: in the input.
        root: URI of the input.
        trust: which transform to use where the two of a header disagree.
    """

    def __init__(self, discovery: Discovery, root: str, trust: Trust) -> None:
        self._root, self._trust, self._ledger = root, trust, discovery.ledger
        self._named = {scan.key: scan.mask for scan in discovery.scans if isinstance(scan, Source) and scan.mask}
        self._folders: dict[str, list[str]] = defaultdict(list)
        for path, kind in sorted(discovery.ledger.left.items()):
            if kind in {"mask", "carried", "beside"} and is_one_file(path):
                self._folders[path.rpartition("/")[0]].append(path)

    def of(self, scan: ScanPlan | Source, grid: Grid, *, needed: bool) -> MaskImage | None:
        """The mask of a scan; None where there is none and none is needed.

        Args:
            scan: of the input.
            grid: its own.
            needed: whether to have none is an error.

        Raises:
            InputError: mask-missing, mask-ambiguous; for one that a table names mask-grid, or what is wrong with it.
        """
        if uri := self._named.get(scan.key):
            image = readers.image_at(uri)
            if not is_on(grid, readers.header(image.kind, image.uris, self._trust).grid):
                wanted = f"a mask on the scan's grid of {grid.shape}"
                raise InputError("mask-grid", wanted, f"another grid in {files.name_of(uri)}", "resample the mask to the scan")
            return MaskImage(uri=uri, sha256=files.sha256(uri))
        ranked = [(rank, path) for path in self._beside(scan, grid) if (rank := _rank(path, scan)) is not None]
        best = [path for rank, path in ranked if rank == min(ranked)[0]]
        if len(best) > 1:
            names = ", ".join(map(files.name_of, best))
            raise InputError("mask-ambiguous", "one mask beside the scan", names, "name it in a table, in the column mask")
        if not best and needed:
            wanted = "a mask beside the scan, on its grid, that says lesion or tumour"
            raise InputError("mask-missing", wanted, "none", "add one, or name it in a table, in the column mask")
        return self._take(best[0]) if best else None

    def _take(self, path: str) -> MaskImage:
        """The mask at a path; the ledger tells that it is taken."""
        if self._ledger.left[path] == "mask":
            self._ledger.left[path] = "beside"
        uri = files.join(self._root, path)
        return MaskImage(uri=uri, sha256=files.sha256(uri))

    def _beside(self, scan: ScanPlan | Source, grid: Grid) -> list[str]:
        """Masks in the scan's folder that lie on its grid."""
        there = self._folders[scan.relative.rpartition("/")[0]]
        return [path for path in there if is_on(grid, grid_of(files.join(self._root, path), self._trust))]


def _rank(path: str, scan: ScanPlan | Source) -> int | None:
    """0 for a mask whose name says that voxels of this scan were not measured, 1 for one that says nothing; None for others."""
    name, entities = without_extension(files.name_of(path)), entities_of(path)
    if any(scan.entities.get(entity, value) != value for entity, value in entities.items() if entity not in OWN):
        return None
    if MISSING.search(name):
        return 0
    own = without_extension(files.name_of(scan.relative))
    plain = name in {*PLAIN, *(f"{own}_{suffix}" for suffix in PLAIN)}
    bids = "sub" in entities and entities.get("suffix") in PLAIN and not {"desc", "label"} & set(entities)
    return 1 if plain or bids else None
