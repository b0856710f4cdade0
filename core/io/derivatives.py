"""What is written beside the voxels: names, sidecars and the description of a BIDS derivative dataset."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from core.io import files

DESC = "restored"
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
WORDS = {
    "Manufacturer",
    "ManufacturersModelName",
    "MRAcquisitionType",
    "ScanningSequence",
    "SequenceVariant",
    "PulseSequenceType",
}
WORD = re.compile(r"[\w ./+\\-]{1,64}", re.ASCII)


def _is_allowed(key: str, value: object) -> bool:
    if key in FLAGS:
        return isinstance(value, bool)
    if key in NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    return key in WORDS and isinstance(value, str) and WORD.fullmatch(value) is not None


def allowed(sidecar: dict[str, Any]) -> dict[str, Any]:
    """The metadata that may be copied: named keys with values of their kind; all else may name a person or a place."""
    return {key: value for key, value in sorted(sidecar.items()) if _is_allowed(key, value)}


def derivative_stem(entities: dict[str, str]) -> str:
    """Path of a restored image in a derivative dataset, without extension.

    Args:
        entities: BIDS entities in the order of the input's name, with "suffix" and "datatype"; all are kept, but for "desc".
    """
    labels = [f"{name}-{value}" for name, value in entities.items() if name not in {"datatype", "suffix", "desc"}]
    order = sorted(labels, key=lambda label: ("sub-", "ses-").index(label[:4]) if label[:4] in {"sub-", "ses-"} else 2)
    folders = [label for label in order if label.startswith(("sub-", "ses-"))]
    return files.join(*folders, entities.get("datatype", "anat"), "_".join([*order, f"desc-{DESC}", entities["suffix"]]))


def plain_stem(inside: str) -> str:
    """The same for a scan whose name is not BIDS: its path in the input, so that like names in different folders stay apart."""
    return f"{inside}_desc-{DESC}"


def safe_key(inside: str) -> str:
    """A name for a scan by its path in the input: the path where that is a plain name, else told apart by a few hex digits."""
    if re.fullmatch(r"[0-9A-Za-z][\w.+-]*", inside, re.ASCII) and ".." not in inside:
        return inside
    plain = re.sub(r"\.{2,}|[^\w.+-]+", "_", inside, flags=re.ASCII).strip("_.-") or "scan"
    return f"{plain}-{hashlib.sha256(inside.encode()).hexdigest()[:6]}"
