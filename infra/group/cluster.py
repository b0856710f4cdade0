"""The Dask scheduler of a group, and its workers: ``python -m infra.group.cluster scheduler PORT`` or ``… workers …``.

The certificates come from ISOVOX_TLS_*; nobody without them is let in.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.clusters import SETTINGS, security

if TYPE_CHECKING:
    from distributed import Nanny, Scheduler

LOOPBACK = "127.0.0.1"
TOLD = 2.0  # seconds between two words of how many workers live
NO_SCHEDULER = 60  # seconds after which workers that find none end, and are started again


async def serve_scheduler(port: int) -> None:
    """A scheduler on loopback, until it is told to end."""
    from distributed import Scheduler

    await _until_told(await Scheduler(host=LOOPBACK, port=port, dashboard=False, **_common()))


def _common() -> dict[str, Any]:
    """Of scheduler and workers: the certificates, and the page that says that they live on a port of its own, on loopback."""
    own = security(environ)
    if own is None:
        raise SystemExit("ISOVOX_TLS_CA, ISOVOX_TLS_CERT and ISOVOX_TLS_KEY are not set")
    return {"protocol": "tls", "security": own, "dashboard_address": f"{LOOPBACK}:0"}


async def serve_workers(address: str, count: int, memory_limit: str, folder: Path, *, cuda: bool) -> None:
    """Workers on loopback, each with a nanny that starts it again; until told to end, or until one's nanny gives up.

    Args:
        address: of the scheduler.
        count: how many, where they are not one a GPU.
        memory_limit: of each, such as 8GiB; auto: an even share of the machine's.
        folder: for their scratch files, and ``workers.json`` that says how many live.
        cuda: one a GPU that CUDA_VISIBLE_DEVICES allows.
    """
    nannies = _cuda_nannies(address, memory_limit, folder) if cuda else _nannies(address, count, memory_limit, folder)
    await asyncio.gather(*nannies)
    telling = asyncio.create_task(_tell(nannies, folder / "workers.json"))
    try:
        await _until_told(*nannies)
    finally:
        telling.cancel()


def _nannies(address: str, count: int, memory_limit: str, folder: Path) -> list[Nanny]:
    from distributed import Nanny
    from distributed.worker_memory import parse_memory_limit

    limit = parse_memory_limit(memory_limit, 1, count, logger=logging.getLogger(__name__))
    options = {"nthreads": 1, "memory_limit": limit, **_options(folder)}
    return [Nanny(address, name=f"isovox-{number}", **options) for number in range(count)]


def _cuda_nannies(address: str, memory_limit: str, folder: Path) -> list[Nanny]:
    """One a GPU, as dask-cuda makes them."""
    from dask_cuda import CUDAWorker

    made = CUDAWorker(address, nthreads=1, memory_limit=memory_limit, name="isovox", dashboard=False, **_options(folder))
    return list(made.nannies)


def _options(folder: Path) -> dict[str, Any]:
    return {"host": LOOPBACK, "local_directory": str(folder), "death_timeout": NO_SCHEDULER, **_common()}


async def _tell(nannies: Sequence[Nanny], path: Path) -> None:
    """Say again and again how many workers live."""
    from distributed import Status

    while True:
        living = sum(nanny.process is not None and nanny.process.status == Status.running for nanny in nannies)
        draft = path.with_suffix(".draft")
        draft.write_text(f'{{"workers": {living}, "of": {len(nannies)}, "at": {time.time()}}}')
        draft.replace(path)
        await asyncio.sleep(TOLD)


async def _until_told(*servers: Scheduler | Nanny) -> None:
    """Until SIGTERM comes or one of them ends by itself; then all are closed."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    waiting = [asyncio.create_task(stopped.wait()), *(asyncio.create_task(server.finished()) for server in servers)]  # type: ignore[no-untyped-call]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    with suppress(Exception):  # the process ends, whatever is left of them
        await asyncio.wait_for(asyncio.gather(*(server.close() for server in servers)), timeout=8)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("scheduler").add_argument("port", type=int)
    workers = parts.add_parser("workers")
    workers.add_argument("address")
    workers.add_argument("count", type=int)
    workers.add_argument("folder", type=Path)
    workers.add_argument("--memory-limit", default="auto")
    workers.add_argument("--cuda", action="store_true")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Serve until told to end."""
    import dask
    import distributed  # noqa: F401 - first, for its import fills in the defaults

    arguments = _arguments(argv)
    with dask.config.set(SETTINGS):
        if arguments.part == "scheduler":
            asyncio.run(serve_scheduler(arguments.port))
        else:
            asyncio.run(
                serve_workers(arguments.address, arguments.count, arguments.memory_limit, arguments.folder, cuda=arguments.cuda)
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
