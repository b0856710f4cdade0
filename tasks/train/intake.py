"""Where a training lies, and the cohort that it takes in: each scan read, validated and put into the training's store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from core.digest import digest_of_voxels
from core.errors import InputError, UsageError, listed
from core.io import files, readers
from core.io.arrays.store import Store
from core.io.bids import Refused, Source, discover
from core.io.validation import Trust
from core.models.scaling import background
from core.settings.train import TrainSettings
from core.stats import ScanStats, scan_stats
from core.training.data.split import split_subjects
from tasks.bounded import Dispatch, Piece, in_order, read_work, reason, serially, write_work
from tasks.events import Advanced, Tell
from tasks.restore.work import write_image
from tasks.train.prints import Print, check_parts


class Place:
    """Where a training lies: its folder's parts.

    Args:
        uri: folder, local or s3://.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.store = Store(files.join(self.uri, "cohort.zarr"))
        self.settings = files.join(self.uri, "settings.json")
        self.split = files.join(self.uri, "split.json")
        self.model = files.join(self.uri, "model")
        self.model_split = files.join(self.model, "split.json")
        self.pretrained = files.join(self.uri, "pretrained")

    def checkpoint(self, stage: str = "") -> str:
        """Of a stage by its role; without, of a training of one stage."""
        return files.join(self.uri, f"checkpoint-{stage}.safetensors" if stage else "checkpoint.safetensors")

    def curve(self, stage: str = "") -> str:
        """The figures of each validation, likewise."""
        return files.join(self.uri, f"curve-{stage}.json" if stage else "curve.json")

    def made(self, stage: str) -> str:
        """Folder of what a stage made for itself."""
        return files.join(self.uri, "made", stage)


@dataclass(frozen=True)
class Cohort:
    """What a training draws from.

    Attributes:
        people: keys of their images by the persons' names; none of the test's persons, whose scans are not taken in.
        failed: why, by key of the scan that could not be taken.
        prints: of all scans by key, those of the test's persons too.
    """

    people: dict[str, list[str]]
    failed: dict[str, str]
    prints: dict[str, Print]

    def prints_of(self, persons: Collection[str]) -> list[Print]:
        """The digests of some persons' scans."""
        return [scan for scan in self.prints.values() if scan.person in persons]


def _take(store: Store, source: Source, digest: str, trust: Trust | None) -> str:
    """Put a scan into the store, unless it is there; the digest of its voxels.

    Raises:
        InputError: it cannot be read, is not valid, or is empty but for specks.
    """
    path = f"{source.key}/measured"
    if not (voxels := _kept(store, path, digest, trust)):
        image, grid, _ = readers.load(source.kind, source.uris, trust)
        voxels = digest_of_voxels(image)
        attrs = {"of": digest, "trust": trust, "stats": asdict(scan_stats(image)), "voxels": voxels}
        write_image(store, path, image, grid, attrs, digest)
    stats = ScanStats(**store.attrs(path)["stats"])
    if stats.upper <= background(stats):  # by their difference patches are divided
        wanted, got = "a scan with more than the background in a thousandth of its voxels", "less, as of a mask of specks"
        raise InputError("voxels-sparse", wanted, got, "leave it out (--exclude)")
    return voxels


def _kept(store: Store, path: str, digest: str, trust: Trust | None) -> str:
    """The digest of a scan's voxels; empty unless the store has it whole, as it would be read now and with that digest."""
    if not store.done(path, digest):
        return ""
    attrs = store.attrs(path)  # stores of before know neither
    return str(attrs.get("voxels", "")) if attrs.get("trust", trust) == trust else ""


def _looked_at(source: Source, trust: Trust | None) -> str:
    """The digest of the voxels of a scan that is not taken in; empty where it cannot be read, which does not matter then."""
    try:
        return digest_of_voxels(readers.load(source.kind, source.uris, trust)[0])
    except InputError:
        return ""


@dataclass(frozen=True)
class Intake:
    """Scans that a training takes in.

    Attributes:
        uri: folder of the training.
        settings: of the training.
        sources: the scans.
    """

    uri: str
    settings: TrainSettings
    sources: tuple[Source, ...]


def take(piece: Piece) -> Print:
    """What a worker runs: put the scan of that number into the training's store; its digests.

    A scan of the test's persons stays outside: of it there are the digests alone.

    Raises:
        IsovoxError: it cannot be read, or is not valid.
    """
    intake = read_work(Intake, piece)
    source, settings = intake.sources[piece.number], intake.settings

    def taken() -> Print:
        digest = files.sha256_all(source.uris)
        if source.person in settings.split.test:
            voxels = _looked_at(source, settings.trust)
        else:
            voxels = _take(Place(intake.uri).store, source, digest, settings.trust)
        return Print(source.person, source.key, digest, voxels)

    return files.retrying(taken, 1 + settings.compute.retries)


def _taken(
    place: Place, settings: TrainSettings, sources: tuple[Source, ...], tell: Tell, dispatch: Dispatch
) -> list[Print | BaseException]:
    """The digests of each scan, or why it could not be taken."""
    uri = files.join(place.uri, "intake.json")
    pieces = write_work(uri, Intake(place.uri, settings, sources), len(sources))
    workers = settings.compute.workers
    outcomes = in_order(dispatch, take, pieces, workers=workers, on_done=lambda _: tell(Advanced("scans")))
    files.remove(uri)
    return outcomes


def ingest(place: Place, settings: TrainSettings, tell: Tell, dispatch: Dispatch = serially) -> Cohort:
    """Read a cohort, validate it and put it into the training's store; what cannot be read is named and left out.

    Of scans of the test's persons only the digests are taken: by them a copy of such a scan is known.

    Args:
        place: of the training.
        settings: of the training.
        tell: hears of scans as they are done with.
        dispatch: runs the work; see ``tasks.bounded.in_order``.

    Raises:
        UsageError: where no scan is left.
    """
    scans = discover(settings.cohort, settings.selection)
    wanted = tuple(scan for scan in scans if isinstance(scan, Source))
    tell(Advanced("scans", len(scans) - len(wanted)))
    outcomes = iter(_taken(place, settings, wanted, tell, dispatch))
    cohort = Cohort({}, {}, {})
    for scan in scans:
        if isinstance(scan, Refused):
            cohort.failed[scan.key] = scan.reason
            continue
        tested = scan.person in settings.split.test
        if tested:
            cohort.people.setdefault(scan.person, [])
        if isinstance(outcome := next(outcomes), BaseException):
            cohort.failed[scan.key] = reason(outcome)
            continue
        cohort.prints[scan.key] = outcome
        if not tested:
            cohort.people.setdefault(scan.person, []).append(scan.key)
    if not any(cohort.people.values()):
        got = listed((f"{key}: {why}" for key, why in cohort.failed.items()), 3)
        raise UsageError("no-scans", f"scans to train on in {settings.cohort}", got, "check the path and the selection")
    return cohort


def divided(cohort: Cohort, settings: TrainSettings) -> dict[str, list[str]]:
    """The persons of a cohort by their part of the split.

    Raises:
        UsageError: as ``split_subjects`` and ``check_parts``.
    """
    split = split_subjects(list(cohort.people), settings.split.validation, settings.split.test, list(cohort.failed))
    check_parts({part: cohort.prints_of(persons) for part, persons in split.items()})
    return split
