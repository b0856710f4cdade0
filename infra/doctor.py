"""What this machine has and lacks: the checks of ``isovox doctor``, each with what was found and the remedy."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil
from packaging.requirements import Requirement

from infra.clusters import gpu_names
from infra.own_packages import HOME, REMEDY, foreign

State = Literal["ok", "optional", "warning", "missing"]
GIB = 2**30
CORES, MEMORY, DISK, LEAST_SHARED = 2, 8 * GIB, 10 * GIB, 64 * 2**20  # below these, a warning
SHARED = Path("/dev/shm")  # noqa: S108 - looked at, not written to
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "firefox")
EXTRAS = {"gpu": "dask_cuda", "slurm": "dask_jobqueue", "k8s": "dask_kubernetes"}


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: of the thing.
        state: ok; optional: not there, and needed only for what it gives; warning: work may suffer; missing: it will fail.
        found: what is there; never a secret.
        remedy: what to do; empty where all is well.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def checks(folder: str = ".") -> list[Check]:
    """Look at this machine, in seconds.

    Args:
        folder: whose disk is looked at.
    """
    return [
        check for look in (_python, _own, _packages, _machine, _gpu, _extras, _browser, _s3, _services) for check in look()
    ] + [_disk(folder)]


def _own() -> Iterator[Check]:
    others = foreign()
    places = "; ".join(f"{name} from {place}" for name, place in others.items()) or f"all in {HOME}"
    yield Check("isovox's packages", "missing" if others else "ok", places, REMEDY if others else "")


def _python() -> Iterator[Check]:
    running = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    good = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 11)
    yield Check("Python", "ok" if good else "missing", running, "" if good else "use Python 3.11 or later")


def _packages() -> Iterator[Check]:
    """Each pinned package that is not as pinned; one line where all are."""
    try:
        wanted = [Requirement(line) for line in requires("isovox") or []]
    except PackageNotFoundError:
        yield Check("packages", "missing", "isovox is not installed", "make setup")
        return
    needed = [requirement for requirement in wanted if requirement.marker is None or requirement.marker.evaluate({"extra": ""})]
    wrong = [check for requirement in needed if (check := _package(requirement))]
    yield from wrong or [Check("packages", "ok", f"{len(needed)} as pinned")]


def _package(wanted: Requirement) -> Check | None:
    try:
        installed = version(wanted.name)
    except PackageNotFoundError:
        return Check(wanted.name, "missing", "not installed", "make setup")
    if wanted.specifier.contains(installed, prereleases=True):
        return None
    return Check(wanted.name, "warning", f"{installed}, not {wanted.specifier}", "make setup")


def _machine() -> Iterator[Check]:
    cores, memory = _cores(), _memory()
    yield _enough("CPU cores", cores, CORES, f"{cores:g}", "fewer --workers")
    yield _enough("memory", memory, MEMORY, _gib(memory), "isovox plan says what a run needs")
    if SHARED.is_dir():
        shared = shutil.disk_usage(SHARED).total
        words = f"{_gib(shared)} at {SHARED}, which isovox does not use"
        yield _enough("shared memory", shared, LEAST_SHARED, words, "docker run --shm-size=1g, for other tools")


def _enough(name: str, available: float, wanted: float, words: str, remedy: str) -> Check:
    return Check(name, "ok", words) if available >= wanted else Check(name, "warning", words, remedy)


def _cores() -> float:
    """That this process may use, a container's limit counted."""
    cores = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    return min(cores, int(quota[0]) / int(quota[1])) if len(quota) == 2 and quota[0].isdigit() else cores


def _memory() -> int:
    """In bytes, a container's limit counted."""
    limits = [_read(path) for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    return min([int(psutil.virtual_memory().total), *(int(limit) for limit in limits if limit.isdigit())])


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _disk(folder: str) -> Check:
    place = next(parent for parent in [Path(folder).resolve(), *Path(folder).resolve().parents] if parent.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Check("disk", "missing", f"{place} cannot be written to", "name another output folder")
    return _enough("disk", free, DISK, f"{_gib(free)} free at {place}", "isovox plan says what a run needs")


def _gpu() -> Iterator[Check]:
    gpus = [re.sub(r" \(UUID.*", "", line) for line in gpu_names()]
    if not gpus:
        yield Check("GPU", "optional", "none that nvidia-smi lists", "networks run on the CPU, slower")
        return
    yield Check("GPU", "ok", "; ".join(gpus))
    if "+cpu" in version("torch"):
        yield Check("torch for the GPU", "warning", f"torch {version('torch')}", "install the CUDA build of torch")


def _extras() -> Iterator[Check]:
    for extra, module in EXTRAS.items():
        name = module.replace("_", "-")
        if find_spec(module):
            yield Check(name, "ok", version(name))
        else:
            yield Check(name, "optional", "not installed", f"pip install 'isovox[{extra}]'")


def _browser() -> Iterator[Check]:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    yield Check(
        "browser", "ok" if browser else "optional", browser or "none", "" if browser else "open the reports on another machine"
    )


def _s3() -> Iterator[Check]:
    """Whether credentials are there, and from where; never what they are."""
    files = [Path(os.environ.get(name) or Path.home() / ".aws" / rest) for name, rest in _AWS_FILES.items()]
    sources = [name for name in _AWS_NAMES if os.environ.get(name)] + [str(path) for path in files if path.exists()]
    if sources:
        yield Check("S3 credentials", "ok", f"from {', '.join(sources)}")
    else:
        yield Check(
            "S3 credentials", "optional", "none", "for s3:// inputs or outputs set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


_AWS_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_ENDPOINT_URL")
_AWS_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}


def _services(environ: Mapping[str, str] = os.environ) -> Iterator[Check]:
    for name, variable in (("Prefect", "PREFECT_API_URL"), ("MLflow", "MLFLOW_TRACKING_URI")):
        uri = environ.get(variable, "")
        if not uri.startswith("http"):
            yield Check(name, "ok", uri.partition(":")[0] or "on this machine, started as needed")
        elif (place := _reached(uri)) is None:
            yield Check(name, "ok", f"answers at {_place(uri)}")
        else:
            yield Check(name, "warning", f"{_place(uri)}: {place}", f"start it, or unset {variable}")


def _place(uri: str) -> str:
    """Without user and password."""
    parts = urlsplit(uri)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _reached(uri: str) -> str | None:
    """Why nothing answers there; None where something does."""
    host, _, port = _place(uri).rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=3):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__
