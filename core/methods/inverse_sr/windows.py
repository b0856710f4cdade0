"""What a prior is trained on: persons' images in its window, each a little varied.

    scan --rigid registration to the atlas, once--> image on the window --turn, stretch, shift, mirror, contrast--> example
                                                                        --autoencoder, once--> code
The air of an image is 0 and its 99.9th percentile 1; nothing is below 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from core.geometry.grid import Array, Box, Grid, Triple
from core.geometry.resample import interpolate
from core.io import files, readers
from core.methods.inverse_sr.frame import moved, rigid_between
from core.models.generative import GenerativePrior, told
from core.training.batch import Batch
from core.training.data.cached import Cached
from core.training.data.subjects import Subject
from core.training.recipe import Draw

ATLAS = Path(__file__).parent / "atlas" / "icbm152_brain_4mm.nii.gz"
PERSON = "person"  # name of the conditions in a batch
FWHM = 2.3548  # of a Gaussian, in standard deviations

TURN = np.deg2rad(5)  # at most, about each axis
STRETCH = 0.05  # along each axis
SHIFT = 4.0  # mm
CONTRAST = 0.05  # of the exponent of a gamma curve, and of the brightness
PLAIN = 0.2  # share of examples that are not moved: interpolation blurs


def placed(image: Array, grid: Grid, window: Grid) -> Grid:
    """Where a window of MNI space lies in a scan's world, by a rigid registration of the scan to the atlas.

    Raises:
        RestorationError: not-registered.
    """
    atlas, atlas_grid, _ = readers.load("nifti", [str(ATLAS)])
    return moved(window, rigid_between(atlas, atlas_grid, image, grid))


def seen_on(image: Array, grid: Grid, there: Grid) -> Array:
    """A scan on a window in its world, float32, not below 0; without aliases where the window is coarser."""
    return np.maximum(interpolate(_smoothed(image, grid, there), grid, there, 3), 0)


def brought(subject: Subject, window: Grid) -> Array:
    """A person's image on a window of MNI space."""
    image = subject.scaled(subject.read(Box.whole(subject.grid.shape)))
    return seen_on(image, subject.grid, placed(image, subject.grid, window))


def _smoothed(image: Array, grid: Grid, target: Grid) -> Array:
    """Seen through a Gaussian as wide as a target voxel, along axes where that is coarser."""
    from scipy.ndimage import gaussian_filter

    voxel = max(target.spacing)
    sigmas = [voxel / size / FWHM if voxel > 1.1 * size else 0.0 for size in grid.spacing]
    smooth: Array = gaussian_filter(image, sigmas) if any(sigmas) else image
    return smooth


def varied(image: Array, voxel: float, draw: np.random.Generator, edge: int | None = None) -> Array:
    """Another that the image could have been: mirrored from left to right, turned, stretched, shifted, of other contrast.

    Args:
        image: float32 on a window whose first axis runs between left and right.
        voxel: of the window, mm.
        draw: of all that is random.
        edge: of a cube at random that is all that is wanted, whole along axes that are shorter; None: the whole image.
    """
    from scipy.ndimage import affine_transform

    mirrored, plain = draw.random() < 0.5, draw.random() < PLAIN
    matrix, shift = _moves(draw), draw.uniform(-SHIFT, SHIFT, 3) / voxel
    gamma, gain = np.exp(draw.uniform(-CONTRAST, CONTRAST, 2))
    box = _cube(image.shape, edge or max(image.shape), draw)
    if mirrored:
        image = image[::-1]
    if plain:
        image = image[box.slices]
    else:
        middle = (np.array(image.shape) - 1) / 2
        first = middle + matrix @ (np.array(box.start) - middle) + shift
        image = affine_transform(image, matrix, first, output_shape=box.shape, order=3, mode="grid-constant")
    changed = np.float32(gain) * np.maximum(image, 0) ** np.float32(gamma)
    return np.ascontiguousarray(changed, np.float32)


def _moves(draw: np.random.Generator) -> NDArray[np.float64]:
    """A small turn about each axis, and a small stretch along each."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", draw.uniform(-TURN, TURN, 3)).as_matrix()
    return np.asarray(turn @ np.diag(1 + draw.uniform(-STRETCH, STRETCH, 3)))


@dataclass(frozen=True)
class Persons(Dataset[Batch]):
    """Each image on the window as it is, with what is known of its person.

    Attributes:
        subjects: whose images.
        facts: window and conditions of the prior.
    """

    subjects: Sequence[Subject]
    facts: GenerativePrior

    def __len__(self) -> int:
        """How many there are."""
        return len(self.subjects)

    def __getitem__(self, index: int) -> Batch:
        """Image (1, x, y, z), as truth and as input."""
        subject = self.subjects[index]
        image = torch.from_numpy(brought(subject, self.facts.grid))[None]
        return Batch(image, image, {PERSON: torch.from_numpy(told(self.facts.conditions, subject.covariates)[0])})


class Windows(Dataset[Batch]):
    """Examples by number: of the persons to train on varied and cut at random, of those to validate with as they are.

    Args:
        draw: what is drawn of.
        facts: window and conditions of the prior.
        folder: URI where images on the window are kept.
        edge: of the crops to train on, in voxels; None: whole windows.
    """

    def __init__(self, draw: Draw, facts: GenerativePrior, folder: str, edge: int | None = None) -> None:
        persons = Persons(draw.subjects, facts)
        place, many = files.join(folder, draw.part), len(persons)
        self.images = Cached(persons, lambda example: example, place, distinct=many, length=many)
        self.voxel, self.seed, self.length = facts.grid.spacing[0], draw.seed, draw.length
        self.trains, self.edge = draw.part == "train", edge

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        """Image (1, x, y, z), as truth and as input."""
        if not self.trains:
            return self.images[index % len(self.images)]
        draw = np.random.default_rng([self.seed, index])
        example = self.images[int(draw.integers(len(self.images)))]
        image = torch.from_numpy(varied(example.truth[0].numpy(), self.voxel, draw, self.edge))[None]
        return Batch(image, image, example.conditions)


def _cube(shape: Triple, edge: int, draw: np.random.Generator) -> Box:
    """A cube of an image, at random, whole along axes that are shorter."""
    starts = [int(draw.integers(max(1, n - edge + 1))) for n in shape]
    x, y, z = starts
    a, b, c = (min(start + edge, n) for start, n in zip(starts, shape, strict=True))
    return Box((x, y, z), (a, b, c))
