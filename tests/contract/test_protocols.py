"""What every protocol promises, held against each of them."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from core.evaluation.protocol import Protocol
from core.geometry.grid import Grid
from core.methods import registry
from core.operators.forward_model import DroppedSlices
from core.settings.evaluate import EvaluationSettings
from tests.phantoms import brain

PERSONS = [f"{n:02d}" for n in range(1, 18)]


@pytest.fixture(params=list(registry.protocols()))
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return registry.protocol(request.param)


def test_what_is_declared_is_there(protocol: Protocol) -> None:
    entry = registry.protocol_entry(protocol.name)
    assert entry.name == protocol.name
    assert entry.title


def test_settings_by_its_name_degrade_as_it_says(protocol: Protocol) -> None:
    settings = EvaluationSettings(protocol=protocol.name, cohort="", out="")
    assert list(settings.degradations) == list(protocol.degradations)
    assert len(protocol.degradations) == 1 or all(map(str.isalnum, protocol.degradations))
    for name, wanted in protocol.degradations.items():
        made = settings.degradations[name].model_dump()
        assert {field: made[field] for field in wanted} == dict(wanted)
        assert settings.degradations[name].forward.describe()
    factors = {wanted["factor"] for wanted in protocol.degradations.values() if "factor" in wanted}
    if len(factors) > 1:  # they are told apart by it
        with pytest.raises(ValidationError, match=r"expected degradations of .* as they are named .* but got factor 6 for all"):
            EvaluationSettings(protocol=protocol.name, cohort="", out="", factor=6)
    else:
        said = EvaluationSettings(protocol=protocol.name, cohort="", out="", factor=6)
        assert {said.degradations[name].factor for name in protocol.degradations} == {6}


def test_a_truth_is_scored_best_by_itself(protocol: Protocol) -> None:
    truth, _ = brain((32, 34, 33))
    noise = np.random.default_rng(0).normal(0, 5, truth.shape).astype(np.float32)
    grid = Grid(truth.shape, np.eye(4))
    grids = grid, DroppedSlices(factor=2).degraded_grid(grid, 2)

    def apart(image: np.ndarray, wanted: np.ndarray) -> float:
        return float(np.abs(image - wanted).mean())

    best, worse = (protocol.score(image, truth, grids, apart) for image in (truth, truth + noise))
    assert set(best) >= {metric.name for measure in protocol.measures for metric in measure.metrics}
    lower = {metric.name for measure in protocol.measures for metric in measure.metrics if not metric.higher}
    for name, figure in worse.items():
        assert np.isfinite(figure)
        assert figure > best[name] if name.partition(".")[0] in lower else figure < best[name]


def test_a_mask_is_of_the_truth_s_shape_and_not_empty(protocol: Protocol) -> None:
    truth, _ = brain((32, 34, 33))
    if protocol.mask is not None:
        mask = protocol.mask(truth)
        assert (mask.shape, mask.dtype) == (truth.shape, np.bool_)
        assert mask.any()
        assert protocol.identity


def test_folds_hold_each_person_once(protocol: Protocol) -> None:
    parts = [protocol.fold(PERSONS, number) for number in range(1, protocol.folds + 1)]
    assert sorted(one for part in parts for one in part) == PERSONS
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == [protocol.fold(list(reversed(PERSONS)), number) for number in range(1, protocol.folds + 1)]
