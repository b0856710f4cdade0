"""What a model's metadata say of the machine that made it, taken out: paths, users, hosts, addresses.

The weights and ``config.json`` are copied byte for byte, so the digest stays; what they should hold of that kind is told.
"""

from __future__ import annotations

import getpass
import json
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.io import files
from core.models import card as cards
from core.models.bundle import CONFIG, SPLIT, files_of, read_bundle

PATTERNS = {
    "address": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*"),
    "path": re.compile(
        r"(?:(?:s3|gs|file|sqlite|ssh|smb)://[^\s`'\"),;]+)"  # URIs of storage
        r"|(?:(?<![\w.:/])(?:~[\w-]*)?/(?:[\w.@+~-]+/)+[\w.@+~-]*)"  # /two/parts, ~jane/data
        r"|(?:(?<!\w)[A-Za-z]:\\[^\s`'\"),;]*)"  # C:\...
        r"|(?:(?<!\\)\\\\[\w.-]+\\[^\s`'\"),;]*)"  # \\host\share
    ),
}
PLAIN = {"root", "user", "admin", "ubuntu", "localhost", "runner", "docker", "guest", "test"}  # words, and nobody's name


@dataclass(frozen=True)
class Finding:
    """Something that tells of a machine or a person at it.

    Attributes:
        file: in which it was.
        kind: "path", "address", "user" or "host".
        text: what it was.
    """

    file: str
    kind: str
    text: str


@dataclass(frozen=True)
class Sanitised:
    """What was done.

    Attributes:
        removed: what was taken out.
        left: what stays, for the digest depends on it.
    """

    removed: tuple[Finding, ...]
    left: tuple[Finding, ...]


def own_names() -> dict[str, tuple[str, ...]]:
    """Names of the user and of the host, but for words that are nobody's."""
    host = platform.node()
    known = {"user": {getpass.getuser(), Path.home().name}, "host": {host, host.partition(".")[0]}}
    return {
        kind: tuple(sorted(name for name in names if len(name) > 2 and name.lower() not in PLAIN))
        for kind, names in known.items()
    }


def sanitise(folder: str, out: str, names: dict[str, tuple[str, ...]] | None = None) -> Sanitised:
    """Copy a model without what its metadata say of the machine that made it.

    Args:
        folder: of the model.
        out: an empty or new folder, local or s3://.
        names: to be taken out, by kind; None for those of this machine.

    Raises:
        UsageError: the folder is not empty.
        WeightsError: no model.
    """
    if files.listdir(out):
        raise UsageError("folder-taken", f"an empty folder {out}", files.listdir(out)[0], "name another, or empty it")
    patterns = PATTERNS | {
        kind: _words(names_of_kind) for kind, names_of_kind in (own_names() if names is None else names).items() if names_of_kind
    }
    removed: list[Finding] = []
    left: list[Finding] = []
    bundle = read_bundle(folder)
    rendered = files.exists(files.join(folder, cards.FILE))  # then README.md is made from the card
    for name in sorted(files_of(folder, bundle), key=lambda each: each == CONFIG):
        content = files.read_bytes(files.join(folder, name))
        if name in {cards.FILE, cards.README, SPLIT} and not (name == cards.README and rendered):
            content = _cleaned(name, content, patterns, removed.append)
        elif name == CONFIG:
            left += _findings(name, content.decode(), patterns)
        files.write_atomic(files.join(out, name), content)
    if (card := cards.read_card(out)) is not None:
        cards.write_card(out, card)
    return Sanitised(tuple(removed), tuple(left))


def _words(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])", re.IGNORECASE)


def _findings(file: str, text: str, patterns: dict[str, re.Pattern[str]]) -> Iterator[Finding]:
    for kind, pattern in patterns.items():
        yield from (Finding(file, kind, match[0]) for match in pattern.finditer(text))


def _cleaned(file: str, content: bytes, patterns: dict[str, re.Pattern[str]], tell: Callable[[Finding], None]) -> bytes:
    """A file's content with each finding replaced by its kind."""

    def clean(text: str) -> str:
        for kind, pattern in patterns.items():
            for match in pattern.finditer(text):
                tell(Finding(file, kind, match[0]))
            text = pattern.sub(f"<{kind}>", text)
        return text

    if file == cards.README:
        return clean(content.decode(errors="replace")).encode()
    return (json.dumps(_each(json.loads(content), clean), indent=2) + "\n").encode()


def _each(value: Any, clean: Callable[[str], str]) -> Any:
    """A JSON value with all its texts cleaned, names of fields included."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_each(element, clean) for element in value]
    if isinstance(value, dict):
        return {clean(name): _each(element, clean) for name, element in value.items()}
    return value
