"""Segmenters: tissues fitted to the intensities, a network, FastSurfer, or any command; whose labels are compared by overlap."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from core.errors import IsovoxError, UsageError, WeightsError
from core.evaluation.metrics.overlap import Labels
from core.geometry.grid import Array, Box, Grid
from core.io import nifti

if TYPE_CHECKING:
    from core.engine.plan import Weights
    from core.models.bundle import Bundle

HOUR = 3600  # seconds that a program of others may take for a scan
PATCH, HALO = 128, 16  # voxels of what a network sees at once, and of its rim that is thrown away


class Segmenter(Protocol):
    """Labels of an image; two images on one grid get labels on one grid."""

    @property
    def identity(self) -> str:
        """What its labels depend on besides the image."""

    def labels(self, image: Array, grid: Grid, truth: Array) -> Labels:
        """Integers, 0 for nothing; ``truth`` says where the brain is, for those that need to be told."""


@dataclass(frozen=True)
class TissueSegmenter:
    """CSF (1), grey (2) and white matter (3) by classes fitted to each image's own intensities, in the truth's brain."""

    contrast: Any = "T1w"

    @property
    def identity(self) -> str:
        """Its contrast."""
        return f"tissues {self.contrast}"

    def labels(self, image: Array, grid: Grid, truth: Array) -> Labels:  # noqa: ARG002 - a segmenter's arguments
        """The most probable class of each voxel in the brain."""
        from core.tissues import Tissues, brain_mask

        mask = brain_mask(truth)
        classes = Tissues.fit(image, mask, self.contrast).maps(image).argmax(axis=0) + 1
        return np.where(mask, classes, 0).astype(np.int16)


@dataclass(frozen=True)
class CommandSegmenter:
    """Labels by a command of the user, which reads {image} and writes {labels}, both NIfTI on one grid."""

    command: str

    @property
    def identity(self) -> str:
        """The command."""
        return self.command

    def labels(self, image: Array, grid: Grid, truth: Array) -> Labels:  # noqa: ARG002 - a segmenter's arguments
        """What the command wrote.

        Raises:
            IsovoxError: the command failed or wrote no labels.
        """
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: str(Path(folder, f"{name}.nii.gz")) for name in ("image", "labels")}
            nifti.save(paths["image"], image, grid)
            words = shlex.split(self.command)
            run_tool([word.replace("{image}", paths["image"]).replace("{labels}", paths["labels"]) for word in words], folder)
            return read_labels(paths["labels"])


@dataclass(frozen=True)
class FastSurfer:
    """Labels by FastSurferVINN (Henschel et al. 2020, 2022), where its command is installed: aparc.DKTatlas+aseg.

    Attributes:
        program: run_fastsurfer.sh.
    """

    program: str

    @property
    def identity(self) -> str:
        """The program's path."""
        return f"fastsurfer {self.program}"

    def labels(self, image: Array, grid: Grid, truth: Array) -> Labels:  # noqa: ARG002 - a segmenter's arguments
        """Its labels on the conformed grid, which is a function of the image's grid.

        Raises:
            IsovoxError: FastSurfer failed.
        """
        with tempfile.TemporaryDirectory() as folder:
            scan = str(Path(folder, "scan.nii.gz"))
            nifti.save(scan, image, grid)
            options = ["--seg_only", "--no_cereb", "--no_hypothal", "--no_cc", "--no_biasfield"]
            run_tool([self.program, "--t1", scan, "--sd", folder, "--sid", "scan", *options], folder)
            return read_labels(str(Path(folder, "scan", "mri", "aparc.DKTatlas+aseg.deep.mgz")))


@dataclass(frozen=True)
class NetworkSegmenter:
    """Labels by a network of the registry: the channel that is largest, 0 being nothing.

    Attributes:
        folder: of the model, as ``core.models.bundle`` writes it; its config says ``out_channels``.
        spec: what its config says.
    """

    folder: str
    spec: Bundle

    @classmethod
    def of(cls, weights: Weights) -> NetworkSegmenter:
        """The segmenter with these weights.

        Raises:
            WeightsError: model-unfit, for a network of one channel out.
        """
        from core.models.bundle import read_bundle

        spec = read_bundle(weights.folder)
        if spec.config.get("out_channels", 1) < 2:
            wanted, got = "a network of two channels out or more", f"{spec.network} with {spec.config.get('out_channels', 1)}"
            raise WeightsError("model-unfit", wanted, got, "name a model that segments, or choose --segmenter tissues")
        return cls(weights.folder, spec)

    @property
    def identity(self) -> str:
        """Its digest."""
        return self.spec.digest

    def labels(self, image: Array, grid: Grid, truth: Array) -> Labels:  # noqa: ARG002 - a segmenter's arguments
        """The labels, patch by patch, of the image in units of its own 99.9th percentile."""
        import torch

        from core.evaluation.metrics.restoration import peak_of
        from core.geometry.tiles import halo_patches
        from core.models.cache import load_network

        device = "cuda" if torch.cuda.is_available() else "cpu"
        network, scaled = load_network(self.folder, self.spec, device), image / np.float32(peak_of(image))
        labels = np.empty(image.shape, np.int16)
        for tile in halo_patches(grid.shape, PATCH, HALO).tiles():
            labelled = self._patch(network, scaled[tile.read.slices], device)
            labels[tile.write.slices] = labelled[tile.write.relative_to(tile.read.start).slices]
        return labels

    def _patch(self, network: Any, patch: Array, device: str) -> Labels:
        import torch

        ends = [(0, math.ceil(n / self.spec.multiple) * self.spec.multiple - n) for n in patch.shape]
        padded = torch.from_numpy(np.pad(patch, ends, mode="symmetric")[None, None]).to(device)
        with torch.no_grad():
            classes = network(padded)[0].argmax(0).cpu().numpy()
        return np.asarray(classes[Box.whole((patch.shape[0], patch.shape[1], patch.shape[2])).slices], np.int16)


def run_tool(command: list[str], folder: str) -> None:
    """Run a program of others.

    Raises:
        IsovoxError: segmenter-failed, with the last line that it wrote.
    """
    try:
        done = subprocess.run(  # noqa: S603 - as the user says; what it prints may be in any encoding
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=HOUR, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IsovoxError("segmenter-failed", f"{command[0]} to run", str(error), "check its installation") from error
    if done.returncode:
        last = ((done.stderr or done.stdout).strip().splitlines() or ["nothing"])[-1]
        got = f"exit code {done.returncode}, {last[:200]}"
        raise IsovoxError("segmenter-failed", f"{command[0]} to end well", got, "run it by hand on a restored scan")


def read_labels(path: str) -> Labels:
    """The integers of a label image in NIfTI or MGZ.

    Raises:
        IsovoxError: segmenter-silent, where there is none.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return np.asarray(nibabel.load(path).dataobj).round().astype(np.int32)
    except (FileNotFoundError, ImageFileError) as error:
        raise IsovoxError("segmenter-silent", f"labels in {Path(path).name}", "none", "check the command") from error


def fastsurfer() -> FastSurfer:
    """FastSurfer's command.

    Raises:
        UsageError: it is not installed.
    """
    home = os.environ.get("FASTSURFER_HOME", "")
    program = shutil.which("run_fastsurfer.sh") or shutil.which("run_fastsurfer.sh", path=home)
    if program is None:
        remedy = "install FastSurfer and set FASTSURFER_HOME, or choose --segmenter tissues"
        raise UsageError("fastsurfer-missing", "run_fastsurfer.sh on the PATH or in $FASTSURFER_HOME", "none", remedy)
    return FastSurfer(program)


def segmenter_of(said: str, contrast: Literal["T1w", "FLAIR"], weights: Weights | None) -> Segmenter | None:
    """The segmenter of that name; None for "none".

    Args:
        said: "tissues", "fastsurfer", a model, a command or "none"; see ``core.settings.evaluate``.
        contrast: of the scans.
        weights: of the model, where it is one.

    Raises:
        UsageError: FastSurfer is not installed, or no segmenter bears this name.
        WeightsError: the model does not segment.
    """
    if weights is not None:
        return NetworkSegmenter.of(weights)
    if said == "fastsurfer":
        return fastsurfer()
    if "{image}" in said and "{labels}" in said:
        return CommandSegmenter(said)
    if said not in {"tissues", "none"}:
        wanted = "tissues, fastsurfer, a model, a command with {image} and {labels}, or none"
        raise UsageError("segmenter-unknown", wanted, said, "correct --segmenter")
    return TissueSegmenter(contrast) if said == "tissues" else None
