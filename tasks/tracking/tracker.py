"""A cohort in MLflow: one run for the cohort, a child for each scan; figures and settings only, never text of a scan's header.

Runs are named by their id throughout (MlflowClient), never by MLflow's global active run. Whatever is told is idempotent: the
cohort by its plan's digest, a scan by its key and digest. So what a tracking server missed while it was away is kept in a file
and told again by the next run.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from core.engine.records import ScanRecord
from core.io import files
from tasks.tracking.address import run_page, without_password
from tasks.tracking.copies import send
from tasks.tracking.database import SCHEME, hush, make_database
from tasks.tracking.events import CohortClosed, CohortOpened, Event, ReportWritten, ScanEnded, Status, read_event, to_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "isovox"
BATCH = 100  # parameters or tags that MLflow takes at once
METRICS = 1000  # figures that it takes at once
LONGEST, LONGEST_NAME = 500, 250  # characters of a value, and of a parameter's name
UNNAMED = re.compile(r"[^\w\-. :/]")  # what MLflow has not in names
REFUSED = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})  # by a server that is there: telling it again would not help

_log = logging.getLogger(__name__)


class CohortTracker:
    """What a run tells MLflow. A server that is not there, or goes away, is warned of once and never stops the run.

    As a context manager it ends the cohort's run: FINISHED, FAILED by an exception, KILLED by Ctrl-C, SIGTERM (where that
    raises, see ``infra.processes.signals``) or a cancelled flow. One that was killed outright is marked KILLED by the next start.

    Args:
        state: folder on this machine for the default database, its artifacts, and what could not be sent.
        out: the output of the run, a path or s3://….
        uri: MLflow's tracking URI; None for ``mlflow.db`` in ``state``.
    """

    def __init__(self, state: Path, out: str, uri: str | None = None) -> None:
        self._state, self._uri = state, uri or _default(state)
        self._owner = hashlib.sha256(out.rstrip("/").encode()).hexdigest()[:16] if files.is_remote(out) else _identity(state)
        self._cohort: CohortOpened | None = None
        self._open = False
        self._kept = False
        self._book: _Book | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._open:
            self.finish("FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED")

    @property
    def unsent(self) -> Path:
        """The file of what the server missed, one event a line; absent where it has all."""
        return self._state / "tracking-unsent.jsonl"

    def start(self, name: str, digest: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Open the cohort's run, or take up the one of the same plan; first tell what the last run could not.

        Args:
            name: shown in MLflow.
            digest: of the plan.
            params: settings; nested ones become "tiling.patch".
            tags: more to be found by (versions, model).
        """
        self._cohort = CohortOpened(plan=digest, at=_now(), name=name, params=flat(params), tags=dict(tags))
        self._open, self._kept = True, False
        with self._lock:
            self._attempt(self._connect)
        self._tell(self._cohort)

    def scan(self, record: ScanRecord, artifacts: Iterable[str | Path] = ()) -> None:
        """Tell a scan's outcome; nothing where it was told already.

        Args:
            record: its outcome.
            artifacts: report and pictures, paths or s3://….
        """
        self._tell(ScanEnded(plan=self._plan, at=_now(), record=record, files=tuple(map(str, artifacts))))

    def log_report(self, *artifacts: str | Path) -> None:
        """Add files to the cohort's run."""
        self._tell(ReportWritten(plan=self._plan, at=_now(), files=tuple(map(str, artifacts))))

    def page(self, artifact: str) -> str | None:
        """The address where MLflow shows an artifact of the cohort's run; None without a server, or where it is lost."""
        own = self.own_page()
        return f"{own}/artifacts/{artifact}" if own else None

    def own_page(self) -> str | None:
        """The address where MLflow shows the cohort's run; None without a server, or where it is lost."""
        return None if self._book is None else self._book.page(self._plan)

    def finish(self, status: Status, figures: Mapping[str, float] | None = None) -> None:
        """Close the cohort's run.

        Args:
            status: how it ended.
            figures: of the cohort: counts of states, means.
        """
        self._open = False
        self._tell(CohortClosed(plan=self._plan, at=_now(), status=status, figures=dict(figures or {})))

    @property
    def _plan(self) -> str:
        """Digest of the plan whose run is open."""
        assert self._cohort is not None  # noqa: S101 - nothing is told before the start
        return self._cohort.plan

    def _tell(self, event: Event) -> None:
        with self._lock:
            book = self._book
            if book is None or not self._attempt(lambda: book.write(event)):
                self._keep(event)

    def _attempt(self, work: Callable[[], None]) -> bool:
        """Whether it was done; where the server is lost, that is said once and nothing more is sent by this run."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever ails the tracking, the restoration goes on
            self._book = None
            text = "MLflow at %s does not take what this run tells it (%s); the run goes on, and the next one tells it again"
            _log.warning(text, *map(without_password, (self._uri, _in_a_line(error))))
            return False
        return True

    def _connect(self) -> None:
        """Mark what a killed run left behind, and tell what the last one could not."""
        self._state.mkdir(parents=True, exist_ok=True)
        if self._uri == _default(self._state):
            make_database(self._state)
        book = _Book(self._uri, self._owner)
        book.sweep()
        if self.unsent.exists():
            for event in _events(self.unsent):
                with suppress(KeyError):  # of a cohort whose beginning was half written
                    book.write(event)
            self.unsent.unlink()
        self._book = book

    def _keep(self, event: Event) -> None:
        missed = [event] if self._kept or self._cohort is None or event is self._cohort else [self._cohort, event]
        self._kept = True
        with self.unsent.open("a") as file:
            file.writelines(f"\n{to_line(each)}" for each in missed)  # first, to leave a half-written line behind


def _default(state: Path) -> str:
    return f"{SCHEME}{state / 'mlflow.db'}"


@dataclass
class _Child:
    """A scan's run."""

    run_id: str
    state: str
    params: set[str]


def _in_a_line(error: Exception) -> str:
    """What an error says, without the statement and the values that a database adds to it."""
    return " ".join(str(error).partition("[SQL")[0].split())[:LONGEST]


class _Book:
    """The runs of one output folder in one experiment."""

    def __init__(self, uri: str, owner: str) -> None:
        from mlflow import MlflowClient

        hush()
        self._client, self._uri, self._owner = MlflowClient(tracking_uri=uri), uri, owner
        self._experiment = experiment_id(self._client, uri, EXPERIMENT)
        self._parents: dict[str, str] = {}
        self._children: dict[str, dict[tuple[str, str], _Child]] = {}

    def write(self, event: Event) -> None:
        """Bring MLflow to what the event says; nothing changes where it says so already."""
        from mlflow.exceptions import MlflowException

        try:
            self._write(event)
        except MlflowException as error:
            if error.error_code not in REFUSED:
                raise
            _log.warning("MLflow refuses a %s: %s", event.kind, _in_a_line(error))

    def _write(self, event: Event) -> None:
        match event:
            case CohortOpened():
                self._cohort(event)
            case ScanEnded():
                self._scan(event)
            case ReportWritten():
                self._files(self._parents[event.plan], event.files)
            case CohortClosed():
                self._end(event)

    def page(self, plan: str) -> str | None:
        """Of a plan's run in MLflow's pages; None without a server."""
        return run_page(self._uri, self._experiment, self._parents[plan])

    def sweep(self) -> None:
        """Mark the runs that a killed process left RUNNING."""
        for run in self._find("attributes.status = 'RUNNING'"):
            self._client.set_terminated(run.info.run_id, "KILLED")

    def _find(self, *conditions: str) -> list[Run]:
        words = " and ".join([f"tags.`isovox.out` = '{self._owner}'", *conditions])
        runs: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs([self._experiment], words, max_results=1000, page_token=token or None)
            runs, token = runs + list(page), page.token or None
        return runs

    def _cohort(self, event: CohortOpened) -> None:
        plan = event.plan
        known = self._find(f"tags.`isovox.plan` = '{plan}'", "tags.`isovox.kind` = 'cohort'")
        tags = {"isovox.kind": "cohort", "isovox.plan": plan, **event.tags}
        run = known[0] if known else self._create(event.name, event.at, tags)
        self._parents[plan] = run.info.run_id
        self._params(run.info.run_id, event.params, set(run.data.params))
        self._client.update_run(run.info.run_id, status="RUNNING")

    def _create(self, name: str, at: int, tags: dict[str, str]) -> Run:
        short = {key: value[:LONGEST] for key, value in tags.items()}
        return self._client.create_run(self._experiment, at, {"isovox.out": self._owner, **short}, name)

    def _params(self, run_id: str, params: dict[str, str], known: set[str]) -> None:
        from mlflow.entities import Param

        new = [Param(key, value) for key, value in params.items() if key not in known]  # MLflow's parameters cannot change
        for start in range(0, len(new), BATCH):
            self._client.log_batch(run_id, params=new[start : start + BATCH])

    def _scan(self, event: ScanEnded) -> None:
        from mlflow.entities import Param, RunTag

        record = event.record
        child = self._child(record, event.plan)
        state = child.state if child and record.state == "skipped" else record.state
        if child and child.state == state:
            return
        child = child or self._add_child(record, event)
        settings = {"method": record.method, **flat(record.provenance)}
        params = [Param(key, value) for key, value in settings.items() if key not in child.params][:BATCH]
        tags = [RunTag("isovox.code", record.code), RunTag("isovox.reason", record.reason[:LONGEST])]
        self._client.log_batch(child.run_id, _metrics(_figures(record), event.at), params, tags)
        for points in _steps(record, event.at):
            self._client.log_batch(child.run_id, points)
        self._files(child.run_id, event.files)
        self._client.set_tag(child.run_id, "isovox.state", state)  # last: what it says is all there
        self._client.set_terminated(child.run_id, "FAILED" if state == "failed" else "FINISHED", event.at)
        child.state = state
        child.params |= {param.key for param in params}

    def _child(self, record: ScanRecord, plan: str) -> _Child | None:
        if plan not in self._children:
            known = self._find(f"tags.`mlflow.parentRunId` = '{self._parents[plan]}'")
            self._children[plan] = {
                (run.data.tags["isovox.key"], run.data.tags["isovox.digest"]): _Child(
                    run.info.run_id, run.data.tags.get("isovox.state", ""), set(run.data.params)
                )
                for run in known
            }
        return self._children[plan].get((record.key, record.digest))

    def _add_child(self, record: ScanRecord, event: ScanEnded) -> _Child:
        plan = event.plan
        tags = {"isovox.kind": "scan", "isovox.key": record.key, "isovox.digest": record.digest, "isovox.plan": plan}
        began = event.at - int(1000 * sum(record.seconds.values()))
        run = self._create(record.key, began, {"mlflow.parentRunId": self._parents[plan], **tags})
        child = self._children[plan][record.key, record.digest] = _Child(run.info.run_id, "", set())
        return child

    def _end(self, event: CohortClosed) -> None:
        run_id = self._parents[event.plan]
        self._client.log_batch(run_id, _metrics(event.figures, event.at))
        self._client.set_terminated(run_id, event.status, event.at)

    def _files(self, run_id: str, uris: Iterable[str]) -> None:
        for uri in uris:
            send(self._client, run_id, uri)


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, made where it is missing; artifacts lie beside a sqlite database, else where the server says.

    One that was made where its database no longer lies keeps its runs under another name: MLflow notes absolute paths.
    """
    folder = Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts" if uri.startswith("sqlite:///") else None
    known = client.get_experiment_by_name(name)
    if known and folder and known.artifact_location != folder.as_uri():
        client.rename_experiment(known.experiment_id, f"{name} before it moved, {_now()}")
        known = None
    if known:
        return str(known.experiment_id)
    return str(client.create_experiment(name, artifact_location=folder.as_uri() if folder else None))


def _figures(record: ScanRecord) -> dict[str, float]:
    groups = {"quality": record.quality, "metrics": record.metrics, "seconds": record.seconds}
    return {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}


def _metrics(figures: Mapping[str, float], at: int) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(name, float(value), at, 0) for name, value in figures.items()]


def _steps(record: ScanRecord, at: int) -> Iterator[list[Metric]]:
    """What the steps of a restoration told, in parts that MLflow takes at once."""
    from mlflow.entities import Metric

    points = [Metric(f"steps/{name}", value, at, step) for name, rows in record.steps.items() for step, value in rows]
    for start in range(0, len(points), METRICS):
        yield points[start : start + METRICS]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as MLflow's parameters: {"tiling": {"patch": 64}} → {"tiling.patch": "64"}."""
    parameters: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            parameters |= flat(value, f"{prefix}{name}.")
        else:
            parameters[_allowed(f"{prefix}{name}")] = str(value)[:LONGEST]
    return parameters


def _allowed(name: str) -> str:
    """A name that MLflow takes: of its letters, no path that could be written shorter, not too long."""
    return normpath(UNNAMED.sub("_", name))[:LONGEST_NAME]


def _events(path: Path) -> Iterator[Event]:
    for line in path.read_text().splitlines():
        with suppress(ValueError):  # the line that a killed run was writing, an empty one, or one of another version
            yield read_event(line)


def _identity(state: Path) -> str:
    """A name for this output folder that goes with it wherever it is moved."""
    path = state / "tracking-id"
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:16])
    return path.read_text()


def _now() -> int:
    return int(time.time() * 1000)
