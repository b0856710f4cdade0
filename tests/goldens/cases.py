"""What is restored to be held against the record: words of the command line, over scans that are made, shared or the demo's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["synthetic", "shared", "demo"]


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        name: in the record.
        kind: "synthetic" over the cohort that ``cohort.py`` makes; "shared" over real scans beside the project; "demo".
        words: of the command line, after the input and the output.
        source: folder of the real scans, in shared/data.
    """

    name: str
    kind: Kind
    words: tuple[str, ...] = ()
    source: str = ""


FEW = ("--method-options", "iterations=8")
SMALL = ("--voxel-size", "1.25")
NETWORK = ("--method", "resunet-3d", "--acquisition", "ax", "sag", "--patch", "32", "--overlap", "8")


def _made(name: str, *words: str) -> Case:
    return Case(name, "synthetic", words)


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
    Case("ds000011-cubic", "shared", ("--participant-label", "05", "--suffix", "inplaneT2", "--method", "cubic"), "ds000011"),
    Case(
        "ds000011-unires",
        "shared",
        ("--participant-label", "05", "--suffix", "inplaneT2", "--method", "unires", *FEW),
        "ds000011",
    ),
    Case("ds002748-cubic", "shared", ("--participant-label", "01", "--method", "cubic"), "ds002748"),
    Case("openms-cubic", "shared", ("--method", "cubic"), "openms/patient01_thick"),
    Case("openms-fused", "shared", ("--method", "unires", "--fuse", "--voxel-size", "1.5", *FEW), "openms/patient01_thick"),
    Case("demo", "demo"),
)
