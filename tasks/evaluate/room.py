"""Whether there is room for the images of an evaluation, before any is made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from core.engine.fit import check_disk
from core.errors import IsovoxError
from core.io import bids, files, readers, space
from core.io.bids import Source
from core.methods.base import Method
from core.settings.evaluate import EvaluationSettings
from tasks.evaluate import cases, simulate
from tasks.evaluate.candidates import Candidate


def check_room(settings: EvaluationSettings, candidates: Sequence[Candidate]) -> None:
    """Refuse an evaluation for whose images its disk has no room; those that are there already are not counted.

    Args:
        settings: of the evaluation.
        candidates: who takes part.

    Raises:
        UsageError: as ``cases.find_cases``.
        PlanError: disk-too-small.
    """
    if files.is_remote(settings.out):  # whose headers need not be read for it
        return
    scans = cases.counted(settings, bids.discover(settings.cohort, settings.selection))
    sources = [scan for scan in scans if isinstance(scan, Source)]
    truths = {source.key: cases.truth_of(source, settings.cohort) for source in sources}
    ways = [] if any(truths.values()) else list(settings.degradations)
    jobs = [simulate.job_of(cases.simulation_of(settings, name), sources) for name in ways]
    sizes = {source.key: _size(source, truths[source.key], settings) for source in sources}
    restored = sum(_restored(settings, candidate, sizes, len(ways) or 1) for candidate in candidates)
    what = f"the images of {len(sources)} scans by {len(candidates)} methods"
    check_disk(sum(map(simulate.bytes_left, jobs)) + restored, space.room(settings.out), what)


def _size(source: Source, truth: str | None, settings: EvaluationSettings) -> int:
    """Bytes of a restored scan's voxels, which lie on the grid of its truth; 0 where there is none, as its rows will say."""
    try:
        image = readers.image_at(truth) if truth else source
        return 4 * math.prod(readers.header(image.kind, image.uris, settings.trust).grid.shape)
    except (IsovoxError, OSError):
        return 0


def _restored(settings: EvaluationSettings, candidate: Candidate, sizes: dict[str, int], ways: int) -> int:
    """Bytes of what a candidate restores and of the maps beside it, each scan degraded in so many ways."""
    there = Counter(files.name_of(path) for path in files.walk(files.join(settings.out, "restored", candidate.slug)))
    images = 1 + max((len(method.maps) for method in _methods(candidate)), default=-1)
    return images * sum(size * max(0, ways - there[f"{key}.nii.gz"]) for key, size in sizes.items())


def _methods(candidate: Candidate) -> list[Method]:
    """The methods of which one restores each scan; none of a candidate that cannot take part."""
    return [each.build() for each in candidate.choices or (candidate,) if not each.reason]
