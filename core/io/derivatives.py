"""What is written beside the voxels: names, sidecars and the description of a BIDS derivative dataset."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from core import __version__
from core.errors import InputError
from core.geometry.grid import Grid
from core.io import files
from core.io.vocabulary import is_known, is_license
from core.operators.sidecar import UNUSED

BIDS_VERSION = "1.10.0"
RAW = "raw"  # name of the input dataset in BIDS URIs
DESCRIBED = "SeriesDescription"  # of a DICOM series, those words of it that its reader lets pass
WITHHELD = "SeriesDescriptionWithheld"  # how many others there are; in memory alone
UNNAMED = "MRI"  # suffix of outputs of which no name tells the contrast; BIDS has none
ACQUIRED = {"SliceThickness", "SpacingBetweenSlices"}  # true of the scan, no longer of its restoration
NO_BIDS = ("/isovox", "/reports", "*.html", "/CITATION.md", f"*_{UNNAMED}.nii.gz", f"*_{UNNAMED}.json")
IGNORED = "".join(f"{pattern}\n" for pattern in NO_BIDS)  # no slash after folders, with it they do not match: bids-validator#291
NEAR = 2  # folders up from the output, at most, to the input that a description links to

DESC = "restored"
LONGEST = 120  # characters of a key: file systems allow 255, and names are made from it
README = """# Isotropic restorations

Restored by isovox from thick-slice MRI: `*_desc-restored_*.nii.gz` with a JSON sidecar each, which says from what and how.
`report.html` shows every scan and how far it can be trusted. For research, not for diagnosis.
"""
NUMBERS = {
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "EchoTrainLength",
    "SliceThickness",
    "SpacingBetweenSlices",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "PixelBandwidth",
    "NumberOfAverages",
    "PercentPhaseFOV",
    "PartialFourier",
    "ParallelReductionFactorInPlane",
}
FLAGS = {"SkullStripped", "Defaced"}


NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
OTHER = {str: "a text", list: "a list", dict: "an object", bool: "a truth value"}  # kinds of JSON values that are no numbers


def _plain(key: str, value: object) -> object:
    """A value as it is meant: some tools write numbers as texts."""
    return float(value) if key in NUMBERS and isinstance(value, str) and NUMBER.fullmatch(value) else value


def _is_allowed(key: str, value: object) -> bool:
    if key in FLAGS:
        return isinstance(value, bool)
    if key in NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    return isinstance(value, str) and is_known(key, value)


def allowed(sidecar: dict[str, Any]) -> dict[str, Any]:
    """The metadata that may be copied: named keys with values of their kind; all else may name a person or a place.

    Of a thickness that is no number it holds under ``UNUSED`` what it is, and nothing of it; what it gives has that no more.
    """
    plain = {key: _plain(key, value) for key, value in sorted(sidecar.items())}
    known = {key: value for key, value in plain.items() if _is_allowed(key, value)}
    thickness = plain.get("SliceThickness")
    kind = OTHER.get(type(thickness), "" if thickness is None or "SliceThickness" in known else "out of range")  # as NaN is
    return known | ({UNUSED: kind} if kind else {})


@lru_cache
def entity_names() -> tuple[str, ...]:
    """Short names of the BIDS entities in the order in which they stand in a file's name."""
    from bids2table import get_column_names

    return tuple(str(name) for name in get_column_names())


def bids_stem(entities: dict[str, str], *more: str) -> str:
    """Path of an image in a BIDS dataset, without extension.

    Args:
        entities: by their short names, with "suffix" and "datatype" (anat where missing).
        more: labels to stand between the entities and the suffix.
    """
    names = [name for name in entities if name not in {"datatype", "suffix"}]
    names.sort(key=lambda name: (entity_names().index(name) if name in entity_names() else len(entity_names()), name))
    labels = [f"{name}-{entities[name]}" for name in names]
    folders = [f"{name}-{entities[name]}" for name in ("sub", "ses") if name in entities]
    return files.join(*folders, entities.get("datatype", "anat"), "_".join([*labels, *more, entities["suffix"]]))


def derivative_stem(entities: dict[str, str]) -> str:
    """Path of a restored image in a derivative dataset, without extension.

    Args:
        entities: BIDS entities with "suffix" and "datatype"; all are kept, but for "desc".
    """
    return bids_stem({name: value for name, value in entities.items() if name != "desc"}, f"desc-{DESC}")


def map_stem(stem: str, name: str) -> str:
    """Path of a map beside a restored image, without extension: ``desc-restoredSd`` of the map "sd".

    Args:
        stem: of the restored image.
        name: of the map, letters and digits.
    """
    before, mark, after = stem.rpartition(f"desc-{DESC}")
    return f"{before}{mark}{name.capitalize()}{after}"


def is_restored(entities: dict[str, str]) -> bool:
    """Whether the name of a file is that of a restored image, or of a map beside one: an error or a spread is no scan."""
    before, mark, map_name = entities.get("desc", "").partition(DESC)
    return bool(mark) and not before and (not map_name or map_name[0].isupper())


def safe_key(inside: str) -> str:
    """A name for a scan by its path in the input: the path where that is a plain name, else told apart by a few hex digits."""
    if re.fullmatch(rf"[0-9A-Za-z][\w.+-]{{0,{LONGEST - 1}}}", inside, re.ASCII) and ".." not in inside:
        return inside
    plain = re.sub(r"\.{2,}|[^\w.+-]+", "_", inside, flags=re.ASCII).strip("_.+-")[:LONGEST] or "scan"
    return f"{plain}-{hashlib.sha256(inside.encode()).hexdigest()[:6]}"


def bids_uri(relative: str) -> str:
    """The BIDS URI of a file by its path in the input."""
    return f"bids:{RAW}:{quote(relative)}"


def _millimetres(grid: Grid) -> str:
    return " x ".join(f"{mm:.4g}" for mm in grid.spacing) + " mm"


def sidecar(
    metadata: dict[str, Any],
    sources: Sequence[str],
    source: Grid,
    target: Grid,
    *,
    skull_stripped: bool,
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """The JSON sidecar of a restored image.

    Args:
        metadata: of the input's sidecar; only allow-listed keys are copied, and the description that a DICOM series' reader made.
        sources: paths of the inputs, relative to their dataset.
        source: grid as acquired.
        target: grid as restored.
        skull_stripped: used where the metadata do not say.
        provenance: inputs' sha256, method, settings, plan digest, versions, seed, figures; JSON values, stored under "Isovox".
    """
    known = {key: value for key, value in allowed(metadata).items() if key != UNUSED}
    acquired = {key: known.pop(key) for key in sorted(ACQUIRED & set(known))}
    made = {
        "Description": "Isotropic restoration of a thick-slice MRI by isovox. For research, not for diagnosis.",
        "Sources": [bids_uri(relative) for relative in sources],
        "Resolution": f"{_millimetres(target)}, restored from {_millimetres(source)}",
        "SkullStripped": skull_stripped,
    }
    described = {DESCRIBED: metadata[DESCRIBED]} if DESCRIBED in metadata else {}
    return made | known | described | {"Isovox": provenance | ({"Acquired": acquired} if acquired else {})}


def _link(out: str, source: str) -> str:
    """Where the input lies as seen from the output; only its name where that would tell of this machine's folders."""
    source = files.parent_of(source) if source.endswith((".tsv", ".nii", ".nii.gz")) else source
    if files.is_remote(source):
        return source
    near = "" if files.is_remote(out) else os.path.relpath(source, out)
    return quote(near if near and near.count("..") <= NEAR else files.name_of(source))


def described_by(root: str) -> dict[str, Any]:
    """What a dataset's dataset_description.json says; nothing where there is none that can be read, or it is no JSON object."""
    try:
        theirs = files.read_json(files.join(root, "dataset_description.json"))
    except (OSError, ValueError, InputError):
        return {}
    return theirs if isinstance(theirs, dict) else {}


def dataset_description(out: str, source: str, provenance: dict[str, Any]) -> dict[str, Any]:
    """The dataset_description.json of the output.

    Args:
        out: output folder or s3:// prefix.
        source: input dataset, folder or table.
        provenance: plan digest, settings digest and the like; stored under "Isovox".
    """
    theirs, link = described_by(source), _link(out, source)
    doi = str(theirs.get("DatasetDOI", "")).removeprefix("https://doi.org/").removeprefix("doi:")
    known = {"DOI": f"doi:{doi}"} if re.fullmatch(r"10\.\d{4,}/[\w./-]+", doi) else {}
    made = {
        "Name": "Isotropic restorations by isovox",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": "isovox", "Version": __version__, "Description": "Restores thick-slice MRI to isotropic voxels"}
        ],
        "SourceDatasets": [{"URL": link} | known],
        "DatasetLinks": {RAW: link},
        "Isovox": provenance,
    }
    license_ = theirs.get("License")
    return made | ({"License": license_} if isinstance(license_, str) and is_license(license_) else {})


def write_dataset_files(out: str, source: str, provenance: dict[str, Any]) -> None:
    """Write dataset_description.json, .bidsignore and, once, a README."""
    files.write_json(files.join(out, "dataset_description.json"), dataset_description(out, source, provenance))
    files.write_atomic(files.join(out, ".bidsignore"), IGNORED.encode())
    if not files.exists(files.join(out, "README.md")):
        files.write_atomic(files.join(out, "README.md"), README.encode())
