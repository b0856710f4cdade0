"""Settings of the samplers: what follows from them, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import UsageError, WeightsError
from core.geometry.grid import Grid
from core.methods import registry
from core.methods.srmri import mock
from core.methods.srmri.method import LAST, RHO, SliceSampler
from core.methods.srmri.sampling.few_steps import Pace
from tests.benchmarks import srmri_tables as tables
from tests.benchmarks.srmri_tables import crop, restored_by
from tests.phantoms import brain


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("model"))
    mock.write(folder, "srmri")
    return folder


def sampler(model: str, name: str, **options: Any) -> SliceSampler:
    method = registry.build_method(name, options, model)
    assert isinstance(method, SliceSampler)
    return method


@pytest.mark.parametrize("name", ["dps", "mcg", "srmri"])
def test_gradients_are_as_long_together_whatever_the_number_of_scales(model: str, name: str) -> None:
    slices = {"sampler": "slices"} if name == "srmri" else {}
    assert sampler(model, name, **slices).rules.rho == RHO
    for scales in (20, 100, 4000):
        assert sampler(model, name, scales=scales, **slices).rules.rho * scales == pytest.approx(RHO * 2000)
    assert sampler(model, name, scales=100, rho=RHO, **slices).rules.rho == RHO


def test_scans_are_made_anew_where_the_default_length_is_another(model: str) -> None:
    assert sampler(model, "dps", scales=100).depends_on == {"rho": pytest.approx(20 * RHO)}
    assert sampler(model, "srmri", scales=100, sampler="slices").depends_on == {"rho": pytest.approx(20 * RHO)}
    as_before: list[tuple[str, dict[str, Any]]] = [
        ("dps", {}),
        ("dps", {"scales": 100, "rho": 0.01}),
        ("score-sde", {"scales": 100}),
        ("srmri", {"scales": 100}),
    ]
    for name, options in as_before:
        assert sampler(model, name, **options).depends_on == {}


def test_few_levels_do_not_begin_below_their_end(model: str) -> None:
    """They would rise."""
    with pytest.raises(UsageError, match=r"method-options: .*first.*greater than or equal to 0\.01"):
        sampler(model, "srmri", first=0.005)
    sigmas = Pace(levels=15, first=LAST, last=LAST, trust=0.1, fresh=1.0).sigmas()
    assert sigmas == sorted(sigmas, reverse=True)


@pytest.mark.parametrize(
    ("name", "options", "walked"),
    [("dps", {"scales": 2}, 5), ("srmri", {"scales": 2, "sampler": "slices"}, 5), ("srmri", {"levels": 1}, 3), ("cubic", {}, 3)],
)
def test_tables_time_the_slices_that_are_worked_on(model: str, name: str, options: dict[str, Any], walked: int) -> None:
    image, _ = brain((20, 20, 20))
    measured, _, target = crop(image, Grid(image.shape, np.eye(4)), 16, 3, 2)
    method = registry.build_method(name, options, model if name != "cubic" else None)
    assert restored_by(method, measured, target)[2] == walked


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of the smallest size that is trained."""
    return tables.mock(str(tmp_path_factory.mktemp("tiny")), "tiny")


def seconds(method: SliceSampler, voxels: int = 64 * 64) -> float:
    return voxels * method.passes / method.speed


def test_time_is_forecast_by_what_the_settings_have_a_sampler_do(tiny: str) -> None:
    """Seconds of slices of 64 x 64 pixels, as measured on one core beside another job."""
    for name, options, measured in (
        ("dps", {"scales": 200}, 14.8),
        ("dps", {}, 148),
        ("mcg", {"scales": 200}, 16.4),
        ("score-sde", {"scales": 200}, 7.9),
        ("srmri", {"scales": 200, "sampler": "slices"}, 11.5),
        ("srmri", {"scales": 200, "sampler": "slices", "k": 5}, 9.4),
        ("srmri", {"sampler": "slices"}, 113),
        ("srmri", {}, 0.27),
        ("srmri", {"samples": 8}, 2.4),
    ):
        assert measured / 1.6 < seconds(sampler(tiny, name, **options)) < 1.6 * measured, (name, options)
    for name in ("score-sde", "dps", "mcg"):
        few, many = (seconds(sampler(tiny, name, scales=scales)) for scales in (20, 2000))
        assert many == pytest.approx(100 * few)
    assert seconds(sampler(tiny, "srmri", levels=30)) == pytest.approx(2 * seconds(sampler(tiny, "srmri", levels=15)))
    of_both_orders = [seconds(sampler(tiny, "dps", order=order)) for order in ("corrector", "predictor")]
    assert of_both_orders[1] == pytest.approx(0.75 * of_both_orders[0])
    assert seconds(sampler(tables.mock(f"{tiny}/small", "small"), "dps")) == pytest.approx(3 * of_both_orders[0])


def test_memory_is_that_of_the_slice_in_hand(tiny: str) -> None:
    """A gradient of the smallest network takes 5.7 kB a pixel of a slice, an evaluation alone 1.2."""
    shape, grid = (240, 160, 240), Grid((240, 160, 240), np.eye(4))
    for name, options, wanted in (
        ("dps", {}, 5.7e3),
        ("score-sde", {}, 1.2e3),
        ("srmri", {}, 1.2e3),
        ("srmri", {"sampler": "slices"}, 5.7e3),
    ):
        method = sampler(tiny, name, **options)
        assert method.working(shape, grid, grid) == pytest.approx(240 * 240 * wanted, rel=0.1)
        assert method.bytes_per_voxel * np.prod(shape) + method.working(shape, grid, grid) < 2**30


def test_another_model_is_refused_before_anything_is_forecast(tmp_path: Path) -> None:
    mock.write(str(tmp_path), "srcnn")
    with pytest.raises(WeightsError, match=r"model-unfit: expected a score model, but got the parts network"):
        sampler(str(tmp_path), "dps").speed  # noqa: B018
