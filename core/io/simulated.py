"""What a simulated cohort is on disk: a raw BIDS dataset whose sidecars say what was done to which truth.

A scan keeps the name of its truth with one entity more: ``sub-01_T1w`` becomes ``sub-01_rec-lowfield8_T1w``; where the truth has
a ``rec`` of its own, ``rec-norm`` becomes ``rec-norm+lowfield8``. So several degradations fit in one dataset.
"""

from __future__ import annotations

import os
from typing import Any

from core.digest import digest_of
from core.geometry.grid import Grid
from core.io import files
from core.io.bids import Source, without_extension
from core.io.derivatives import ACQUIRED, allowed, bids_stem, dataset_description
from core.io.names import Entities
from core.operators.forward_model import ForwardModel
from core.operators.sidecar import KEY, fields_of
from core.settings.degradation import Degradation

VERSION = 1  # of the simulation: a change of its numbers makes scans anew
KEPT = {"sub", "ses", "task", "acq", "ce", "trc", "rec", "run", "echo", "inv", "part", "chunk"}  # entities of raw anatomy
SUFFIXES = {"T1w", "T2w", "FLAIR", "PDw", "T2starw", "inplaneT1", "inplaneT2", "PDT2", "angio"}
README = """# Simulated scans

Scans of low resolution that isovox made from sharp ones. Each sidecar names its truth (`TruthURI`, relative to this folder),
the operator with its settings, the seed and what was drawn. They show methods at work; they are no measurements.
"""


def label_of(how: Degradation, axis: str = "S") -> str:
    """The label of a degradation: operator and factor, and what differs from the operator's usual settings."""
    usual = Degradation.model_validate({"operator": how.operator, "factor": how.factor})
    profile = how.slice_profile if how.slice_profile != usual.slice_profile else ""
    gap = f"gap{round(how.slice_gap * 100)}" if how.slice_gap != usual.slice_gap else ""
    contrast = how.contrast if how.contrast != usual.contrast else ""
    kernel = how.kernel if how.kernel not in {None, "bicubic"} else ""
    every = f"every{how.every}" if how.every else ""
    differing = {
        "slice-profile": profile + gap,
        "low-field": profile + gap + contrast,
        "slice-mask": f"phase{how.phase}" if how.phase else "",
        "in-plane": f"{kernel}{every}",
        "scanner": "",
        "bsrgan-light": "",
        "k-space": f"centre{100 * how.centre:.4g}".replace(".", "p") if how.centre is not None else "",
    }[how.operator]
    number = (how.scanner or 0) if how.operator == "scanner" else how.factor
    return how.operator.replace("-", "") + str(number) + str(differing) + ("" if axis == "S" else axis)


def stem_of(source: Source, label: str, contrast: str) -> str:
    """Path of a scan's simulation in its dataset, without extension: named as its restoration would be.

    Args:
        source: the sharp scan.
        label: of the degradation.
        contrast: suffix of a scan whose name tells none.
    """
    named = source.named
    entities = {name: value for name, value in named.items() if name in KEPT}
    entities["rec"] = f"{entities['rec']}+{label}" if "rec" in entities else label
    suffix = named.get("suffix", "")
    return bids_stem(entities | {"datatype": "anat", "suffix": suffix if suffix in SUFFIXES else contrast})


def truth_entities(entities: Entities) -> Entities:
    """Entities of the truth of a scan with these, if it is simulated: without the last part of ``rec``."""
    own = entities.get("rec", "").rpartition("+")[0]
    return {name: value for name, value in entities.items() if name != "rec"} | ({"rec": own} if own else {})


def truth_of(uri: str, root: str) -> str | None:
    """The truth that the sidecar beside a simulated scan names; None where it names none.

    Args:
        uri: of the scan.
        root: folder of its dataset.
    """
    try:
        sidecar = files.read_json(without_extension(uri) + ".json")
    except (FileNotFoundError, ValueError):
        return None
    uri_of_truth = sidecar.get("TruthURI") if isinstance(sidecar, dict) else None
    if not isinstance(uri_of_truth, str) or files.is_remote(uri_of_truth) or uri_of_truth.startswith("/"):
        return uri_of_truth if isinstance(uri_of_truth, str) else None
    return os.path.normpath(files.join(root, uri_of_truth))


def other_truth(out: str, stem: str, source: Source, root: str) -> str | None:
    """The truth of a simulation that is there, where that is another scan of another input; else None.

    Args:
        out: folder of the simulated dataset.
        stem: path of the simulation in it, without extension.
        source: the sharp scan whose simulation would have that path.
        root: the input that it is of.
    """
    truth = truth_of(files.join(out, stem), out)
    if truth is None:
        return None
    place, top = files.real(truth), files.real(root)
    if place in {top, files.real(source.uris[0])} or place.startswith(f"{top.rstrip('/')}/"):
        return None
    made = files.read_json(files.join(out, f"{stem}.json")).get(KEY)
    sha256 = made.get("TruthSHA256") if isinstance(made, dict) else None
    return place if sha256 and sha256 != files.sha256_all(source.uris) else None


def _said_truth(out: str, truth: str) -> str:
    """How a sidecar names a truth: relative to the dataset, where both are on this machine."""
    if files.is_remote(truth) or files.is_remote(out):
        return files.absolute(truth)
    return os.path.relpath(truth, out)


def simulation_digest(truth_sha256: str, settings: dict[str, Any]) -> str:
    """What a simulation is a function of: the truth's bytes and the settings."""
    value = {"truth": truth_sha256, "settings": settings, "version": VERSION}
    return digest_of(value, spaced=True)


def sidecar(
    source: Source, out: str, axis: int, forward: ForwardModel, sharp: Grid, provenance: dict[str, Any]
) -> dict[str, Any]:
    """The JSON sidecar of a simulated scan.

    Args:
        source: the sharp scan.
        out: folder of the simulated dataset.
        axis: on which the forward model acted.
        forward: how the scan was made.
        sharp: grid of the sharp scan.
        provenance: digests, seed and what was drawn; JSON values, stored under "Isovox".
    """
    made = fields_of(forward, axis, sharp.spacing[axis])
    changed = ACQUIRED & set(made)
    return {
        "Description": "Simulated by isovox from a sharp scan; no measurement.",
        **{key: value for key, value in allowed(source.sidecar).items() if key not in changed},
        **made,
        "TruthURI": _said_truth(out, source.uris[0]),
        KEY: provenance | made[KEY],
    }


def is_done(out: str, stem: str, digest: str) -> bool:
    """Whether a scan was simulated with this digest and its image is whole."""
    try:
        made = files.read_json(files.join(out, f"{stem}.json")).get("Isovox", {})
        return bool(made.get("Digest") == digest and files.sha256(files.join(out, f"{stem}.nii.gz")) == made.get("SHA256"))
    except (FileNotFoundError, ValueError, AttributeError):
        return False


def write_dataset_files(out: str, source: str, settings: dict[str, Any]) -> None:
    """Write the dataset's description, .bidsignore and, once, a README."""
    made = dataset_description(out, source, {"Simulated": settings})
    made |= {"Name": "Simulated scans of low resolution, by isovox", "DatasetType": "raw"}
    made["GeneratedBy"] = [made["GeneratedBy"][0] | {"Description": "Degrades sharp scans: thick slices, low field"}]
    files.write_json(files.join(out, "dataset_description.json"), made)
    files.write_atomic(files.join(out, ".bidsignore"), b"/isovox\n")
    if not files.exists(files.join(out, "README.md")):
        files.write_atomic(files.join(out, "README.md"), README.encode())
