"""What the name of an image says: its format, its BIDS entities, and whether it is an image of intensities at all."""

from __future__ import annotations

import errno
import re
from typing import Any

from core.errors import InputError
from core.io import files

Entities = dict[str, str]

NIFTI = (".nii", ".nii.gz")
IMAGES = re.compile(r"\.(nii\.gz|nii|hdr|mgh\.gz|mgz|mgh|nrrd|nhdr)$", re.IGNORECASE)
LABEL = re.compile(r"[0-9A-Za-z+]+")
NOT_SCANS = {"mask", "dseg", "probseg", "defacemask", "roi"}  # suffixes of labels, taken only where asked for
OTHER_SCANNERS = {"ct", "pet"}  # suffixes, in capitals or not, of what no MRI scanner made
LABELS = NOT_SCANS | {
    *("seg", "segmentation", "label", "labels", "labelmap", "lesion", "lesions", "rois", "brainmask", "manualmask", "masks"),
    *("aseg", "aparc", "parcellation", "parc", "ribbon", "wmparc", "synthseg", "wmh", "gt", "groundtruth"),
    *("prob", "probs", "pve", "pveseg"),
}
SURE = {"mask", "masks", "brainmask", "dseg", "probseg", "seg", "segmentation", "labelmap", "aseg", "pve"}  # wherever it stands
MASKED = re.compile(r"(mask|seg)s?$|^(mask|roi|lesion|label)s?\d+$")  # "lesionmask", "WMHseg", "ROI1" as dcm2niix writes it
PHASE = {"phase", "ph", "real", "imaginary", "imag"}  # dcm2niix writes _ph, _real and _imaginary
FIELDS = {"phasediff", "phase1", "phase2"}  # suffixes of field maps, which wrap as phase does
NO_FILE = {errno.ELOOP, errno.ENAMETOOLONG}  # a link to itself, a name that no file can have
PARTS = PHASE  # values of the BIDS entity part- of what is no magnitude


def is_nifti(path: str) -> bool:
    """Whether a path is named as a NIfTI file, in capitals or not."""
    return path.lower().endswith(NIFTI)


def is_one_file(path: str) -> bool:
    """Whether a path is named as an image that is one file, not a pair."""
    return bool(IMAGES.search(path)) and not path.lower().endswith((".hdr", ".nhdr"))


def without_extension(path: str) -> str:
    """A path without the extension of an image; of another file, without .gz and .nii."""
    short = IMAGES.sub("", path)
    return short if short != path else path.removesuffix(".gz").removesuffix(".nii")


def entities_of(path: str) -> Entities:
    """All that the name of a file says; suffix and datatype included, extension left out."""
    from bids2table import parse_bids_entities

    entities = parse_bids_entities(path)
    return {name: value for name, value in entities.items() if name != "ext"}


def role(path: str) -> str:
    """What kind of image a name tells that is no image of intensities: "mask", "phase"; "" for all others."""
    name = without_extension(files.name_of(path))
    parts = name.split("_")
    words = [word for word in re.split(r"[_.\-+ ]", name.lower()) if word]
    plain = {word for part in parts if "-" not in part for word in re.split(r"[.+ ]", part.lower())}  # no entity's value
    if any(part.startswith("label-") for part in parts) or plain & SURE:
        return "mask"
    if words and (words[-1] in LABELS or MASKED.search(words[-1])):
        return "mask"
    values = {part.partition("-")[2].lower() for part in parts if part.startswith("part-")}
    return "phase" if values & PARTS or (words and words[-1] in PHASE | FIELDS and words != ["real"]) else ""


def is_other_scanners(path: str, suffix: str) -> bool:
    """Whether the name of a file says that no MRI scanner made it; of DICOM series, which are folders, their headers say it."""
    return suffix.lower() in OTHER_SCANNERS and IMAGES.search(path) is not None


def beside(uri: str) -> dict[str, Any]:
    """What the JSON file beside an image says; nothing where there is none, nor where a folder or a lost link has its name.

    Raises:
        InputError: sidecar-unreadable, special-file.
    """
    content = sidecar_at(without_extension(uri) + ".json")
    return content if isinstance(content, dict) else {}


def sidecar_at(uri: str) -> Any:
    """The JSON value in a file of metadata; nothing where there is no such file.

    Raises:
        InputError: sidecar-unreadable, special-file.
        OSError: of storage that cannot be reached, which is no fault of the file.
    """
    try:
        return files.read_json(uri)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return {}
    except ValueError as error:
        got, remedy = str(error)[:80], "correct the JSON file"
    except OSError as error:
        if error.errno in NO_FILE:
            return {}
        if files.is_remote(uri):
            raise
        closed = isinstance(error, PermissionError)
        got, remedy = ("no permission", "check its permissions") if closed else (str(error.strerror), "check the disk")
    raise InputError("sidecar-unreadable", f"JSON in {files.name_of(uri)}", got, remedy)
