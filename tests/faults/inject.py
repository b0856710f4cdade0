"""Runs the command line with a fault built in: at the n-th call of a named function the process dies, the disk is full, ….

python inject.py '{"argv": ["run", "IN", "OUT"], "faults": [{"at": "core.io.arrays.store:Store.write_block", "act": "kill"}]}'
python inject.py --serve      requests of that form, one a line; each runs in a fork, which saves 10 s of imports
dask worker --preload inject.py      the same faults in a worker, by the variable ISOVOX_TEST_FAULTS
"""

from __future__ import annotations

import errno
import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAULTS = "ISOVOX_TEST_FAULTS"


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _terminate(_: str) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)


def _full(_: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _drop(_: str) -> None:
    raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def _sleep(seconds: str) -> None:
    time.sleep(float(seconds))


def _remove(path: str) -> None:
    Path(path).unlink()


def _tell_peak(path: str) -> None:
    """Write the most memory that this process has ever held, in bytes."""
    words = Path("/proc/self/status").read_text().split()
    Path(path).write_text(str(1024 * int(words[words.index("VmHWM:") + 1])))


def _note(path: str) -> None:
    """Count the calls: a line each."""
    with Path(path).open("a") as file:
        file.write("called\n")


def _kill_other(path: str) -> None:
    os.kill(int(Path(path).read_text()), signal.SIGKILL)
    time.sleep(1)


ACTS = {
    "kill": _kill,
    "terminate": _terminate,
    "full": _full,
    "drop": _drop,
    "sleep": _sleep,
    "remove": _remove,
    "kill-other": _kill_other,
    "tell-peak": _tell_peak,
    "note": _note,
}


def _first(path: str | None) -> bool:
    """Whether this fault has not yet happened in any process that shares the marker."""
    if path is None:
        return True
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def build_in(fault: dict[str, Any]) -> None:
    """Wrap the function named by ``at`` (module:name).

    Other entries: ``match`` (in the text of the call's arguments), ``from``/``to`` (at which of the calls
    that match, from 1; default the first), ``act``, ``with`` (what the act is told), ``once`` (a file that marks that it
    happened), ``after`` (the call is made first).
    """
    module, _, path = fault["at"].partition(":")
    holder: Any = importlib.import_module(module)
    *above, name = path.split(".")
    for part in above:
        holder = getattr(holder, part)
    real, lock, seen = getattr(holder, name), threading.Lock(), [0]

    def due(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if fault.get("match", "") not in repr((args, kwargs)):
            return False
        with lock:
            seen[0] += 1
            first = fault.get("from", 1)
            return first <= seen[0] <= fault.get("to", first) and _first(fault.get("once"))

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not due(args, kwargs):
            return real(*args, **kwargs)
        result = real(*args, **kwargs) if fault.get("after") else None
        ACTS[fault["act"]](fault.get("with", ""))
        return result if fault.get("after") else real(*args, **kwargs)

    setattr(holder, name, wrapped)


def dask_setup(_worker: object) -> None:
    """Called by a Dask worker that was told to load this file."""
    sys.path.insert(0, str(ROOT))
    for fault in json.loads(os.environ.get(FAULTS, "[]")):
        build_in(fault)


def run(request: dict[str, Any]) -> int:
    """The exit code of the command line."""
    os.environ.update(request.get("env", {}))
    here = [fault for fault in request.get("faults", []) if not fault.get("in_worker")]
    there = [fault for fault in request.get("faults", []) if fault.get("in_worker")]
    if there:
        from infra import clusters

        os.environ[FAULTS] = json.dumps(there)
        clusters.SETTINGS["distributed.worker.preload"] = [*clusters.SETTINGS["distributed.worker.preload"], __file__]
    for place, value in request.get("constants", {}).items():
        module, _, name = place.partition(":")
        setattr(importlib.import_module(module), name, value)
    for fault in here:
        build_in(fault)
    from cli.main import main

    return main(request["argv"])


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    with Path(request["log"]).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    sys.exit(run(request))


def _import_all() -> None:
    for module in (
        "flows.reprocess",
        "flows.runs.launch",
        "cli.helpers.options",
        "cli.helpers.tables",
        "mlflow.store.tracking.sqlalchemy_store",
    ):
        importlib.import_module(module)
    for module in ("zarr.storage", "zarr.codecs", "nibabel", "isal.igzip", "rich.progress", "mlflow", "bids2table", "PIL.Image"):
        importlib.import_module(module)


def _answer(request: dict[str, Any]) -> Any:
    if "argv" in request:
        return _fork(request)
    pid, status = os.waitpid(request["poll"], os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def serve() -> None:
    """Answer requests until the input ends: {"argv": …, "log": …} by a process's number, {"poll": number} by its exit code."""
    _import_all()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(run(json.loads(sys.argv[1])))
