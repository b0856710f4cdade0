"""A SLURM of one machine, for tests: munge, a controller and a node, each in the foreground, in a folder of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.services import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
CONF = """
ClusterName=isovox
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 State=UNKNOWN
PartitionName=normal Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Slurm:
    """One that runs.

    Attributes:
        folder: of its configuration, and of what it keeps.
    """

    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def run(self, *words: object) -> str:
        """What a program of SLURM says."""
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        return subprocess.run([*map(str, words)], env=environment, capture_output=True, text=True, check=True).stdout

    def jobs(self) -> dict[str, str]:
        """The state of each job that is not over, by its number."""
        return dict(line.split() for line in self.run("squeue", "--noheader", "--format=%i %T").splitlines())


@contextmanager
def slurm() -> Iterator[Slurm]:
    """Start one, and end it with all its jobs."""
    if lacking := [program for program in PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]:
        pytest.skip(f"needs {', '.join(lacking)}, as of Debian's slurm-wlm and munge")
    if os.geteuid():
        pytest.skip("needs root, as slurmd does")
    folder = Path(tempfile.mkdtemp(prefix="isovox-slurm-"))  # short, for the name of munge's socket
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(1024))
    ports = {name: free_port("127.0.0.1", 0) for name in ("controller", "node")}
    made = Slurm(folder)
    made.conf.write_text(CONF.format(host=socket.gethostname().partition(".")[0], folder=folder, **ports))
    started = list(_daemons(made))
    try:
        _until_up(made)
        yield made
    finally:
        subprocess.run(["scancel", "--user=root"], env={**os.environ, "SLURM_CONF": str(made.conf)}, check=False)
        time.sleep(2)
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _daemons(made: Slurm) -> Iterator[subprocess.Popen[bytes]]:
    folder = made.folder
    places = [f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in ("log-file", "seed-file")]
    munge = ["--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.sock", *places]
    commands = {"munged": [*munge, f"--pid-file={folder}/munge.pid"], "slurmctld": ["-D"], "slurmd": ["-D"]}
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin", "SLURM_CONF": str(made.conf)}
    for name, arguments in commands.items():
        with (folder / f"{name}.out").open("wb") as log:
            program = shutil.which(name, path=environment["PATH"])
            yield subprocess.Popen([str(program), *arguments], env=environment, stdout=log, stderr=log)
        time.sleep(1)


def _until_up(made: Slurm) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if made.run("sinfo", "--noheader", "--format=%t").strip() == "idle":
                return
        except subprocess.CalledProcessError:
            pass
        assert time.monotonic() < end, "".join(path.read_text(errors="replace") for path in made.folder.glob("*.out"))
        time.sleep(0.5)
