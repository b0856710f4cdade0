"""The page of every slice of a scan: NiiVue, from an installed package, in a file beside the pages; volumes beside it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from core.errors import UsageError
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.methods.maps import meaning_of
from core.stats import FAINT
from tasks.report.pages import grid_text, render
from tasks.report.pictures import COLOURS, Scale, Window, map_shares, window_of
from tasks.report.views import ScanView
from tasks.report.volumes import Layer, packed

SCRIPT = ("nilearn", "_assets/js/niivue.umd.js")  # ipyniivue's copy is a module of a notebook's widget, without a way in
BRIGHTEST = 99.99  # percentile of the scans that is still told apart
MIDDLE = len(COLOURS) // 2  # black
GREY = ("input", "cubic", "restored")
CONSISTENCY = "consistency"


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


@dataclass(frozen=True)
class Viewer:
    """The page of every slice, and what lies beside it.

    Attributes:
        page: HTML.
        scripts: a volume each, by name.
    """

    page: str
    scripts: Mapping[str, str]


def viewer_of(view: ScanView) -> Viewer:
    """The page with every slice of a scan, and the scripts of its volumes.

    The page needs ``niivue()`` at the view's link "niivue", and each script at its link "volumes", a folder, under its name.
    """
    layers = _layers(view, _images(view))
    volumes = packed(layers, view.target, view.measured_grid)
    window, record = window_of(view), view.record
    links = {"cohort": "", "page": f"{record.key}.html", "niivue": "niivue.js", "volumes": record.key, "list": "scans.js"}
    links |= dict(view.links)
    data = {
        "key": record.key,
        "links": links,
        "method": record.method,
        "layers": [_told(name, layer, record.quality) for name, layer in layers.items()],
        "window": [window.low, window.shown.high],
        "range": [window.low, layers["restored"].values()[2]],
        "faint": [window.low, window.low + FAINT * (window.high - window.low)],
        "grids": {name: np.linalg.inv(each.affine).round(9).tolist() for name, each in _grids(view).items()},
        "colours": {"below": COLOURS[MIDDLE::-1].astype(int).tolist(), "above": COLOURS[MIDDLE:].astype(int).tolist()},
    }
    page = render(
        "viewer.html",
        record=record,
        links=links,
        layers=data["layers"],
        scales={name: layer.scale for name, layer in layers.items() if isinstance(layer.scale, Scale)},
        measured=grid_text(view.measured_grid),
        restored=grid_text(view.target),
        data=data,
        step=volumes.step,
        greys=256 >> volumes.lost,
    )
    return Viewer(page, volumes.scripts)


def _grids(view: ScanView) -> dict[str, Grid]:
    return {"measured": view.measured_grid, "restored": view.target}


def _images(view: ScanView) -> dict[str, Array]:
    """All volumes by name, on the target: the grey ones first; maps in % of the window."""
    cubic = {} if view.cubic is None else {"cubic": view.cubic}
    consistency = interpolate(view.consistency, view.measured_grid, view.target, 0)
    maps = map_shares(view, window_of(view))
    return {"input": view.source, **cubic, "restored": view.restored, CONSISTENCY: consistency, **maps}


def _layers(view: ScanView, images: Mapping[str, Array]) -> dict[str, Layer]:
    shown = window_of(view)
    high = max(float(np.percentile(images[name], BRIGHTEST)) for name in GREY if name in images)
    window = Window(shown.low, max(high, shown.high))
    scales = {name: Scale.of(image, signed=name == CONSISTENCY) for name, image in images.items() if name not in GREY}
    return {name: Layer(image, scales.get(name, window)) for name, image in images.items()}


def _told(name: str, layer: Layer, quality: Mapping[str, float]) -> dict[str, Any]:
    """What the page knows of a layer before it is loaded."""
    if name in GREY:
        return {"name": name, "grey": True}
    noise = quality.get("noise_sd", 0.0)
    unit = (
        f"noise SD (1 SD = {noise:.3g} in the scan's units)"
        if name == CONSISTENCY
        else "% of the display range (none is drawn in the air)"
    )
    title = (
        "Consistency: restored, seen through the acquisition, minus measured" if name == CONSISTENCY else meaning_of(name).title
    )
    assert isinstance(layer.scale, Scale)  # noqa: S101 - what is not grey has a scale of colours
    return {"name": name, "grey": False, "title": title, "unit": unit, "end": layer.scale.end, "signed": layer.scale.signed}
