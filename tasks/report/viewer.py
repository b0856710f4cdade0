"""The 3-D viewer: NiiVue, from an installed package, in a file beside the pages; with input and restored side by side."""

from __future__ import annotations

import base64
import math
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from core.errors import UsageError
from core.geometry.grid import Array, Grid
from tasks.report.pages import render
from tasks.report.pictures import Window, head_box, window_of
from tasks.report.views import ScanView

SCRIPT = ("nilearn", "_assets/js/niivue.umd.js")  # ipyniivue's copy is a module of a notebook's widget, without a way in
LARGEST = 12_000_000  # voxels of an embedded volume; finer ones are thinned out


@lru_cache(maxsize=1)
def niivue() -> bytes:
    """NiiVue as a classic script: one file for all the viewers of a cohort, of 2.3 MB.

    Raises:
        UsageError: the package that carries it is missing or carries it no more.
    """
    package, path = SCRIPT
    try:
        return (files(package) / path).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        remedy = "install the locked requirements"
        raise UsageError("viewer-missing", f"NiiVue in the package {package}", str(error), remedy) from error


def embedded(image: Array, grid: Grid, window: Window) -> str:
    """A volume as base64 of a gzipped NIfTI of 8 bits, thinned out where it is too large; no header text."""
    import nibabel as nib
    from isal import igzip

    step = max(1, math.ceil((image.size / LARGEST) ** (1 / 3) - 1e-9))
    affine = grid.affine @ np.diag([step, step, step, 1.0])
    volume: Any = nib.Nifti1Image(window.grey(image[::step, ::step, ::step]), affine)
    volume.header.set_xyzt_units("mm")
    return base64.b64encode(igzip.compress(volume.to_bytes(), 3)).decode()


def viewer_page(view: ScanView) -> str:
    """The page with the 3-D viewer of one scan: one HTML text that needs nothing beside itself but ``niivue()``.

    The view's link "niivue" is where that lies.
    """
    window, box = window_of(view), head_box(view)
    images = {"input": view.source[box.slices], "restored": view.restored[box.slices]}
    return render(
        "viewer.html",
        record=view.record,
        links={"cohort": "", "page": f"{view.record.key}.html", "niivue": "niivue.js"} | dict(view.links),
        volumes={name: embedded(image, view.target.crop(box), window) for name, image in images.items()},
        white=round(255 / window.bright),
        thinned=math.prod(box.shape) > LARGEST,
    )
