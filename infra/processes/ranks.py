"""One function in several processes that know of each other (``torch.distributed``): one a GPU, started by dask-cuda."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from infra.clusters import _extra, gpu_names
from infra.pools import ClusterError

START = 120.0  # seconds for all workers to be there
TOPIC = "isovox-told"  # of what the first rank tells
Tell = Callable[[Any], None]


def _nobody(event: Any) -> None:
    """Tell nobody."""


def gpu_count() -> int:
    """GPUs of this machine."""
    return len(gpu_names())


def run_ranks(
    count: int, function: Callable[[Any, Tell], None], argument: Any, tell: Tell = _nobody, *, gpus: bool = True
) -> None:
    """Run a function in so many processes at once, each a rank of one process group, and wait for all.

    Args:
        count: of processes.
        function: importable by name; gets the argument, and what it may tell of its work.
        argument: that each gets; small.
        tell: hears, in a thread of its own, what the first rank tells: small values that can be pickled.
        gpus: a GPU and NCCL for each; else the CPU and gloo.

    Raises:
        ClusterError: too few workers came.
        Exception: what the function raised in the first rank that failed.
    """
    from distributed import Client, LocalCluster
    from distributed.protocol.pickle import loads

    how: dict[str, Any] = {"n_workers": count, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    make = _extra("cuda").LocalCUDACluster if gpus else LocalCluster
    with make(silence_logs=50, **how) as cluster, Client(cluster) as client:
        client.wait_for_workers(count, timeout=START)
        workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
        if len(workers) < count:
            raise ClusterError("workers-missing", f"{count} workers", str(len(workers)), "see isovox doctor")
        client.subscribe_topic(TOPIC, lambda event: tell(loads(event[1])))
        port, backend = _free_port(), "nccl" if gpus else "gloo"
        ranks = [
            client.submit(_rank, rank, count, port, backend, function, argument, workers=[worker], pure=False, retries=0)
            for rank, worker in enumerate(workers)
        ]
        client.gather(ranks)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _rank(rank: int, world: int, port: int, backend: str, function: Callable[[Any, Tell], None], argument: Any) -> None:
    from distributed import get_worker
    from distributed.protocol.pickle import dumps
    from torch import distributed

    worker = get_worker()

    def tell(event: Any) -> None:
        worker.log_event(TOPIC, dumps(event))

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(world)}
    distributed.init_process_group(backend)
    try:
        function(argument, _nobody if rank else tell)
    finally:
        distributed.destroy_process_group()
