"""The prior in memory: its sizes, what it costs, its place, and what is known of a person."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import RestorationError
from core.methods.inverse_sr.cost import cost_of
from core.methods.inverse_sr.mock import write
from core.methods.inverse_sr.presets import mock, paper
from core.methods.inverse_sr.prior import Prior
from core.networks import build


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Prior:
    folder = str(tmp_path_factory.mktemp("prior"))
    write(folder, "inverse-sr")
    return Prior.load(folder)


@pytest.mark.slow
def test_the_papers_networks_have_their_sizes():
    with torch.device("meta"):
        networks = {role: build(preset.network, preset.config) for role, preset in paper().items()}
    sizes = {role: sum(one.numel() for one in network.parameters()) for role, network in networks.items()}
    assert sizes == {"autoencoder": 13_766_248, "denoiser": 553_168_899, "frame": 0}
    assert networks["frame"].mean_code.shape == (1, 3, 20, 28, 20)


@pytest.mark.slow
def test_a_step_of_the_papers_costs_what_was_counted_of_it():
    """15.14 and 1.45 TF forward, and 8.33 G numbers kept of the decoder."""
    cost = cost_of(paper(), steps=46)
    assert cost.decoder_flops / 1e12 == pytest.approx(15.14, abs=0.01)
    assert cost.noise_flops / 1e12 == pytest.approx(1.452, abs=0.001)
    assert cost.decoder_kept / 1e9 == pytest.approx(8.33, abs=0.01)
    assert 600 * cost.flops / 1e15 == pytest.approx(98.9, rel=0.01)
    assert cost_of(paper(), 0).bytes_kept(4) / 1e9 == pytest.approx(33.3, abs=0.1)


def test_a_code_is_decoded_onto_the_window_and_encoded_again(prior):
    code = torch.randn(1, *prior.shape)
    image = prior.decode(code)
    assert image.shape[2:] == prior.window.shape
    assert prior.encode(image).shape == code.shape
    assert prior.epsilon(code, 991, torch.full((1, 4), 0.5)).shape == code.shape
    assert prior.mean_image().shape == prior.window.shape
    assert prior.bytes_kept(2, 4) == cost_of(mock(), 2).bytes_kept(4)


def test_blocks_made_anew_give_the_same_gradients(prior):
    grads = []
    for recompute in (False, True):
        code = torch.ones(1, *prior.shape, requires_grad=True)
        prior.decode(code, recompute=recompute).square().sum().backward()
        grads.append(code.grad)
    torch.testing.assert_close(*grads, rtol=0, atol=0)


def test_conditions_change_the_noise_that_is_predicted(prior):
    code = torch.ones(1, *prior.shape)
    assert not torch.equal(prior.epsilon(code, 1, torch.zeros(1, 4)), prior.epsilon(code, 1, torch.ones(1, 4)))


def test_a_scale_brings_codes_to_unit_variance(prior):
    autoencoder = prior.autoencoder
    image, before = torch.rand(1, 1, *prior.window.shape), None
    before = autoencoder.encode(image)
    autoencoder.get_buffer("scale").mul_(2)
    try:
        torch.testing.assert_close(autoencoder.encode(image), 2 * before)
        torch.testing.assert_close(autoencoder.decode(2 * before), autoencoder.network.decode(before))
    finally:
        autoencoder.get_buffer("scale").div_(2)


@pytest.mark.parametrize(
    ("covariates", "values", "free"),
    [
        ({}, [0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]),
        ({"sex": "F", "age": 63.0}, [0, 0.5, 0.5, 0.5], [0, 0, 1, 1]),
        ({"sex": "M", "age": 82.0}, [1, 1, 0.5, 0.5], [0, 0, 1, 1]),
        ({"sex": "n/a", "age": "old"}, [0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]),
    ],
)
def test_what_is_known_of_a_person_is_fixed(prior, covariates, values, free):
    known, searched = prior.known(covariates)
    np.testing.assert_allclose(known, [values])
    np.testing.assert_array_equal(searched, [free])


def test_a_person_beyond_the_prior_is_refused(prior):
    with pytest.raises(RestorationError, match=r"outside-prior: wanted a person of age 44 to 82, as the prior has seen; got 25"):
        prior.known({"age": 25.0})
