"""Where work runs, by name: this process, Dask on this machine, its GPUs, a scheduler's address, SLURM, Kubernetes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from core import logs
from core.errors import UsageError
from core.settings.run import Compute
from infra.group.state import environment
from infra.pools import SINGLE, ClusterError, Pool, Threads, Workers
from infra.processes.signals import kept_from_children, terminable
from infra.slurm_keeper import Keeper, lifetime

if TYPE_CHECKING:
    from distributed.deploy.cluster import Cluster
    from distributed.security import Security

CONNECT = 20.0  # seconds within which a scheduler answers
EXTRAS = {"cuda": ("dask_cuda", "gpu"), "slurm": ("dask_jobqueue", "slurm"), "kubernetes": ("dask_kubernetes.operator", "k8s")}
ROLES = ("client", "scheduler", "worker")  # of Dask, which share a certificate
ISOLATED = "ISOVOX_KUBERNETES_ISOLATED"  # 1: a network policy lets nobody else reach the scheduler's namespace
PATIENCE = 120.0  # seconds without any worker after which a cluster that has its machines counts as dead
LEAST_MEMORY = 1 << 20  # bytes of a worker: less is a number whose unit was forgotten
RETURN = 300.0  # the same for one that others keep alive: it was lost, and its workers start anew

# Python's tracker of semaphores, begun with the first worker, tidies up after a command that was stopped: without a word.
TRACKER = {"PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker"}

# Workers keep their data to themselves and send back little, so there is nothing to spill; and a worker that was paused for the
# memory of the scan in hand would never be resumed. The limit itself stays: a worker above it is ended and its call tried again.
MEMORY = {"target": False, "spill": False, "pause": False, "terminate": 0.95}
SETTINGS = {
    "distributed.scheduler.allowed-failures": 3,
    "distributed.scheduler.worker-ttl": "6 hours",  # a worker whose task holds the GIL is silent, not dead
    "distributed.nanny.pre-spawn-environ": SINGLE,
    "distributed.worker.daemon": True,
    "distributed.worker.preload": ["infra.processes.parent_death"],
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.comm.timeouts.connect": "120 s",
    "distributed.deploy.lost-worker-timeout": "5 minutes",  # a worker that starts again on a busy machine is not given up
    # Pages of a scheduler and its workers know no password: none but the one that says that it lives.
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
    **{f"distributed.worker.memory.{name}": value for name, value in MEMORY.items()},
}


@contextmanager
def open_cluster(compute: Compute) -> Iterator[Pool]:
    """A pool of workers that lives as long as the block.

    However the block ends (an exception, Ctrl-C, SIGTERM), no worker process of ours is left; workers of a scheduler given by its
    address are left alone. Where this process is killed outright, its workers notice and end.

    Args:
        compute: ``cluster`` is in-process, local, cuda, slurm, kubernetes, group or the address of a Dask scheduler.

    Raises:
        UsageError: no such cluster, or a memory limit that cannot be.
        ClusterError: a package, a GPU or the scheduler is missing.
    """
    _check_memory(compute)
    with terminable(), _configured(compute):
        pool = _opener(compute.cluster)(compute)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


def cancel(pool: Pool) -> None:
    """Drop all work and end the pool's workers, from any thread: for hooks of a cancelled run."""
    pool.cancel()


@contextmanager
def _configured(compute: Compute) -> Iterator[None]:
    if compute.cluster == "in-process":
        yield
        return
    import dask
    import distributed  # noqa: F401 - first, for its import fills in the defaults that leaving the block would otherwise drop

    with dask.config.set(SETTINGS):
        yield


def _opener(name: str) -> Callable[[Compute], Pool]:
    if name in OPENERS:
        return OPENERS[name]
    if "://" in name:
        return _address
    wanted = f"a cluster of {', '.join(OPENERS)}, or the address of a scheduler"
    raise UsageError("unknown-cluster", wanted, repr(name), "give --cluster one of these, or tcp://HOST:8786")


def _in_process(compute: Compute) -> Pool:
    return Threads(compute.workers)


def _local(compute: Compute) -> Pool:
    from distributed import LocalCluster

    with kept_from_children(), patch.dict(os.environ, TRACKER):
        cluster = LocalCluster(n_workers=compute.workers, memory_limit=compute.memory_limit, **_here())
    return _connect(cluster, PATIENCE, compute)


def _cuda(compute: Compute) -> Pool:
    """One worker a GPU that CUDA_VISIBLE_DEVICES allows."""
    if not gpu_names():
        raise ClusterError("gpu-missing", "a GPU for cluster 'cuda'", "none that nvidia-smi lists", "use --cluster local")
    package = _extra("cuda")
    with kept_from_children(), patch.dict(os.environ, TRACKER):
        cluster = package.LocalCUDACluster(memory_limit=compute.memory_limit, **_here())
    return _connect(cluster, PATIENCE, compute)


def _here() -> dict[str, Any]:
    """Options of clusters on this machine: one thread a worker, nothing to be reached from outside, certificates of their own."""
    return {
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": None,
        "security": True,
        "silence_logs": 50,  # deaths of workers are told by run_bounded
    }


def _address(compute: Compute) -> Pool:
    return _scheduler(compute.cluster, os.environ)


def _group(_: Compute) -> Pool:
    """That of the services that ``isovox up`` started, for their worker, which is told, and for others on this machine."""
    variables = os.environ if "ISOVOX_CLUSTER" in os.environ else environment()
    if "ISOVOX_CLUSTER" not in variables:
        raise ClusterError("no-group", "a group's cluster, in ISOVOX_CLUSTER", "none that is up", "start one: isovox up")
    return _scheduler(variables["ISOVOX_CLUSTER"], variables)


def _scheduler(address: str, environ: Mapping[str, str]) -> Pool:
    from distributed import Client

    own = _certified(address, environ)
    connect = partial(Client, address, timeout=CONNECT, set_as_default=False, security=own)
    try:
        client = connect()
    except (OSError, ValueError) as error:
        wanted, got = f"a Dask scheduler at {address}", f"{type(error).__name__}: {error}"
        raise ClusterError("cluster-unreachable", wanted, got, "start it, or use another cluster") from error
    return Workers(client, None, RETURN, again=connect)


def _certified(address: str, environ: Mapping[str, str]) -> Security | None:
    """What a client of a scheduler on tls:// shows: named by the environment, or by Dask's own configuration."""
    from distributed.security import Security

    own = security(environ)
    if address.startswith("tls:") and not (own or Security()).get_connection_args("client").get("ssl_context"):
        wanted, remedy = f"certificates for {address}", "set ISOVOX_TLS_CA, ISOVOX_TLS_CERT and ISOVOX_TLS_KEY, as isovox up says"
        raise ClusterError("no-certificate", wanted, "none", remedy)
    return own if address.startswith("tls:") else None


def security(environ: Mapping[str, str]) -> Security | None:
    """The certificates that ISOVOX_TLS_CA, ISOVOX_TLS_CERT and ISOVOX_TLS_KEY name; None where they are not set."""
    from distributed.security import Security

    authority, certificate, key = (environ.get(f"ISOVOX_TLS_{name}") for name in ("CA", "CERT", "KEY"))
    if not (authority and certificate and key):
        return None
    own = {f"tls_{role}_{kind}": path for role in ROLES for kind, path in (("cert", certificate), ("key", key))}
    return Security(tls_ca_file=authority, require_encryption=True, **own)


def _slurm(compute: Compute) -> Pool:
    """One job a worker; queue, account and walltime come from Dask's own configuration file (jobqueue.slurm).

    Certificates of the run's own keep other users of the network out; they lie in a folder that all machines see: that file's
    shared-temp-directory, or the home.
    """
    import dask

    package = _extra("slurm")
    prologue = [f"export {name}={value}" for name, value in _worker_environment().items()]
    job = {"cores": 1, "processes": 1, "memory": _memory(compute), "job_script_prologue": prologue}
    shared = dask.config.get("jobqueue.slurm.shared-temp-directory", None) or str(Path.home())
    options = {"scheduler_options": {"dashboard_address": None}, "shared_temp_directory": shared}
    leaving = _leaving()
    options["worker_extra_args"] = [*(dask.config.get("jobqueue.slurm.worker-extra-args", None) or []), *leaving]
    cluster = package.SLURMCluster(**job, security=True, **options)
    cluster.scale(compute.workers)
    return _connect(cluster, RETURN, compute, kept=True)


def _leaving() -> list[str]:
    """Arguments by which workers leave before their walltime; that of dask-jobqueue where its file says none."""
    import dask

    return lifetime(dask.config.get("jobqueue.slurm.walltime", None) or "00:30:00")


def _kubernetes(compute: Compute) -> Pool:
    """One pod a worker, by the Dask operator; image and namespace come from Dask's own configuration file (kubernetes).

    The operator's scheduler knows neither certificates nor passwords: whoever reaches its port runs code in the pods. So the
    namespace must let nobody in, which this process cannot see, and must be told.
    """
    package = _extra("kubernetes")
    if os.environ.get(ISOLATED) != "1":
        wanted, got = (
            "a scheduler that asks for a certificate, or that nobody else can reach",
            "the Dask operator's, which asks nobody",
        )
        remedy = f"put a network policy around its namespace (see infra/kubernetes) and set {ISOLATED}=1, or use tls://…"
        raise ClusterError("cluster-open", wanted, got, remedy)
    limits = {"requests": {"memory": _quantity(compute)}, "limits": {"memory": _quantity(compute)}}
    pods = {"n_workers": compute.workers, "env": _worker_environment(), "resources": limits}
    cluster = package.KubeCluster(name="isovox", **pods, shutdown_on_close=True)
    return _connect(cluster, None, compute)


def _connect(cluster: Cluster, patience: float | None, compute: Compute, *, kept: bool = False) -> Pool:
    from distributed import Client

    most = 0
    if compute.fewest_workers is not None:
        most = max(compute.workers, compute.fewest_workers)
        cluster.adapt(minimum=compute.fewest_workers, maximum=most)
    client = Client(cluster, set_as_default=False)
    if logs.shown():
        from infra.worker_logs import forward

        forward(client)
    keeper = Keeper(cluster, client, most or compute.workers) if kept else None
    return Workers(client, cluster, patience, most, keeper=keeper)


def check_cluster(compute: Compute) -> None:
    """See, in no time and before anything is started, whether the cluster has the packages, programs and settings that it needs.

    Raises:
        ClusterError, UsageError: what is missing, with its remedy.
    """
    _opener(compute.cluster)
    _check_memory(compute)
    if (name := compute.cluster) in EXTRAS and find_spec(EXTRAS[name][0].partition(".")[0]) is None:
        raise _missing(*EXTRAS[name], name, "no such package")
    if name in {"slurm", "kubernetes"}:
        _memory(compute)
    if name == "slurm" and shutil.which("sbatch") is None:
        raise ClusterError("no-slurm", "sbatch, for cluster 'slurm'", "none on the PATH", "run it where jobs are submitted")
    if name == "slurm":
        _leaving()


def _extra(cluster: str) -> ModuleType:
    module, extra = EXTRAS[cluster]
    try:
        return import_module(module)
    except ImportError as error:
        raise _missing(module, extra, cluster, str(error)) from error


def _missing(module: str, extra: str, cluster: str, got: str) -> ClusterError:
    package = module.partition(".")[0].replace("_", "-")
    here = Path(__file__).resolve().parents[1]
    remedy = f"make -C {here} setup EXTRAS={extra}" if (here / "Makefile").exists() else f"pip install 'isovox[{extra}]'"
    return ClusterError("extra-missing", f"{package} for cluster '{cluster}'", got, f"install it: {remedy}")


def _worker_environment() -> dict[str, str]:
    """What workers on other machines must be told, which those of this machine take from ``SETTINGS``."""
    memory = {f"DASK_DISTRIBUTED__WORKER__MEMORY__{name.upper()}": str(value) for name, value in MEMORY.items()}
    return {**SINGLE, **memory}


def _check_memory(compute: Compute) -> None:
    """Refuse a memory limit that Dask could not read, or that no worker could start within.

    Raises:
        UsageError: memory-limit.
    """
    if (limit := compute.memory_limit) == "auto":
        return
    from dask.utils import parse_bytes

    try:
        share = float(limit) if limit.replace(".", "", 1).isdigit() and compute.cluster not in {"slurm", "kubernetes"} else 0.0
        fits = 0 < share <= 1 or parse_bytes(limit) >= LEAST_MEMORY  # of this machine's memory, or bytes
    except (ValueError, OverflowError):
        fits = False
    if not fits:
        wanted = "a memory limit of each worker such as 8GiB, on this machine a share of its own up to 1, or auto"
        raise UsageError("memory-limit", wanted, repr(limit), "give --memory-limit so, or leave it out")


def _memory(compute: Compute) -> str:
    if compute.memory_limit == "auto":
        wanted = f"the memory of a worker on cluster '{compute.cluster}'"
        raise UsageError("memory-limit", wanted, "'auto'", "give it, such as --memory-limit 8GiB")
    return compute.memory_limit


def _quantity(compute: Compute) -> str:
    """As Kubernetes writes bytes."""
    from dask.utils import parse_bytes

    return str(parse_bytes(_memory(compute)))


def gpu_names() -> list[str]:
    """The GPUs that nvidia-smi lists, one line each; empty without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    return listed.stdout.splitlines() if listed.returncode == 0 else []


def gpu_memory(compute: Compute) -> int | None:
    """Bytes of memory of the smallest GPU of this machine, where the work runs on them; None where nothing can be said."""
    if compute.cluster != "cuda" or not gpu_names():
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    sizes = [int(line) for line in listed.stdout.split() if line.isdigit()]
    return min(sizes) * 2**20 if sizes else None


OPENERS: dict[str, Callable[[Compute], Pool]] = {
    "in-process": _in_process,
    "local": _local,
    "cuda": _cuda,
    "slurm": _slurm,
    "kubernetes": _kubernetes,
    "group": _group,
}
