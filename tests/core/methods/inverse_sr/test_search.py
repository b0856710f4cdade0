"""The search: least squares in closed form, the code of least loss, an early end, the same bits after a stop."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from core.errors import RestorationError
from core.methods.inverse_sr.search.chain import chain, times_of
from core.methods.inverse_sr.search.data_term import DataTerm, Observation, Terms, gradients
from core.methods.inverse_sr.search.descent import BEST, FIRST, WATCHED, Loss, Pace, advance, begin, best, over
from core.methods.iterative import State
from core.operators.forward_model import SliceProfile
from tests.core.methods.inverse_sr.stubs import GAIN, SCHEDULE, LinearPrior

PRIOR = LinearPrior(dtype=torch.float64)
FREE = {"z": np.ones(1)}


def scan():
    forward = SliceProfile(factor=2)
    grid = forward.degraded_grid(PRIOR.window, 2)
    values = np.random.default_rng(0).random(grid.shape)
    return Observation(forward.operator(grid, PRIOR.window), values, np.ones(grid.shape, bool), 2)


def optimum(one: Observation):
    """The code whose image explains the scan best: least squares with the dense matrix of A D."""
    columns = PRIOR.matrix.numpy().reshape(*PRIOR.window.shape, -1)
    seen = np.stack([one.operator.forward(np.ascontiguousarray(columns[..., n])).ravel() for n in range(columns.shape[-1])], 1)
    return np.linalg.lstsq(seen, one.values.ravel(), rcond=None)[0].reshape(PRIOR.mean_code.shape)


def run(loss: Loss, pace: Pace, codes, free=FREE) -> State:
    state = State({})
    begin(state, codes)
    while not over(state, pace):
        state.count(advance(state, loss, pace, free, "cpu"))
    return state


def squared(variables, latent=lambda variables: variables["z"]):
    return DataTerm([scan()], norm="l2", fitted=False)(PRIOR.decode(latent(variables))[0, 0])


def test_with_a_linear_decoder_the_search_ends_at_least_squares():
    state = run(Loss(squared), Pace(300, 0.2, end=0.001), {"z": PRIOR.mean_code})
    np.testing.assert_allclose(best(state, FREE)["z"], optimum(scan()), atol=1e-3)


def test_through_the_chain_it_ends_at_the_same_code_with_the_chains_gain():
    def latent(variables):
        return chain(PRIOR.epsilon, variables["z"], variables["conditions"], SCHEDULE, times_of())

    codes = {"z": np.random.default_rng(3).standard_normal(PRIOR.mean_code.shape), "conditions": np.full((1, 4), 0.5)}
    free = {**FREE, "conditions": np.ones((1, 4))}
    state = run(Loss(lambda variables: squared(variables, latent)), Pace(150, 0.3, end=0.001), codes, free)
    np.testing.assert_allclose(best(state, free)["z"], optimum(scan()) / GAIN, atol=2e-3)
    np.testing.assert_array_equal(state.arrays["conditions"], 0.5)  # on which this prior does not depend


def test_the_rate_falls_from_that_of_the_paper_to_its_end():
    pace = Pace(600, 0.07, end=0.1)
    assert pace.rate_at(0) == 0.07
    assert pace.rate_at(600) == pytest.approx(0.007)
    rates = [pace.rate_at(n) for n in range(600)]
    assert rates == sorted(rates, reverse=True)


def test_a_step_is_adams():
    """Algorithm 1 of Kingma & Ba (2015), in plain numbers."""
    value, first, second, (a, b) = np.array([[1.0, -2.0]]), 0.0, 0.0, (0.9, 0.999)
    state, pace = State({}), Pace(10**9, 0.07)  # so long that the rate stays
    begin(state, {"z": value.astype(np.float32)})

    def terms(variables):
        return Terms((variables["z"] ** 4).sum() + variables["z"].sin().sum(), None, [])

    for t in range(1, 13):
        gradient = 4 * value**3 + np.cos(value)
        first, second = a * first + (1 - a) * gradient, b * second + (1 - b) * gradient**2
        value = value - 0.07 * (first / (1 - a**t)) / (np.sqrt(second / (1 - b**t)) + 1e-8)
        advance(state, Loss(terms), pace, FREE, "cpu")
    np.testing.assert_allclose(state.arrays["z"], value, rtol=1e-5)


def test_the_code_of_least_loss_is_taken_not_the_last():
    """A rate so high that the search leaps out of the valley in which it begins."""
    state = run(Loss(lambda v: Terms(v["z"].square().sum(), None, [])), Pace(3, 5.0), {"z": np.array([0.5], np.float32)})
    assert state.values["best"] == 0.25
    assert float(best(state, FREE)["z"][0]) == 0.5
    assert abs(state.arrays["z"][0]) > 1


def test_what_is_known_is_not_searched():
    free = {"conditions": np.array([[1.0, 0.0]], np.float32)}
    state = run(
        Loss(lambda v: Terms((v["conditions"] - 3).square().sum(), None, [])),
        Pace(5, 0.1),
        {"conditions": np.full((1, 2), 0.5, np.float32)},
        free,
    )
    assert state.arrays["conditions"][0, 0] > 0.7
    assert state.arrays["conditions"][0, 1] == 0.5


def test_features_weigh_by_the_lengths_of_gradients_at_the_first_step():
    state = State({})
    begin(state, {"z": np.array([3.0, 4.0])})

    def terms(variables):
        return Terms(5 * variables["z"].sum(), variables["z"].square().sum(), [])

    figures = advance(state, Loss(terms, share=0.5), Pace(9, 0.1), FREE, "cpu")
    weight = 0.5 * 5 * math.sqrt(2) / 10
    assert state.values["weight"] == pytest.approx(weight)
    assert figures == {"loss": pytest.approx(35 + weight * 25), "difference": 35, "features": 25}
    advance(state, Loss(terms, share=0.5), Pace(9, 0.1), FREE, "cpu")
    assert state.values["weight"] == pytest.approx(weight)


def test_a_prior_beside_pulls_but_does_not_choose():
    def terms(variables):
        return Terms((variables["z"] - 1).square().sum(), None, [])

    loss = Loss(terms, beside=lambda v, _: (v["z"] - 3).square().sum(), beside_share=1.0)
    state = run(loss, Pace(300, 0.05), {"z": np.array([0.0])})
    assert float(state.arrays["z"][0]) == pytest.approx((1 + 3 * (1 / 3)) / (1 + 1 / 3), abs=0.01)  # its weight is 1 / 3
    assert float(best(state, FREE)["z"][0]) == pytest.approx(1, abs=0.05)


def test_a_settled_search_ends_and_one_that_is_to_go_on_does_not():
    def slow(variables):
        return Terms(1 + 1e-4 * variables["z"].abs().sum(), None, [])

    codes = {"z": np.array([9.0], np.float32)}
    assert run(Loss(slow), Pace(400, 0.01, settled=0.01), codes).values["made"] == 2 * WATCHED
    assert run(Loss(slow), Pace(400, 0.01), codes).values["made"] == 400
    assert run(Loss(lambda v: Terms(v["z"].square().sum(), None, [])), Pace(120, 0.05, settled=0.01), codes).values["made"] == 120


def test_a_search_that_was_cut_off_goes_on_with_the_same_bits():
    loss, pace = Loss(squared), Pace(30, 0.07)
    whole = run(loss, pace, {"z": PRIOR.mean_code})
    state = State({})
    begin(state, {"z": PRIOR.mean_code})
    for _ in range(11):
        state.count(advance(state, loss, pace, FREE, "cpu"))
    state = copy.deepcopy(state)
    while not over(state, pace):
        state.count(advance(state, loss, pace, FREE, "cpu"))
    assert {name: one.tobytes() for name, one in state.arrays.items()} == {
        name: one.tobytes() for name, one in whole.arrays.items()
    }
    assert (state.values, state.figures) == (whole.values, whole.figures)
    assert {FIRST + "z", BEST + "z"} <= set(state.arrays)


def test_features_and_voxels_of_a_real_term_start_alike():
    state = State({})
    begin(state, {"z": PRIOR.mean_code + 0.1})

    def terms(variables):
        return DataTerm([scan()], gradients)(PRIOR.decode(variables["z"])[0, 0])

    advance(state, Loss(terms), Pace(9, 0.1), FREE, "cpu")
    assert state.values["weight"] > 0


def test_a_loss_that_is_not_finite_ends_the_search():
    state = State({})
    begin(state, {"z": np.array([1.0])})
    with pytest.raises(RestorationError, match=r"diverged: expected a finite loss, but got nan\. Take a lower rate"):
        advance(state, Loss(lambda v: Terms(v["z"].sum() * math.nan, None, [])), Pace(9, 0.1), FREE, "cpu")
