"""Volumes beside the page of every slice: their place and values, ghosts told apart, within the budget."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
import time

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from core.geometry.grid import Grid
from tasks.report import ScanView, viewer_of
from tasks.report import volumes as volumes_module
from tasks.report.pictures import Scale, Window
from tasks.report.volumes import Layer, packed

BALL = (42, 50, 45)  # voxel at the right, front and top of the head


def unpacked(script: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and affine of a volume, by the rules that the page's script follows."""
    facts, content = re.fullmatch(r'isovox\.volume\("[\w-]+", (\{.*\}), "([\w+/=]+)"\);\n', script).groups()
    known = json.loads(facts)
    levels = np.frombuffer(gzip.decompress(base64.b64decode(content)), np.uint8)
    levels = np.cumsum(levels, dtype=np.uint8) if known["delta"] else levels
    share = levels.reshape(known["shape"], order="F") / 255
    share = share**2 if known["levels"] == "square" else share
    np.testing.assert_allclose(np.array(known["inverse"]) @ known["affine"], np.eye(4), atol=1e-5)
    return known["low"] + share * (known["high"] - known["low"]), np.array(known["affine"])


def test_every_voxel_is_at_its_place_with_its_value(scan_view: ScanView) -> None:
    scripts = viewer_of(scan_view).scripts
    assert list(scripts) == ["input", "cubic", "restored", "consistency"]
    world = scan_view.target.affine @ [*BALL, 1]
    for name, image in (("input", scan_view.source), ("cubic", scan_view.cubic), ("restored", scan_view.restored)):
        values, affine = unpacked(scripts[name])
        assert values.size == image.size  # every slice, and the air around the head
        at = np.linalg.solve(affine, world)[:3].round().astype(int)
        assert values[tuple(at)] == pytest.approx(min(image[BALL], values.max()), rel=0.01)
    values, affine = unpacked(scripts["consistency"])
    measured = np.linalg.solve(scan_view.measured_grid.affine, world)[:3].round().astype(int)
    at = np.linalg.solve(affine, world)[:3].round().astype(int)
    assert values[tuple(at)] == pytest.approx(scan_view.consistency[tuple(measured)], abs=0.02)


def test_a_script_does_not_tell_when_it_was_made(scan_view: ScanView, monkeypatch: pytest.MonkeyPatch) -> None:
    once = viewer_of(scan_view).scripts
    monkeypatch.setattr(time, "time", lambda clock=time.time: clock() + 1000)
    assert viewer_of(scan_view).scripts == once


def test_ghosts_in_the_air_have_levels_of_their_own() -> None:
    window = Window(0.0, 1000.0)
    ghosts = np.linspace(0, 10, 1000, dtype=np.float32)  # up to a hundredth of the head's
    assert len(np.unique(Layer(ghosts, window).levels())) > 20
    assert len(np.unique(window.grey(ghosts))) < 5


def test_colours_keep_their_sign_and_zero() -> None:
    levels = Layer(np.array([-2.0, 0.0, 2.0, np.nan], np.float32), Scale(2.0)).levels()
    assert levels.tolist() == [0, 127, 254, 127]


def test_what_has_no_sign_is_of_one_hue_from_0() -> None:
    image = np.linspace(0, 2, 255, dtype=np.float32).reshape(5, 51, 1)
    scale = Scale.of(image, signed=False)
    assert scale.ends == (0.0, 1.0, 2.0)
    layer = Layer(image, scale)
    assert (layer.levels().min(), layer.levels().max()) == (0, 254)
    _, low, high = layer.values()
    np.testing.assert_allclose(low + layer.levels() / 255.0 * (high - low), image, atol=1e-6)
    red, green, blue = scale.colour(image).reshape(-1, 3).astype(int).T
    assert (red[0], green[0], blue[0]) == (0, 0, 0)
    assert ((red >= green) & (green >= blue)).all()
    assert (np.diff(red + green + blue) >= 0).all()
    assert Scale.of(image - 1, signed=False).signed


def test_a_scan_beyond_the_budget_loses_levels_first_and_voxels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 100, (24, 24, 24)).astype(np.float32)
    grid = Grid(noise.shape, np.diag([0.5, 0.5, 0.5, 1.0]))
    layers = {"restored": Layer(noise, Window(0.0, 100.0))}
    whole = packed(layers, grid, grid)
    assert (whole.step, whole.lost) == (1, 0)
    size = len(whole.scripts["restored"])
    for budget, lost, step in ((0.95, 1, 1), (0.2, 0, 2)):
        monkeypatch.setattr(volumes_module, "BUDGET", int(size * budget))
        less = packed(layers, grid, grid)
        assert (less.lost, less.step) == (lost, step)
        values, affine = unpacked(less.scripts["restored"])
        at = np.linalg.solve(affine, grid.affine @ [4, 6, 8, 1])[:3].round().astype(int)
        assert values[tuple(at)] == pytest.approx(noise[4, 6, 8], abs=2.5)


def test_the_page_says_what_it_leaves_out(scan_view: ScanView, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "thinned out" not in viewer_of(scan_view).page
    monkeypatch.setattr(volumes_module, "LARGEST", 100_000)
    assert "Every 2nd voxel is shown: thinned out" in viewer_of(scan_view).page


def test_a_map_beside_the_volume_is_an_overlay_with_a_scale(scan_view: ScanView) -> None:
    view = dataclasses.replace(scan_view, maps={"sd": 10 + 0 * scan_view.restored})
    made = viewer_of(view)
    values, _ = unpacked(made.scripts["sd"])
    restored, _ = unpacked(made.scripts["restored"])
    head = restored > 30
    assert values[head].mean() == pytest.approx(5.0, rel=0.05)  # of a window of 200
    assert not values[~binary_fill_holes(restored > 10)].any()  # in the air
    assert 0.1 < (values > 0).mean() < 0.9
    assert 'data-overlay="sd"' in made.page
    assert "Copyright (c) 2021, Niivue" in made.page
