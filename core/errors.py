"""The errors that isovox raises on purpose: each says in plain sentences what was expected, what came and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")  # controls, half characters


def printable(text: str) -> str:
    r"""A text of others as one line that any terminal, page and file can show.

    Args:
        text: such as the name of a file, which may hold line breaks, what steers a terminal, and bytes that are no UTF-8.

    Returns:
        the text, each of these as \x and two hex digits, or \u and four.
    """
    return UNSHOWN.sub(lambda match: _escaped(ord(match[0])), text)


def _escaped(point: int) -> str:
    byte = point - 0xDC00 if 0xDC80 <= point <= 0xDCFF else point  # as Python keeps a byte that is no UTF-8
    return f"\\x{byte:02x}" if byte < 0x100 else f"\\u{point:04x}"


def fault(wanted: str, got: str) -> str:
    """What was expected and what came, as a sentence without its first word and its end.

    Args:
        wanted: what was expected, as the end of "expected …".
        got: what came instead, as the end of "but got …"; of a library's own words the lines are joined.
    """
    return f"expected {' '.join(wanted.split())}, but got {' '.join(got.split()).rstrip('.')}"


def order(remedy: str) -> str:
    """What the user can do, as a sentence.

    Args:
        remedy: it, begun by a verb in lower case.
    """
    return f"{remedy[:1].upper()}{remedy[1:].rstrip('.')}."


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in a sentence: so many of them and how many more there are, or "none".

    Args:
        names: in the order in which they are to be said.
        most: how many are said.
    """
    said = list(names)
    more = f" and {len(said) - most} more" if len(said) > most else ""
    return ", ".join(said[:most]) + more if said else "none"


def counted(number: int, thing: str) -> str:
    """A number of things, in words: 1 scan, 2 scans."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class IsovoxError(Exception):
    """Base of all errors raised on purpose.

    Args:
        code: short stable name of the fault, kebab-case, as shown in tables and reports ("affine-singular").
        wanted: what was expected, as the end of "expected …".
        got: what came instead, as the end of "but got …".
        remedy: what the user can do, begun by a verb in lower case.
    """

    def __init__(self, code: str, wanted: str, got: str, remedy: str) -> None:
        super().__init__(code, wanted, got, remedy)
        self.code, self.wanted, self.got, self.remedy = code, wanted, got, remedy

    def __str__(self) -> str:
        """One line: the code, then two sentences."""
        return printable(f"{self.code}: {fault(self.wanted, self.got)}. {order(self.remedy)}")


class InputError(IsovoxError):
    """A scan that the gate refuses; the others of its cohort go on."""


class GridError(IsovoxError):
    """A geometry that cannot be: wrong shape, box outside, axis out of range."""


class StoreError(IsovoxError):
    """A write that would break the one-writer-a-shard rule, or a store that is not what the plan says."""


class PlanError(IsovoxError):
    """A plan that cannot be carried out: it does not fit, or it would mix settings in one dataset."""


class WeightsError(IsovoxError):
    """Weights that are refused: a pickle, a wrong digest, or tensors that do not fit the network."""


class RegistryError(IsovoxError):
    """A database of models and runs that cannot be opened or made; exit code 3, as for anything that is damaged."""


class FeaturesError(IsovoxError):
    """Features that cannot be compared or made comparable: a table that does not fit, a site that is confounded or unknown."""


class RestorationError(IsovoxError):
    """A method that failed on a scan (non-finite output, out of memory at the smallest batch)."""


class UsageError(IsovoxError):
    """An option or a configuration that cannot be meant; exit code 2."""


@contextmanager
def naming(option: str, instead: str) -> Iterator[None]:
    """Let usage errors name the option that the command at hand has.

    Args:
        option: as it is named where the error is raised ("--suffix").
        instead: as this command calls it.

    Raises:
        UsageError: what was raised within, in those words.
    """
    try:
        yield
    except UsageError as error:
        words = [text.replace(option, instead) for text in (error.wanted, error.got, error.remedy)]
        if words == [error.wanted, error.got, error.remedy]:
            raise
        raise UsageError(error.code, *words) from error


class SettingsError(UsageError, ValueError):
    """Settings that do not go together; as a ValueError, so that pydantic tells it where it checks them."""


class BusyError(IsovoxError):
    """Another run works on the same output folder."""


class AccessError(IsovoxError, PermissionError):
    """A storage that refuses us: no credentials, or none that open it."""

    def __reduce__(self) -> tuple[type[AccessError], tuple[str, str, str, str]]:
        """As the four texts; an OSError would keep two of them."""
        return type(self), (self.code, self.wanted, self.got, self.remedy)
