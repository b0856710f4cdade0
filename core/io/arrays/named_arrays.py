"""Named arrays in one safetensors file with a JSON value beside them and a check sum; no copy of them is made in memory."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import StoreError
from core.io import files
from core.io.files import Json

Arrays = dict[str, NDArray[Any]]

NAMES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
TYPES = {name: np.dtype(kind) for kind, name in NAMES.items()}
LONGEST = 100_000_000  # bytes of a header, as the format has it
ALIGNED = 8  # bytes


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _header(arrays: Mapping[str, NDArray[Any]], about: Json) -> bytes:
    """The file up to the arrays' bytes."""
    metadata = {"about": json.dumps(about, allow_nan=False), "crc32": str(_crc32(arrays))}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, end]}
    metadata["check"] = str(_check(header))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNED)
    return struct.pack("<Q", len(text)) + text


def _check(header: Mapping[str, Any]) -> int:
    """A check sum of a header without its own."""
    rest = {name: value for name, value in header["__metadata__"].items() if name != "check"}
    return zlib.crc32(json.dumps({**header, "__metadata__": rest}).encode())


def _crc32(arrays: Mapping[str, NDArray[Any]]) -> int:
    from isal import isal_zlib

    value = 0
    for array in arrays.values():
        value = isal_zlib.crc32(_bytes_of(array), value)
    return value


def write_arrays(uri: str, arrays: Mapping[str, NDArray[Any]], about: Json) -> None:
    """Write arrays whole or not at all.

    Args:
        uri: local path or s3://….
        arrays: by name; C-contiguous or copied to be so.
        about: a JSON value to keep with them.

    Raises:
        StoreError: an array of a type that safetensors do not have.
    """
    if odd := sorted(f"{name}: {array.dtype.name}" for name, array in arrays.items() if array.dtype.name not in NAMES):
        raise StoreError("array-type", f"arrays of {', '.join(NAMES)}", ", ".join(odd), "convert them first")
    laid = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}

    def write(handle: IO[bytes]) -> None:
        handle.write(_header(laid, about))
        for array in laid.values():
            handle.write(_bytes_of(array))

    files.write_atomic(uri, write)


def _read_header(uri: str, handle: IO[bytes]) -> dict[str, Any]:
    """The header, with the value beside the arrays as it was given."""
    try:
        (length,) = struct.unpack("<Q", handle.read(8))
        header: dict[str, Any] = json.loads(handle.read(min(length, LONGEST)))
        metadata = header["__metadata__"]
        if int(metadata["check"]) != _check(header):
            raise _torn(uri, "a header with another check sum")
        header["__metadata__"] = {"about": json.loads(metadata["about"]), "crc32": int(metadata["crc32"])}
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise _torn(uri, f"a header that cannot be read ({error})") from error
    return header


def _torn(uri: str, got: str) -> StoreError:
    return StoreError("arrays-torn", f"whole arrays in {uri}", got, "remove it")


def _read_each(uri: str, handle: IO[bytes], header: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, entry in header.items():
        if name != "__metadata__":
            array = np.empty(entry["shape"], TYPES[entry["dtype"]])
            if handle.readinto(_bytes_of(array)) != array.nbytes:  # type: ignore[attr-defined]
                raise _torn(uri, f"an end within {name!r}")
            yield name, array


def read_arrays(uri: str) -> tuple[Arrays, Json]:
    """The arrays of a file and the value beside them.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is not whole.
    """
    with files.open_uri(uri) as handle:
        header = _read_header(uri, handle)
        arrays = dict(_read_each(uri, handle, header))
    if (crc := _crc32(arrays)) != header["__metadata__"]["crc32"]:
        raise _torn(uri, f"bytes with CRC-32 {crc}, not {header['__metadata__']['crc32']}")
    return arrays, header["__metadata__"]["about"]


def read_about(uri: str) -> Json:
    """The value beside the arrays; they are not read.

    Raises:
        FileNotFoundError: there is none.
        StoreError: the file's header is not whole.
    """
    with files.open_uri(uri) as handle:
        return _read_header(uri, handle)["__metadata__"]["about"]
