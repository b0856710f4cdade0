"""What is held against the record: words of the command line, over scans that are made, shared or the demo's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["synthetic", "sharp", "shared", "demo"]


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        name: in the record.
        kind: "synthetic" over the cohort that ``cohort.py`` makes; "sharp" over its sharp heads; "shared" over real scans beside
            the project; "demo".
        words: of the command line; for a run those after input and output, else all.
        source: folder of the real scans, in shared/data.
        needs: the case whose output is used; it runs before.
        person: whether the scans of the folder are laid out as one person's of a BIDS dataset, as --fuse wants it.
    """

    name: str
    kind: Kind
    words: tuple[str, ...] = ()
    source: str = ""
    needs: str = ""
    person: bool = False


PLAIN = ("--no-repair",)  # what is recorded is what the methods make
FEW = ("--method-options", "iterations=8")
SMALL = ("--voxel-size", "1.25")
NETWORK = ("--method", "resunet-3d", "--acquisition", "ax", "sag", "--patch", "32", "--overlap", "8")
SIMULATE = ("simulate", "sharp", "{out}", "--operator")
LEARN = (
    "--preset",
    "tiny",
    "--steps",
    "4",
    "--batch",
    "2",
    "--validate-every",
    "2",
    "--validation-pairs",
    "2",
    "--validation",
    "03",
)
SAMPLE = ("--method", "diffusion-iqt", "--method-options", "steps=1", "--acquisition", "sag", "--overlap", "0")


def _made(name: str, *words: str) -> Case:
    return Case(name, "synthetic", words)


def _sharp(name: str, *words: str) -> Case:
    return Case(name, "sharp", words)


CASES = (
    _made("nearest", "--method", "nearest", *SMALL),
    _made("linear", "--method", "linear", *SMALL),
    _made("cubic", "--method", "cubic", *SMALL),
    _made("cubic-dropped", "--method", "cubic", "--slice-profile", "point", *SMALL),
    _made("unires", "--method", "unires", *SMALL, *FEW),
    _made(
        "unires-gaussian",
        "--method",
        "unires",
        "--slice-profile",
        "gaussian",
        "--slice-gap",
        "0.25",
        "--suffix",
        "T2w",
        *SMALL,
        *FEW,
    ),
    _made("unires-fused", "--method", "unires", "--fuse", "--participant-label", "01", *SMALL, *FEW),
    _made("resunet-scan", *NETWORK, "--mode", "scan"),
    _made("resunet-tile", *NETWORK, "--mode", "tile"),
    _made("resunet-hann", *NETWORK, "--window", "hann"),
    _sharp("simulate-profile", *SIMULATE, "slice-profile", "--factor", "4", "--slice-profile", "gaussian", "--slice-gap", "0.25"),
    _sharp("simulate-mask", *SIMULATE, "slice-mask", "--factor", "3", "--axis", "R"),
    _sharp("simulate-low-field", *SIMULATE, "low-field", "--factor", "8"),
    _sharp("evaluate", "evaluate", "thick-slice", "sharp", "--methods", "cubic", "unires", "--segmenter", "none"),
    _sharp("train-unet", "train", "unet-3d", "sharp", *LEARN, "--patch", "24"),
    _sharp("train-esrgan", "train", "esrgan-3d", "sharp", *LEARN, "--patch", "24"),
    _sharp("train-diffusion", "train", "diffusion-iqt-base", "sharp", *LEARN),
    Case("diffusion", "synthetic", (*SAMPLE, "--model", "train-diffusion/model"), needs="train-diffusion"),
    Case("ds000011-cubic", "shared", ("--participant-label", "05", "--suffix", "inplaneT2", "--method", "cubic"), "ds000011"),
    Case(
        "ds000011-unires",
        "shared",
        ("--participant-label", "05", "--suffix", "inplaneT2", "--method", "unires", *FEW),
        "ds000011",
    ),
    Case("ds002748-cubic", "shared", ("--participant-label", "01", "--method", "cubic"), "ds002748"),
    Case("openms-cubic", "shared", ("--method", "cubic"), "openms/patient01_thick"),
    Case(
        "openms-fused",
        "shared",
        ("--method", "unires", "--fuse", "--voxel-size", "1.5", *FEW),
        "openms/patient01_thick",
        person=True,
    ),
    Case("demo", "demo"),
)
