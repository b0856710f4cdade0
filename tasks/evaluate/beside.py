"""What methods take beside a scan that is evaluated: the mask and the covariates that ``isovox run`` would give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.engine.plan import MaskImage
from core.errors import InputError
from core.geometry.grid import Grid
from core.io import bids, participants, readers
from core.methods.family import Takes
from core.methods.registry import methods
from core.operators.forward_model import ForwardModel
from core.operators.linear import Kept
from core.settings.evaluate import EvaluationSettings
from tasks.evaluate.cases import Case
from tasks.pipeline.beside import Masks
from tasks.restore.masks import read_mask

HALF = 0.5  # of what a voxel sees, that lies in a mask of finer voxels: from there on it was not measured


def with_beside(cases: Sequence[Case], names: Sequence[str], settings: EvaluationSettings) -> list[Case]:
    """The cases with the masks and covariates in the cohort; nothing is looked for where no method takes any.

    Args:
        cases: from ``find_cases``.
        names: of the methods.
        settings: of the evaluation.

    Raises:
        UsageError: a participants.tsv that is no table.
    """
    takes = [methods()[name].takes for name in names]
    columns = sorted({column for each in takes for column in each.covariates})
    people = participants.people(settings.cohort, columns) if columns else {}
    cases = [replace(case, covariates=people.get(case.person, {})) for case in cases]
    if all(each.mask == "none" for each in takes):
        return cases
    masks = Masks(bids.survey(settings.cohort, settings.selection), settings.cohort, settings.trust)
    return [case if case.reason else _with_mask(case, masks, settings) for case in cases]


def _with_mask(case: Case, masks: Masks, settings: EvaluationSettings) -> Case:
    """The case with the mask beside the scan that the cohort holds: the measured one, else its truth."""
    kind, uris = (case.kind, case.measured) if case.given else (case.truth.kind, case.truth.uris)
    try:
        return replace(case, mask=masks.of(case.truth, readers.header(kind, uris, settings.trust).grid, needed=False))
    except InputError as error:
        return replace(case, mask_fault=str(error))


def unmasked(case: Case, takes: Takes) -> str:
    """Why a method cannot restore a case for want of a mask; empty where it can."""
    if takes.mask == "none":
        return ""
    if takes.mask == "needed" and case.mask is None and not case.mask_fault:
        wanted = "a mask beside the scan, on its grid, that says lesion or tumour"
        return str(InputError("mask-missing", wanted, "none", "add one, or leave the method out"))
    return case.mask_fault


def mask_on(mask: MaskImage, grid: Grid, forward: ForwardModel, settings: EvaluationSettings) -> Kept:
    """A mask on the grid of a measured scan, True where nothing was measured.

    Args:
        mask: on that grid, or on that of the truth: then a voxel counts of which half of what it sees lies in the mask.
        grid: of the measured scan.
        forward: how the measured scan came from the truth.
        settings: of the evaluation.

    Returns:
        boolean of the grid's shape.

    Raises:
        InputError: input-changed, or what is wrong with the mask.
    """
    image = readers.image_at(mask.uri)
    own = readers.header(image.kind, image.uris, settings.trust).grid
    voxels = read_mask(mask, settings.trust, own.shape)
    if own.shape == grid.shape and np.allclose(own.affine, grid.affine, atol=1e-2):
        return voxels
    return np.asarray(forward.operator(grid, own).forward(voxels.astype(np.float32)) >= HALF)
