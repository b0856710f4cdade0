"""Re-read all that a run left and compare it with what was recorded: every byte of outputs and store, every page.

A scan that no run has come to yet, or that failed, is no damage; it is counted apart.
"""

from __future__ import annotations

import posixpath
import shlex
import sqlite3
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from core.digest import digest_of
from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.errors import AccessError, StoreError, UsageError, fault, order
from core.io import claim, files
from core.io.arrays.named_arrays import read_arrays
from core.io.arrays.store import NODE, Store
from core.io.output import VOLUMES, Output
from tasks.events import Advanced, Tell, nobody
from tasks.pipeline.former import left_by_failure
from tasks.restore.maps import path_of_map

THREADS = 4
JPEG_END = b"\xff\xd9"
STORE = "isovox/cohort.zarr"
GROUP = "group-damaged"
OUTPUTS = MISSING, DAMAGED = "output-missing", "output-damaged"
AGAIN = "run again: it is made anew"
HARMONIZED = "harmonized"  # below an output of isovox harmonize: a folder a site, of scans that are made of its restored ones


@dataclass(frozen=True)
class Problem:
    """Something damaged.

    Attributes:
        where: its path in the output.
        code: short stable name of the fault.
        what: what was expected and what came.
        remedy: what the user can do.
        image: the image in the store that is to be made anew; empty where that is not needed.
        key: the scan it belongs to; empty for the cohort's.
    """

    where: str
    code: str
    what: str
    remedy: str = AGAIN
    image: str = ""
    key: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.code}: {self.what}. {order(self.remedy)}"


@dataclass(frozen=True)
class Found:
    """What was re-read: of one scan, or of all.

    Attributes:
        problems: what is damaged.
        scans: that are there.
        waiting: scans of the plan that no run has come to, or that are to be made anew.
        failed: scans that failed.
        left: those of them of which a restored image lies there.
        files: output files compared by their sha256.
        images: images of the store read whole.
        states: states of restorations that the next run goes on with, read whole.
    """

    problems: tuple[Problem, ...] = ()
    scans: int = 0
    waiting: int = 0
    failed: int = 0
    left: int = 0
    files: int = 0
    images: int = 0
    states: int = 0

    def __add__(self, other: Found) -> Found:
        """Both together."""
        return Found(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def _compared(out: Output, record: ScanRecord) -> Iterator[Problem]:
    """Output files that have not the recorded bytes."""
    for path, digest in record.outputs.items():
        wanted = f"bytes with sha256 {digest[:12]}"
        try:
            sha256 = files.sha256(out.path(path))
        except FileNotFoundError:
            yield Problem(path, MISSING, fault(wanted, "no file"))
        else:
            if sha256 != digest:
                yield Problem(path, DAMAGED, fault(wanted, sha256[:12]))


def _images(record: ScanRecord, scan: ScanPlan | None) -> dict[str, str | None]:
    """Images of a scan in the store, and the digest that each must have; None for any."""
    ingest, restore, export = (scan.ingest_digest, scan.restore_digest, scan.digest) if scan else (None, None, None)
    place = f"{record.key}/{record.method}"
    images = {f"{record.key}/measured": ingest, f"{place}/restored": restore, f"{place}/consistency": export}
    return images | {path_of_map(f"{place}/restored", name): restore for name in record.maps}


def _faults(store: Store, path: str, digest: str | None) -> Iterator[tuple[str, str]]:
    """Code and text of what is wrong with an image."""
    recorded = store.digest(path)
    if recorded is None or (digest and recorded != digest):
        got = "none that is finished" if recorded is None else recorded[:12]
        yield "image-missing", fault(f"the image {'' if digest is None else digest[:12]}".rstrip(), got)
        return
    try:
        boxes = store.blocks(path)
        store.check_coordinates(path)
    except StoreError as error:
        yield error.code, fault(error.wanted, error.got)
        return
    for box in boxes:
        try:
            store.read(path, box)
        except StoreError as error:
            yield error.code, fault(error.wanted, error.got)


def _groups(out: Output, *paths: str) -> Iterator[Problem]:
    """Groups of the store whose metadata are not whole: without them nothing below is opened by others' programs."""
    what, remedy = fault("the metadata of a group", "none that can be read"), f"mend it by isovox verify {out.uri} --mend"
    for path in paths:
        if not Store(out.store).has_group(path):
            yield Problem(posixpath.join(STORE, path, NODE), GROUP, what, remedy)


def _torn(out: Output, record: ScanRecord, scan: ScanPlan | None) -> Iterator[Problem]:
    """Images of the store that are not whole."""
    store = Store(out.store)
    remedy = f"mend it by isovox verify {shlex.quote(out.uri)} --mend, then run again: it is made anew"
    for path, digest in _images(record, scan).items():
        where = files.join(STORE, path)
        yield from (Problem(where, code, what, remedy, path) for code, what in _faults(store, path, digest))


def _volumes(record: ScanRecord) -> tuple[str, ...]:
    """What a scan's page of every slice has beside it; cubic interpolation only where that alone is not the method."""
    cubic = ("cubic",) if "consistency_cubic" in record.quality else ()
    return (*VOLUMES, "consistency", *cubic, *record.maps)


def _is_picture(content: bytes, name: str) -> bool:
    """Whether a JPEG or a WebP picture is there to its end."""
    if name.endswith(".jpg"):
        return content.endswith(JPEG_END)
    return content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 == len(content)


def _pages(out: Output, record: ScanRecord) -> Iterator[Problem]:
    """Pages and pictures that are not whole."""
    key = record.key
    remedy = f"make it anew: isovox report {shlex.quote(out.uri)}"
    for uri in (out.scan_page(key), out.viewer_page(key)):
        if not out.page_whole(uri):
            yield Problem(f"reports/{files.name_of(uri)}", "page-damaged", fault("a page to its last tag", _left(uri)), remedy)
    for name in _volumes(record):
        if not out.volume_whole(key, name):
            got = _left(out.volume(key, name))
            yield Problem(f"reports/{key}/{name}.js", "page-damaged", fault("a volume to its last sign", got), remedy)
    for uri, where in ((out.picture(key), f"{key}.jpg"), (out.thumbnail(key), f"{key}/thumbnail.webp")):
        try:
            whole = _is_picture(files.read_bytes(uri), where)
        except FileNotFoundError:
            whole = False
        if not whole:
            yield Problem(f"reports/{where}", "picture-damaged", fault("a picture to its end", _left(uri)), remedy)


def _left(uri: str) -> str:
    """What came of a file that is not whole."""
    return "less" if files.exists(uri) else "none"


def _look(out: Output, planned: dict[str, ScanPlan], key: str, *, alone: bool) -> Found:
    """All of one scan; ``alone``: its files, no images in a store and no pages."""
    scan, record = planned.get(key), out.read_record(key)
    if record is None:
        if not files.exists(out.record(key)):
            return Found(waiting=1)
        return Found((Problem(f"isovox/scans/{key}.json", "record-damaged", fault("a record", "other bytes"), AGAIN, "", key),))
    if record.state == "failed":
        return Found(failed=1, left=int(left_by_failure(out, scan)))
    if scan is not None and record.digest != scan.digest:
        return Found(waiting=1)
    problems = [*_compared(out, record)]
    if not alone:
        groups = _groups(out, key, f"{key}/{record.method}")
        problems += [*groups, *_torn(out, record, scan), *_pages(out, record)]
    named = tuple(Problem(problem.where, problem.code, problem.what, problem.remedy, problem.image, key) for problem in problems)
    return Found(named, scans=1, files=len(record.outputs), images=0 if alone else 3 + len(record.maps))


def verify_scan(out: Output, planned: dict[str, ScanPlan], key: str, attempts: int = 4, *, alone: bool = False) -> Found:
    """Re-read all of one scan; a storage that fails for good is a problem, too.

    Raises:
        AccessError: the storage refuses us.
    """
    try:
        return files.retrying(lambda: _look(out, planned, key, alone=alone), attempts)
    except AccessError:
        raise
    except Exception as error:
        if not (isinstance(error, OSError) or files.is_passing(error)):
            raise
        return Found((Problem(key, "unreadable", fault("its files", str(error)), "check the storage", "", key),))


def read_plan(out: Output) -> CohortPlan | None:
    """The plan of the latest run; None where there is none that is whole."""
    try:
        plan = CohortPlan.model_validate(files.read_json(out.plan))
    except (FileNotFoundError, NotADirectoryError, ValueError, ValidationError):
        return None
    scans = [[scan.key, scan.digest] for scan in plan.scans]
    digest = digest_of([plan.settings_digest, scans, [refusal.model_dump() for refusal in plan.refused]])
    return plan if digest == plan.digest else None


def _states(out: Output, keys: Collection[str]) -> Found:
    """States of restorations that go step by step."""
    verified, names = Found(), set(files.listdir(files.parent_of(out.state(""))))
    for uri in (out.state(key) for key in keys if files.name_of(out.state(key)) in names):
        try:
            read_arrays(uri)
        except StoreError as error:
            where, what = f"isovox/state/{files.name_of(uri)}", fault(error.wanted, error.got)
            verified += Found((Problem(where, "state-damaged", what),))
        else:
            verified += Found(states=1)
    return verified


def _database(out: Output) -> Iterator[Problem]:
    """MLflow's database beside the output, where it is on this machine."""
    path = Path(out.path("isovox", "mlflow.db"))
    if files.is_remote(out.uri) or not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            verdict = opened.execute("pragma quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        yield Problem("isovox/mlflow.db", "database-damaged", fault("a sound database", verdict), "put back a copy of it")


def _cohort(out: Output, plan: CohortPlan | None) -> Iterator[Problem]:
    """What belongs to no scan alone."""
    if plan is None:
        yield Problem("isovox/plan.json", "plan-damaged", fault("a plan with its digest", "none"))
    if not out.page_whole(out.cohort_page):
        remedy = f"make it anew: isovox report {shlex.quote(out.uri)}" if plan else AGAIN
        yield Problem("report.html", "page-damaged", fault("a page to its last tag", _left(out.cohort_page)), remedy)
    if any(record.outputs for record in out.records()):
        yield from _groups(out, "")
        if not files.exists(out.viewer_script):
            remedy = f"make it anew: isovox report {shlex.quote(out.uri)}"
            yield Problem("reports/niivue.js", "page-damaged", fault("the JavaScript that the viewers share", "none"), remedy)
    yield from _description(out)
    yield from _database(out)


def _description(out: Output) -> Iterator[Problem]:
    try:
        generator = files.read_json(out.path("dataset_description.json"))["GeneratedBy"][0]["Name"]
    except (FileNotFoundError, ValueError, KeyError, IndexError, TypeError):
        generator = None
    if generator is None:
        yield Problem("dataset_description.json", "description-damaged", fault("the dataset's description", "none"))


def parts_of(out: Output) -> list[Output]:
    """The folders that an output is verified by: itself; of isovox harmonize each site's restored scans, and its harmonised ones.

    Raises:
        UsageError: no-run, where isovox harmonize has made no site yet.
    """
    if claim.kind_of(out.uri) != "harmonize":
        return [out]
    restored = [site for site in map(out.path, sorted(files.listdir(out.uri))) if claim.kind_of(site) == "run"]
    made = [out.path(HARMONIZED, site) for site in sorted(files.listdir(out.path(HARMONIZED)))]
    parts = [Output(uri) for uri in restored + [uri for uri in made if files.listdir(files.join(uri, "isovox", "scans"))]]
    if not parts:
        raise UsageError("no-run", f"sites in {out.uri}", "none", "let isovox harmonize go on first")
    return parts


def made_of_others(out: Output) -> bool:
    """Whether an output's scans are made of those of another one, as harmonised ones are: no plan, no store and no pages."""
    return claim.kind_of(out.uri) is None and not files.exists(out.store)


def keys_of(out: Output, plan: CohortPlan | None) -> list[str]:
    """All scans that are planned or recorded.

    Raises:
        UsageError: there is neither plan nor record.
    """
    names = files.listdir(out.path("isovox", "scans"))
    keys = {name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")}
    if plan is None and not keys:
        raise UsageError("no-run", f"an output folder of isovox with {out.plan}", "none", "name the OUT of a run")
    return sorted(keys | {scan.key for scan in plan.scans} if plan else keys)


def verify(out: Output, tell: Tell = nobody) -> Found:
    """Re-read a whole output, a few scans at a time.

    Args:
        out: of a run, or of the scans that were made of one's; local or on S3.
        tell: hears of each scan.

    Raises:
        UsageError: no run was there.
    """
    plan = read_plan(out)
    keys, alone = keys_of(out, plan), made_of_others(out)
    attempts = 1 + (plan.settings.compute.retries if plan else 3)
    total = Found(tuple(_description(out) if alone else _cohort(out, plan)))
    total += files.retrying(lambda: _states(out, keys), attempts)
    planned = {scan.key: scan for scan in plan.scans} if plan else {}
    look = partial(verify_scan, out, planned, attempts=attempts, alone=alone)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="verify") as pool:
        for part in pool.map(look, keys):
            total += part
            tell(Advanced("scans"))
    return total


def below(out: Output, part: Output, verified: Found) -> Found:
    """What was read of a part of an output, its problems by their paths in the output."""
    path = part.uri.removeprefix(out.uri).strip("/")
    if not path:
        return verified
    return replace(verified, problems=tuple(replace(each, where=files.join(path, each.where)) for each in verified.problems))


def mend(out: Output, problems: tuple[Problem, ...]) -> list[str]:
    """Remove damaged images and the records of their scans, so that the next run makes them anew.

    The metadata of groups, which are alike in all stores, are written anew at once.

    Call it only with the output's lock.

    Returns:
        keys of the scans that the next run makes anew: those, and those of damaged outputs, which it finds by their bytes.
    """
    store, torn = Store(out.store), [problem for problem in problems if problem.image]
    keys = sorted({problem.key for problem in torn})
    for key in keys:
        files.remove(out.record(key))  # first: without it the scan counts as not done
    for problem in torn:
        store.remove(problem.image)
    for problem in problems:
        if problem.code == GROUP:
            store.create_group(problem.where.removeprefix(STORE).removesuffix(NODE).strip("/"))
    return sorted({*keys, *(problem.key for problem in problems if problem.key and problem.code in OUTPUTS)})
