"""What lies below an input: every file, by its name and, where that explains nothing, by its first bytes."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from core.errors import InputError
from core.io import files, s3

START = 1024  # bytes that are looked at of a file whose name explains nothing
UNREAD = {"derivatives": "results", "sourcedata": "sources of the dataset"}  # at the top, and beside a description
OURS = ("plan.json", "cohort.zarr")  # in the folder "isovox" of an output
DESCRIPTION = "dataset_description.json"
BY_EXTENSION = {
    "sidecar": "json",
    "table": "tsv csv tsv.gz xlsx xls ods bval bvec",
    "document": "txt md rst pdf html htm doc docx odt log tex bib cff rtf",
    "code": "py m sh r ipynb yml yaml toml xml cfg ini js css bat par2 conf lock",
    "picture": "png jpg jpeg gif bmp svg tif tiff webp mp4 avi mov",
    "transform": "mat h5 hdf5 lta xfm npy npz gii annot stl obj vtk ply x5",
    "archive": "zip tar tgz tbz2 7z rar tar.gz tar.bz2 tar.xz",
    "checksum": "md5 sha1 sha256 sha512",
    "signal": "edf bdf vhdr vmrk eeg set fdt fif snirf cnt physio puls resp ecg ds sqd con nwb",
}
KINDS = {extension: kind for kind, extensions in BY_EXTENSION.items() for extension in extensions.split()}
DOCUMENTS = re.compile(
    r"(README|LICEN[CS]E|COPYING|CHANGE(S|LOG)|CITATION|NOTICE|AUTHORS|VERSION|MAKEFILE|DOCKERFILE)", re.IGNORECASE
)


@dataclass(frozen=True)
class Entry:
    """A file below an input.

    Attributes:
        path: relative to the input.
        uri: where it lies.
        unreadable: why it is no file that can be read ("a pipe", "a link that leads nowhere"); empty where it is one.
        misnamed: where it lies on this machine, of a file whose path is no UTF-8; ``path`` and ``uri`` show its bytes.
    """

    path: str
    uri: str
    unreadable: str = ""
    misnamed: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return files.name_of(self.path)

    @property
    def folder(self) -> str:
        """The folder that holds it, relative to the input; "" for the input itself."""
        return self.path.rpartition("/")[0]

    @cached_property
    def kind(self) -> str:
        """What its name says that it is, of the kinds that are no images; "" where its name does not say."""
        lower = self.name.lower()
        if lower == "dicomdir":
            return "dicomdir"
        if lower.startswith("."):
            return "hidden"
        extensions = PurePosixPath(lower).suffixes
        for count in (2, 1):
            if len(extensions) >= count and (kind := KINDS.get("".join(extensions[-count:])[1:])):
                return kind
        return "document" if DOCUMENTS.fullmatch(PurePosixPath(self.name).stem) else ""

    @cached_property
    def _looked(self) -> tuple[bytes, bool]:
        """The first bytes as stored, and whether they may be read."""
        if self.unreadable:
            return b"", True
        try:
            return files.read_start(self.misnamed or self.uri, START), True
        except (OSError, InputError) as error:
            return b"", isinstance(error, (FileNotFoundError, InputError))  # it went in the meantime, or is a device

    @property
    def head(self) -> bytes:
        """The first bytes as stored; none of a file that cannot be read."""
        return self._looked[0]

    @property
    def forbidden(self) -> bool:
        """Whether it is a file whose content may not, or cannot, be read."""
        return not self._looked[1]

    @cached_property
    def start(self) -> bytes:
        """The first bytes, unpacked where they are gzip."""
        if self.head[:2] != b"\x1f\x8b":
            return self.head
        try:
            return zlib.decompressobj(31).decompress(self.head, START)
        except zlib.error:
            return b""

    @property
    def is_text(self) -> bool:
        """Whether its first bytes are text."""
        return bool(self.head) and not any(byte < 9 or 13 < byte < 27 for byte in self.head)


@dataclass
class Listing:
    """All below an input.

    Attributes:
        entries: the files, in the order of their paths.
        unread: folders that were not looked into, and why.
    """

    entries: list[Entry] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


def _why_unread(name: str, *, described: bool) -> str:
    """Why a folder is not looked into, by its name; "" where it is."""
    if name.startswith("."):
        return "hidden"
    if name.lower().endswith(".zarr"):
        return "a Zarr store"
    return UNREAD.get(name, "") if described else ""


def listing(uri: str, out: str = "") -> Listing:
    """List an input.

    A folder to which a link leads is listed under its real path, or under the link where that lies elsewhere.

    Args:
        uri: folder or s3:// prefix.
        out: an output, not looked into where it lies below.
    """
    entries = _remote(uri, out) if files.is_remote(uri) else _Local(uri, out).listing()
    entries.entries.sort(key=lambda entry: entry.path)
    return entries


# -- on this machine --------------------------------------------------------------------------------------------------------


class _Local:
    def __init__(self, root: str, out: str) -> None:
        self._root = root.rstrip("/") or "/"
        self._out = os.path.realpath(out) if out and not files.is_remote(out) else ""
        self._seen: set[str] = set()
        self._links: list[str] = []
        self._found = Listing()

    def listing(self) -> Listing:
        self._walk("")
        while self._links:  # after all real folders, so that these win whatever the order of the file system
            links, self._links = sorted(self._links), []
            for link in links:
                self._follow(link)
        return self._found

    def _follow(self, link: str) -> None:
        real = os.path.realpath(files.join(self._root, link))
        if self._out and (real == self._out or real.startswith(self._out + "/")):
            self._found.unread[shown(link)] = "the output"
        elif real in self._seen or os.path.realpath(self._root).startswith(real.rstrip("/") + "/"):
            self._found.unread[shown(link)] = "a link to a folder that is read under another path"
        else:
            self._walk(link)

    def _walk(self, inside: str) -> None:
        here = files.join(self._root, inside) if inside else self._root
        self._seen.add(os.path.realpath(here))
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            why = f"a folder that cannot be listed ({error.strerror})"
            self._found.entries.append(Entry(shown(inside), shown(here), why))
            return
        described = not inside or any(entry.name == DESCRIPTION for entry in entries)
        for entry in entries:
            path = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                self._folder(entry, path, described=described)
            elif _leads_to_folder(entry):
                self._links.append(path)
            else:
                self._found.entries.append(_entry(path, files.join(self._root, path), _why_no_file(entry)))

    def _folder(self, entry: os.DirEntry[str], path: str, *, described: bool) -> None:
        why = _why_unread(entry.name, described=described)
        if self._out and os.path.realpath(entry.path) == self._out:
            why = "the output"
        elif any(os.path.lexists(files.join(entry.path, "isovox", name)) for name in OURS):
            why = "an output of isovox"
        elif os.path.realpath(entry.path) in self._seen:  # below a link, where another link led into it
            why = "a folder that is read under another path"
        if why:
            self._found.unread[shown(path)] = why
        else:
            self._walk(path)


def shown(path: str) -> str:
    r"""A path with what is no text in UTF-8 as \x and two hex digits a byte; else as it is."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _entry(path: str, uri: str, unreadable: str) -> Entry:
    text = shown(uri)
    return Entry(shown(path), text, unreadable, "" if text == uri else uri)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:
        return False


def _why_no_file(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_file(follow_symlinks=False):
            return ""
        mode = entry.stat().st_mode
    except OSError as error:
        return "a link that leads nowhere" if isinstance(error, FileNotFoundError) else f"unreadable ({error.strerror})"
    return "" if stat.S_ISREG(mode) else files.special_kind(mode)


# -- on S3 ------------------------------------------------------------------------------------------------------------------


def _remote(uri: str, out: str) -> Listing:
    base, listed = uri.partition("://")[2].rstrip("/") + "/", Listing()
    below = out.partition("://")[2].rstrip("/") + "/" if files.is_remote(out) else ""
    for path in _objects(uri, base):
        why = _unread_above(path, base, below)
        if why:
            listed.unread.setdefault(*why)
        elif path:
            listed.entries.append(Entry(path, files.join(uri, path)))
    return listed


def _objects(uri: str, base: str) -> Iterator[str]:
    """Paths of the objects below a prefix; of a folder that is not looked into, its own path with a slash."""
    with s3.reached(uri) as disk:
        top = {path.rstrip("/").rpartition("/")[2] for path in disk.ls(base, detail=False)}
        unread = {name for name in top if _why_unread(name, described=True)}
        if not unread:
            listed = disk.find(base)
        else:
            listed = [path for name in sorted(top - unread) for path in disk.find(base, prefix=name)] if len(top) < 50 else None
            listed = listed if listed is not None else disk.find(base)
    yield from (f"{name}/" for name in sorted(unread))
    yield from dict.fromkeys(path.removeprefix(base) for path in listed if path.startswith(base))


def _unread_above(path: str, base: str, out: str) -> tuple[str, str] | None:
    """The folder above an object that is not looked into, and why."""
    if out and (base + path).startswith(out):
        return out.removeprefix(base).rstrip("/"), "the output"
    parts = path.split("/")
    for depth, name in enumerate(parts[:-1]):
        if why := _why_unread(name, described=depth == 0):
            return "/".join(parts[: depth + 1]), why
    return None
