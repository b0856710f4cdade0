"""Whether an output folder may be written to: not the input, not another kind of result, not somebody else's files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal

from core.errors import IsovoxError, UsageError, listed
from core.io import files, tables

Kind = Literal["run", "simulate", "evaluate", "harmonize", "train", "reading", "pairs"]
WRITTEN = ("dataset_description.json", ".bidsignore", "report.html", "reports")  # at the top, by the kinds that write them
DERIVATIVES = "derivatives"
HARMONISED = ("harmonized", "maps")  # folders at the top of an output of isovox harmonize that it alone keeps
TABLE = ".tsv"
REMEDY = "name another folder for the output"
SHOWN = 3  # names that a refusal says


def _real(uri: str) -> str:
    return uri.rstrip("/") if files.is_remote(uri) else os.path.realpath(os.path.expanduser(uri))  # noqa: PTH111 - no Path of s3://


def _below(uri: str, folder: str) -> str | None:
    """The path of ``uri`` below a folder; None where it is not below."""
    top = folder.rstrip("/") + "/"
    return uri[len(top) :] if uri.startswith(top) else None


def check_apart(out: str, inputs: Iterable[str]) -> None:
    """Refuse an output that is an input, lies in one (but in its derivatives/), or holds one.

    Args:
        out: folder or s3:// prefix.
        inputs: datasets, folders, images or tables that are read; the images that a table names are inputs too.

    Raises:
        UsageError: out-is-input, out-in-input, out-above-input, and as ``check_place``.
    """
    check_place(out)
    place = _real(out)
    for source in _with_rows(inputs):
        read = _real(source)
        if place == read:
            raise UsageError("out-is-input", "an output folder of its own", f"{out}, which is the input", REMEDY)
        inside = _below(place, read)
        if inside is not None and inside.partition("/")[0] != DERIVATIVES:
            remedy = f"{REMEDY}, such as {files.join(source, DERIVATIVES, 'isovox')}"
            raise UsageError("out-in-input", "an output outside the input, or in its derivatives/", out, remedy)
        if _below(read, place) is not None and not _is_ours(out):
            raise UsageError("out-above-input", "an output that does not hold the input", f"{out}, which holds {source}", REMEDY)


def _with_rows(inputs: Iterable[str]) -> Iterator[str]:
    """The inputs, and what those of them which are tables name, but for folders above the table itself, which are no series."""
    for source in inputs:
        yield source
        if source.lower().endswith(TABLE):
            with suppress(OSError, IsovoxError):  # a table that cannot be read is refused where it is
                here = _real(source)
                yield from (path for path in dict.fromkeys(tables.paths_in(source)) if _below(here, _real(path)) is None)


def _is_ours(out: str) -> bool:
    return kind_of(out) is not None


def kind_of(out: str) -> str | None:
    """What made an output; None where nothing that left its mark did."""
    try:
        claimed = files.read_json(files.join(out, "isovox", "kind.json"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "run" if files.exists(files.join(out, "isovox", "plan.json")) else None
    return str(claimed.get("Kind")) if isinstance(claimed, dict) else None


def mark(out: str, kind: Kind, source: str = "") -> None:
    """Leave the mark of what makes an output.

    Args:
        out: folder or s3:// prefix.
        kind: of what is made.
        source: the input that it is made of, where another one is refused later (``input_of``).
    """
    made = {"Kind": kind} | ({"Input": _real(source)} if source else {})
    if _marked(out) != made:
        files.write_json(files.join(out, "isovox", "kind.json"), made)


def begin(out: str, kind: Kind, but: Collection[str] = ()) -> None:
    """Leave the mark, and take away what killed writers left there; call it only with the output's lock.

    Args:
        out: folder or s3:// prefix.
        kind: of what is made.
        but: outputs below it with locks of their own, in which others may write.
    """
    mark(out, kind)
    files.remove_leftovers(out, but)


def _marked(out: str) -> Any:
    try:
        return files.read_json(files.join(out, "isovox", "kind.json"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def input_of(out: str) -> str | None:
    """The input that an output of ``isovox run`` was last made of; None where nothing tells."""
    marked = _marked(out)
    if isinstance(marked, dict) and isinstance(marked.get("Input"), str):
        return str(marked["Input"])
    try:
        source = files.read_json(files.join(out, "isovox", "plan.json"))["settings"]["input"]
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return None
    return _real(source) if isinstance(source, str) else None


def is_same_input(source: str, before: str) -> bool:
    """Whether two inputs are one, or one is a file or a table in the other."""
    place, former = _real(source), _real(before)
    if place == former:
        return True
    inner, outer = max(place, former, key=len), min(place, former, key=len)
    return _below(inner, outer) is not None and not files.is_folder(inner)


def refuse_input(out: str, before: str, source: str, scans: Sequence[str]) -> UsageError:
    """The refusal of an output that another input's scans of the same names would overwrite.

    Args:
        out: folder or s3:// prefix.
        before: the input that it was made of.
        source: the input that is to be read.
        scans: names of those that are other bytes there.
    """
    names = listed(scans, SHOWN)
    got = f"{out}, made of {before}, where {names} {'is another scan' if len(scans) == 1 else 'are other scans'} than in {source}"
    return UsageError("out-other-input", "an output of the same input, or of the same scans", got, REMEDY)


def check_place(out: str) -> None:
    """Refuse an output that can be no folder.

    Args:
        out: folder or s3:// prefix.

    Raises:
        UsageError: out-unnamed, out-is-file, out-forbidden.
    """
    if not out.partition("://")[2 if "://" in out else 0].strip("/ ") and out.strip() != "/":
        raise UsageError("out-unnamed", "a folder or an s3:// prefix for the output", f"{out!r}", REMEDY)
    if files.is_remote(out):
        return
    if "://" in out:
        raise UsageError("out-unnamed", "a folder or an s3:// prefix for the output", out, REMEDY)
    path = at = os.path.join(os.getcwd(), os.path.expanduser(out)).rstrip("/") or "/"  # noqa: PTH109, PTH111, PTH118 - links stay
    while not os.path.lexists(at):  # a broken link is there
        at = os.path.dirname(at)  # noqa: PTH120
    at, path = (out if at == path else at), os.path.realpath(at)
    if not files.is_folder(path):
        raise UsageError("out-is-file", "a folder for the output", f"a file or a broken link at {at}", REMEDY)
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        remedy = f"check its permissions, or {REMEDY}"
        raise UsageError("out-forbidden", "an output that may be written to", f"no permission to write to {path}", remedy)


def check_writable(out: str) -> None:
    """Refuse an output on S3 that may not be written to, by an object that is written and removed; here ``check_place`` tells.

    Args:
        out: folder or s3:// prefix.

    Raises:
        AccessError: no credentials, or they may not write there.
        UsageError: there is no such bucket.
        OSError: the storage takes nothing, such as for a quota.
    """
    if files.is_remote(out):
        probe = files.join(out, "isovox", "probe.json")
        files.write_json(probe, {})
        files.remove(probe)


def check_free(out: str, kind: Kind, stems: Iterable[str] = ()) -> None:
    """Refuse an output that holds another kind of result, or somebody else's files by the names that would be written.

    Args:
        out: folder or s3:// prefix.
        kind: of what is to be made.
        stems: paths of the images that would be written, without extension.

    Raises:
        UsageError: out-is-file, out-in-output, out-other-kind, out-taken, out-link.
    """
    check_place(out)
    _check_not_harmonised(out)
    folders = {stem.rpartition("/")[0] for stem in stems}
    _check_links(out, folders)
    made = kind_of(out)
    if made is not None and made != kind:
        raise UsageError("out-other-kind", f"an output of isovox {kind}", f"one of isovox {made} in {out}", REMEDY)
    if made is None and (taken := _taken(out, kind, stems)):
        got = f"{listed(taken, SHOWN)} in {out}, which isovox did not write"
        raise UsageError("out-taken", "an output folder that is empty, or of an earlier run", got, REMEDY)


def _check_not_harmonised(out: str) -> None:
    """Refuse an output among the scans and maps that isovox harmonize keeps, which a run would take for its own of before."""
    parts = _real(out).split("/")
    for depth, name in enumerate(parts):
        above = "/".join(parts[:depth])
        if name in HARMONISED and DERIVATIVES not in parts[depth + 1 :] and kind_of(above) == "harmonize":
            got = f"{out}, where isovox harmonize keeps what it made for {above}"
            raise UsageError("out-in-output", "an output outside another one's files", got, REMEDY)


def _taken(out: str, kind: Kind, stems: Iterable[str]) -> list[str]:
    """Files of others that would be overwritten."""
    there = set(files.listdir(out))
    if not there:
        return []
    own = () if kind == "train" else WRITTEN
    foreign = [name for name in own if name in there and not _made_by_isovox(out, name)]
    tops = {stem.partition("/")[0] for stem in stems} & there
    inside = [stem for stem in stems if stem.partition("/")[0] in tops or f"{stem}.nii.gz" in there]
    return foreign + [f"{stem}.nii.gz" for stem in inside if files.exists(files.join(out, f"{stem}.nii.gz"))]


def _made_by_isovox(out: str, name: str) -> bool:
    if name != "dataset_description.json":
        return any(files.exists(files.join(out, own)) for own in ("isovox", "scores.csv"))
    try:
        made = files.read_json(files.join(out, name)).get("GeneratedBy", [])
        return bool(made) and made[0].get("Name") == "isovox"
    except (ValueError, AttributeError, LookupError, TypeError):
        return False


def _check_links(out: str, folders: Iterable[str]) -> None:
    """Refuse folders that are links: what is written there would lie elsewhere."""
    if files.is_remote(out):
        return
    every = {"isovox", "reports"}
    for folder in folders:
        parts = folder.split("/")
        every |= {"/".join(parts[: depth + 1]) for depth in range(len(parts)) if folder}
    for inside in sorted(every):
        path = files.join(out, inside)
        if os.path.islink(path):  # noqa: PTH114
            got = f"{inside}, a link to {os.path.realpath(path)}"
            raise UsageError("out-link", "folders of its own in the output", got, "remove the link, or name another folder")


def check(out: str, inputs: Iterable[str], kind: Kind) -> None:
    """``check_apart``, ``check_free`` and ``check_writable``: for a command, before it does anything.

    Raises:
        UsageError, AccessError, OSError: as these.
    """
    check_apart(out, inputs)
    check_free(out, kind)
    check_writable(out)
