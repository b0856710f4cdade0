"""Settings of the samplers: what follows from them, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import UsageError
from core.geometry.grid import Grid
from core.methods import registry
from core.methods.srmri import mock
from core.methods.srmri.method import RHO, SliceSampler
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
    sigmas = sampler(model, "srmri", first=0.01).pace.sigmas()  # type: ignore[attr-defined]
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
