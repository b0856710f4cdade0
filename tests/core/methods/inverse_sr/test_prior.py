"""The prior: its sizes, what it costs, what it makes of codes, what is known of a person, and the mean of its codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from core.errors import RestorationError, WeightsError
from core.methods.inverse_sr import latent, mock, networks
from core.methods.inverse_sr.cost import cost_of
from core.methods.inverse_sr.presets import AUTOENCODER, DENOISER, SIZES, autoencoder_kl, facts_of, paper
from core.methods.inverse_sr.presets import mock as mock_size
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.search import codes
from core.methods.inverse_sr.search.chain import times_of
from core.networks import build


@pytest.fixture
def prior(tmp_path: Path) -> Prior:
    mock.write(str(tmp_path / "model"), "")
    return Prior.load(str(tmp_path / "model"))


def test_a_prior_that_tells_something_else_than_the_noise_is_refused(prior: Prior) -> None:
    """Its velocity would be taken for noise."""
    config = Path(prior.folder, "config.json")
    config.write_text(config.read_text().replace('"prediction": "eps"', '"prediction": "v"'))
    with pytest.raises(
        WeightsError, match=r"model-unfit: expected a prior whose .* the noise \(eps\), but got one that tells v\."
    ):
        Prior.load(prior.folder)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_networks_of_the_paper_have_the_papers_parameters() -> None:
    size = paper()
    with torch.device("meta"):
        made = {role: build(preset.network, preset.config) for role, preset in size.items()}
    counts = {role: sum(each.numel() for each in network.parameters()) for role, network in made.items()}
    assert counts == {AUTOENCODER: 13_766_248, DENOISER: 553_168_899}


@pytest.mark.slow
def test_a_step_of_the_papers_costs_what_was_counted_of_it() -> None:
    """15.14 and 1.45 TF forward, and 8.33 G numbers kept of the decoder."""
    size = paper()
    cost = cost_of(size, facts_of(size).grid.shape, steps=46)
    assert cost.decoder_flops / 1e12 == pytest.approx(15.14, abs=0.01)
    assert cost.noise_flops / 1e12 == pytest.approx(1.452, abs=0.001)
    assert cost.decoder_kept / 1e9 == pytest.approx(8.33, abs=0.01)
    assert 600 * cost.flops / 1e15 == pytest.approx(98.9, rel=0.01)
    assert cost_of(size, facts_of(size).grid.shape, 0).bytes_kept(4) / 1e9 == pytest.approx(33.3, abs=0.1)


def test_the_papers_window_lies_where_its_authors_save_it_and_its_codes_have_their_size() -> None:
    size = paper()
    assert facts_of(size).grid.codes == ("L", "A", "S")
    ends = facts_of(size).grid.world(np.array([[0, 0, 0], [159, 223, 159]]))
    np.testing.assert_allclose(ends, [[80.48, -125.48, -60.55], [-78.52, 97.52, 98.45]])
    assert latent.code_shape(size, facts_of(size).grid.shape) == (3, 20, 28, 20)


@pytest.mark.parametrize("name", ["small", "tiny"])
def test_own_sizes_stay_below_four_million_parameters_and_hold_a_brain(name: str) -> None:
    size = SIZES[name]()
    made = [build(preset.network, preset.config) for preset in size.values()]
    assert sum(each.numel() for network in made for each in network.parameters()) < 4e6
    corners = facts_of(size).grid.corners()
    assert (corners.min(0) <= [-72, -108, -70]).all()
    assert (corners.max(0) >= [72, 74, 83]).all()


def test_a_code_is_decoded_onto_the_window_and_encoded_again(prior: Prior) -> None:
    code = drawn(2, *prior.shape)
    image = prior.decode(code)
    assert image.shape == (2, 1, *prior.window.shape)
    assert prior.encode(image).shape == code.shape
    assert prior.epsilon(code, 991, torch.full((2, 2), 0.5)).shape == code.shape
    assert prior.mean_image().shape == prior.window.shape
    assert prior.bytes_kept(2, 4) == cost_of(mock_size(), prior.window.shape, 2).bytes_kept(4)
    assert prior.schedule.alpha_sigma(0)[0] ** 2 == pytest.approx(0.9985)
    assert prior.schedule.alpha_sigma(991)[0] ** 2 == pytest.approx(1.143e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("network", "config"),
    [("ShuffleAutoencoder", {"latent": 3, "half": 4, "quarter": 4}), ("AutoencoderKL", autoencoder_kl(3, (8, 8), 4))],
)
def test_blocks_made_anew_give_the_same_image_and_gradients(network: str, config: dict[str, object]) -> None:
    autoencoder, code = build(network, config), drawn(1, 3, 4, 4, 4).requires_grad_()
    images = [latent.decode(autoencoder, code, recompute=again) for again in (False, True)]
    assert torch.equal(*images)
    assert torch.equal(images[0], autoencoder.decode(code))
    assert torch.equal(*(torch.autograd.grad(image.square().sum(), code)[0] for image in images))


def test_codes_of_a_known_spread_have_unit_variance() -> None:
    network = build("ShuffleAutoencoder", {"latent": 2, "half": 4, "quarter": 4})
    images = torch.rand((4, 1, 16, 16, 16), generator=torch.Generator().manual_seed(0))
    raw = network.encode(images)[0].detach()
    for _ in range(500):
        network.observe(raw)
    code = latent.encode(network, images)
    torch.testing.assert_close(code.mean([0, 2, 3, 4]), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(code.std([0, 2, 3, 4]), torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(latent.decode(network, code), network.decode(raw), atol=1e-5, rtol=0)


def test_training_begins_at_an_orthonormal_transform_of_blocks() -> None:
    rows = networks.cosines(64).reshape(64, 64)
    torch.testing.assert_close(rows @ rows.T, torch.eye(64))
    torch.testing.assert_close(rows[0], torch.full((64,), 1 / 8))
    torch.manual_seed(0)  # what the network adds at first is small, but not below the bound for one draw of it in ten
    network = build("ShuffleAutoencoder", {"latent": 8, "half": 4, "quarter": 4})
    x, y, z = torch.meshgrid(*(torch.linspace(0, 1, 16) for _ in range(3)), indexing="ij")
    smooth = (0.5 + 0.4 * torch.sin(3 * x + y) * torch.cos(2 * z))[None, None]
    mean, spread = network.encode(smooth)
    assert (network.decode(mean) - smooth).square().mean().sqrt() < 0.03
    assert spread.max() < 0.1


def test_a_crop_is_coded_like_the_whole() -> None:
    network = build("ShuffleAutoencoder", {"latent": 2, "half": 4, "quarter": 4, "blocks": 1})
    image = torch.rand((1, 1, 64, 8, 8), generator=torch.Generator().manual_seed(0))
    whole, part = latent.encode(network, image), latent.encode(network, image[:, :, :48])
    torch.testing.assert_close(whole[:, :, :6], part[:, :, :6], atol=1e-5, rtol=0)


def test_conditions_go_both_beside_the_codes_and_into_the_attention(prior: Prior) -> None:
    network = Mock()
    latent.epsilon(network, torch.zeros(1, 2, 3, 3, 3), torch.tensor([7]), torch.tensor([[0.25, 0.75]]))
    (shown, times), context = network.call_args.args, network.call_args.kwargs["context"]
    assert shown.shape == (1, 4, 3, 3, 3)
    assert (shown[0, 2] == 0.25).all()
    assert (shown[0, 3] == 0.75).all()
    assert times.tolist() == [7]
    assert context.tolist() == [[[0.25, 0.75]]]
    code = torch.ones(1, *prior.shape)
    assert not torch.equal(prior.epsilon(code, 1, torch.zeros(1, 2)), prior.epsilon(code, 1, torch.ones(1, 2)))


@pytest.mark.parametrize(
    ("covariates", "values", "free"),
    [
        ({}, [0.5, 0.5], [1, 1]),
        ({"sex": "F", "age": 39.0, "group": "x"}, [0, 0.5], [0, 0]),
        ({"sex": "male", "age": "60"}, [1, 1], [0, 0]),
        ({"sex": "n/a", "age": float("nan")}, [0.5, 0.5], [1, 1]),
    ],
)
def test_what_is_known_of_a_person_is_fixed(
    prior: Prior, covariates: dict[str, float | str], values: Sequence[float], free: Sequence[float]
) -> None:
    known, searched = prior.known(covariates)
    np.testing.assert_allclose(known, [values])
    np.testing.assert_array_equal(searched, [free])


def test_a_person_beyond_the_prior_is_refused(prior: Prior) -> None:
    with pytest.raises(RestorationError, match=r"outside-prior: expected a person of age 18 to 60.*, but got 75"):
        prior.known({"age": 75})


def test_the_mean_code_is_made_once_and_goes_on(prior: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    how = codes.Sampling(prior.epsilon, prior.schedule, prior.shape, 2, "cpu")
    monkeypatch.setattr(codes, "BATCH", 1)
    monkeypatch.setattr(codes, "times_of", lambda: times_of(4))
    whole, spread = codes.statistics(how, 2, f"{prior.folder}/whole.safetensors")
    each = how.draw(range(2)).numpy()
    np.testing.assert_allclose(whole[0], each.mean(0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(spread[0], each.std(0), rtol=1e-4, atol=1e-3)
    codes.statistics(how, 1, f"{prior.folder}/part.safetensors")  # what a call that was cut off after a batch leaves
    asked: list[range] = []
    draw = codes.Sampling.draw
    monkeypatch.setattr(codes.Sampling, "draw", lambda self, numbers: asked.append(numbers) or draw(self, numbers))
    np.testing.assert_array_equal(codes.statistics(how, 2, f"{prior.folder}/part.safetensors")[0], whole)
    assert asked == [range(1, 2)]
    Path(prior.folder, "torn.safetensors").write_bytes(Path(prior.folder, "whole.safetensors").read_bytes()[:-9])
    np.testing.assert_array_equal(codes.statistics(how, 2, f"{prior.folder}/torn.safetensors")[0], whole)  # made anew


def test_the_mean_code_is_known_by_the_models_digest(prior: Prior) -> None:
    Path(codes.place(prior.folder, prior.bundle.digest, 2)).unlink(missing_ok=True)
    codes.statistics(
        Mock(draw=lambda numbers: torch.full((len(numbers), *prior.shape), 3.0), shape=prior.shape),
        2,
        codes.place(prior.folder, prior.bundle.digest, 2),
    )
    assert (Prior.load(prior.folder).mean_code == 3).all()


def test_a_model_that_is_no_prior_is_refused(tmp_path: Path) -> None:
    from core.models.bundle import save_model

    save_model(str(tmp_path), "UNet", {}, {}, "# Another\n")
    with pytest.raises(WeightsError, match=r"a prior: autoencoder and denoiser, but got a model of network.*Train one"):
        Prior.load(str(tmp_path))
