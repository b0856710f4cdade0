"""How a program of others is called: what a YAML file says of it, its version, and a call within limits.

A call has a folder of its own. The scan is written there, the program runs there in a group of processes of its own, and when it
has ended, or its time is over, the group is ended and the folder removed. Memory is that of each process (RLIMIT_DATA); what a
container takes the container's own option limits.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from core.errors import RestorationError, SettingsError
from core.models.domain import Domain
from core.settings.base import Settings, wrong

SHIPPED = Path(__file__).parent / "programs"
GRACE = 10  # seconds between asking a program to end and ending it
TOLD = 400  # letters of what a program said last, that an error repeats
ASKED = 60  # seconds that a program has to tell its version


class Program(Settings):
    """What a YAML file says of a program.

    Attributes:
        title: its name.
        command: words of its command line; words in braces are filled in, see ``programs/copy.yaml``.
        install: how it is installed.
        input: where the scan is written, below the folder.
        output: where the program writes its image, below the folder; may hold ``*``.
        interpolated: whether the scan is given to it on the restored grid, interpolated.
        files: texts that it wants beside the scan, by their paths below the folder.
        version: command that prints its version; empty where there is none.
        minutes: that it may take.
        memory: GiB that each of its processes may take.
        keeps_contrast: whether its image has the scan's contrast, so that the two can be held against each other.
        domain: scans that it is for.
    """

    title: str
    command: tuple[str, ...] = Field(min_length=1)
    install: str
    input: str = "scan.nii.gz"
    output: str = "restored.nii.gz"
    interpolated: bool = False
    files: Mapping[str, str] = {}
    version: tuple[str, ...] = ()
    minutes: float = Field(gt=0)
    memory: float = Field(gt=0, allow_inf_nan=False)
    keeps_contrast: bool = True
    domain: Domain = Domain()

    @model_validator(mode="after")
    def _all_below_the_folder(self) -> Self:
        """No call writes where another one may at the same time, with the scan of another person."""
        for path in map(PurePosixPath, (self.input, self.output, *self.files)):
            if path.is_absolute() or ".." in path.parts or not path.name:
                raise ValueError(f"expected paths below the folder of a call, but got '{path}'. Name it relative to that.")
        return self

    @property
    def path(self) -> str:
        """Of the program.

        Raises:
            RestorationError: program-missing.
        """
        if (path := shutil.which(self.command[0])) is None:
            wanted = f"the program {self.command[0]} of {self.title} on the PATH"
            raise RestorationError("program-missing", wanted, "none", f"install it: {self.install}")
        return path

    def filled(self, words: tuple[str, ...], values: Mapping[str, object] = {}) -> list[str]:
        """Words with what stands in braces."""
        known = {"python": _interpreter(self.path), **values}
        filled = []
        for word in words:
            for name, value in known.items():
                word = word.replace(f"{{{name}}}", str(value))  # noqa: PLW2901 - filled in one by one
            filled.append(word)
        return filled

    def tell_version(self) -> str:
        """The first line that its command for that prints; "" where there is none, or it does not tell.

        Raises:
            RestorationError: program-missing.
        """
        words = self.filled(self.version)
        if not words:
            return ""
        try:
            done = subprocess.run(  # noqa: S603 - as its file says
                words, capture_output=True, text=True, errors="replace", timeout=ASKED, check=True, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip().partition("\n")[0]

    def run(self, folder: Path, values: Mapping[str, object]) -> Path:
        """Call it.

        Args:
            folder: with the scan; it runs there.
            values: that are filled in, by name.

        Returns:
            the one file that it wrote where its image should be.

        Raises:
            RestorationError: program-missing, program-slow, program-failed, program-silent.
        """
        for name, text in self.files.items():
            _place(folder / name).write_text(text, encoding="utf-8")
        _place(folder / self.output)
        log = folder / "log.txt"
        memory = int(self.memory * 1024)
        paths = {"input": folder / self.input, "output": folder / self.output, "folder": folder}
        words = self.filled(self.command, {**values, **paths, "memory": memory})
        code = _call(words, folder, log, self.minutes, memory)
        last = _said_last(log)
        if code is None:
            wanted, got = f"{self.title} to end within {self.minutes:g} minutes", f"it went on; it said last: {last}"
            raise RestorationError("program-slow", wanted, got, "give it more time (option minutes), or a smaller scan")
        if code:
            wanted, got = f"{self.title} to end well", f"exit code {code}; it said last: {last}"
            remedy = f"look at what it said; it had {self.memory:g} GiB (option memory)"
            raise RestorationError("program-failed", wanted, got, remedy)
        written = sorted(path for path in folder.glob(self.output) if path.is_file())
        if len(written) != 1:
            wanted, got = f"one file {self.output} from {self.title}", f"{len(written)}; it said last: {last}"
            raise RestorationError("program-silent", wanted, got, "correct its YAML file, or look at what it said")
        return written[0]


def read_program(name: str) -> Program:
    """What is said of a program.

    Args:
        name: of one that isovox knows, or the path of a YAML file.

    Raises:
        SettingsError: program-unknown, program-unreadable.
    """
    own = SHIPPED / f"{name}.yaml"
    path = own if own.parent == SHIPPED and own.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        remedy = "name one of them, or the path of a YAML file of your own, by the option program"
        raise SettingsError("program-unknown", f"one of {known}, or a YAML file", name or "none", remedy)
    try:
        return Program.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        wanted = f"title, command, install, minutes and memory of a program in {path}"
        got = wrong(error) if isinstance(error, ValueError) else str(error)
        raise SettingsError("program-unreadable", wanted, got, f"write it as {SHIPPED / 'copy.yaml'} is written") from error


def _said_last(log: Path) -> str:
    """The end of what a program said, however much that is; empty where it removed its folder."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8 * TOLD))
            return " ".join(file.read().decode(errors="replace").split())[-TOLD:]
    except FileNotFoundError:
        return ""


def _place(path: Path) -> Path:
    """A path whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _interpreter(path: str) -> str:
    """The program that the first line of a script names; of others the python on the PATH."""
    with Path(path).open("rb") as file:
        first = file.readline(1024)
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    return words[0] if words and "python" in words[0] else "python3"


def _call(words: list[str], folder: Path, log: Path, minutes: float, mebibytes: int) -> int | None:
    """The exit code; None where time was over. Nothing of the group outlives the call."""
    # The shell sets the limits and becomes the program: Python's own way to do so is not safe among threads.
    limits = 'ulimit -c 0; ulimit -d "$0" 2>/dev/null; exec "$@"'
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - as its file says
            ["/bin/sh", "-c", limits, str(mebibytes * 1024), *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGTERM)
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen[Any]) -> None:
    """End what is left of a program's group."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE if process.returncode is None else 0)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
