"""A schedule that a config says is the one that its numbers make."""

from __future__ import annotations

import numpy as np
import pytest

from core.diffusion.declared import build_schedule
from core.diffusion.schedules import Cosine, Discrete, Geometric
from core.errors import WeightsError


def test_each_kind_is_built_from_its_numbers():
    assert build_schedule({"kind": "cosine", "offset": 0.01}) == Cosine(offset=0.01)
    assert build_schedule({"kind": "geometric", "first": 0.01, "last": 348}) == Geometric(0.01, 348)
    for kind, made in {"linear": Discrete.linear, "scaled-linear": Discrete.scaled_linear}.items():
        built = build_schedule({"kind": kind, "steps": 10, "first": 0.0015, "last": 0.0205})
        assert isinstance(built, Discrete)
        np.testing.assert_array_equal(built.alphas_cumprod, made(10, 0.0015, 0.0205).alphas_cumprod)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            {"kind": "spiral"},
            "schedule-unknown: expected one of cosine, linear, scaled-linear, geometric, but got spiral. Correct",
        ),
        ({}, "schedule-unknown"),
        ({"kind": "cosine", "turns": 3}, "schedule-invalid: expected arguments of a cosine schedule, but got .*turns"),
        ({"kind": "geometric", "first": 2, "last": 1}, "schedule-invalid: .*sigmas-invalid"),
        ({"kind": "linear", "steps": 0, "first": 0.1, "last": 0.2}, "schedule-invalid: .*betas-invalid"),
    ],
)
def test_what_cannot_be_meant_is_refused(said, code):
    with pytest.raises(WeightsError, match=code):
        build_schedule(said)
