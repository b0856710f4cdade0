"""The score network as counted, its scalings, its training and its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.diffusion.schedules import Geometric
from core.errors import WeightsError
from core.geometry.grid import Box, Grid
from core.methods.srmri import mock, presets
from core.methods.srmri.examples import PLANE, Reduced, Slices
from core.methods.srmri.objectives import ScoreMatching
from core.methods.srmri.recipe import SCORE_MODEL, measured
from core.methods.srmri.score_model import ScoreModel
from core.methods.srmri.score_network import NCSNpp, denoised, doubled, halved
from core.models.bundle import read_bundle, save_model
from core.networks import build
from core.settings.train import Training
from core.training.batch import Batch
from core.training.data.subjects import Subject, occupancy
from core.training.recipe import Context, Draw, Trained
from tasks.train import pretrained
from tests.phantoms import brain

UPPER = 2.0


def weights(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("config", "count"), [((64, 4), 15_381_377), ((32, 2), 2_483_201), ((16, 1), 451_985)])
def test_it_has_as_many_weights_as_the_authors_network(config: tuple[int, int], count: int) -> None:
    with torch.device("meta"):
        assert weights(NCSNpp(config[0], blocks=config[1])) == count


def test_three_slices_and_a_plane_cost_under_two_thousand_weights_more() -> None:
    config = presets.tiny().config
    with torch.device("meta"):
        assert 0 < weights(NCSNpp(**config)) - 451_985 < 2000


def test_filters_keep_constants_and_are_each_others_transpose() -> None:
    x = torch.rand(1, 2, 8, 12, dtype=torch.float64)
    y = torch.rand(1, 2, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(halved(torch.ones_like(x))[..., 1:-1, 1:-1], torch.ones(1, 2, 2, 4, dtype=torch.float64))
    torch.testing.assert_close(doubled(torch.ones_like(y))[..., 1:-1, 1:-1], torch.ones(1, 2, 6, 10, dtype=torch.float64))
    assert float((halved(x) * y).sum() * 4) == pytest.approx(float((x * doubled(y)).sum()))


def network(**config: object) -> NCSNpp:
    torch.manual_seed(0)
    made = NCSNpp(8, (1, 1), 1, **config).eval()  # type: ignore[arg-type]
    mock._wake(made)
    return made


def test_what_is_expected_tends_to_the_slice_where_there_is_no_noise() -> None:
    x, sigma = torch.rand(2, 1, 8, 8), torch.full((2,), 1e-4)
    for preconditioned in (False, True):
        torch.testing.assert_close(denoised(network(preconditioned=preconditioned), x, sigma), x, atol=2e-3, rtol=0)


def test_scalings_of_edm_give_inputs_and_errors_of_unit_variance() -> None:
    made, s, sigma = network(preconditioned=True, sigma_data=0.5), 0.5, 2.0
    x = torch.rand(1, 1, 8, 8)
    both = sigma**2 + s**2
    output = made(x / both**0.5, torch.tensor([sigma]).log() / 4)
    expected = x * (s**2 / both) + output * (sigma * s / both**0.5)
    torch.testing.assert_close(denoised(made, x, torch.tensor([sigma])), expected)


def test_the_plane_is_seen_and_one_slice_alone_is_as_in_a_batch() -> None:
    made = network(planes=True, neighbours=1, preconditioned=True)
    x = torch.rand(3, 3, 8, 8)
    sigma = torch.full((3,), 0.3)
    a, b = (denoised(made, x, sigma, torch.full((3,), n)) for n in (0, 1))
    assert not torch.equal(a, b)
    torch.testing.assert_close(denoised(made, x[:1], sigma[:1], torch.zeros(1, dtype=torch.long)), a[:1])


def subject() -> Subject:
    image, _ = brain((24, 28, 24))
    image = np.ascontiguousarray(image)
    grid = Grid(image.shape, np.eye(4))
    return Subject(
        "a", "a", grid, UPPER, occupancy(lambda box: image[box.slices], grid), None, lambda box: image[box.slices].copy()
    )


def test_examples_are_slices_of_the_image_the_same_each_time() -> None:
    draw = Draw("train", [subject()], None, 16, 3, 20)  # type: ignore[arg-type]
    slices = Slices(draw, 1)
    image = subject().read(Box.whole((24, 28, 24))) / UPPER
    axes = set()
    for n in range(20):
        example = slices[n]
        assert torch.equal(example.truth, slices[n].truth)
        assert example.truth.shape == (3, 16, 16)
        axes.add(int(example.conditions[PLANE]))
        assert float(example.truth.max()) <= image.max() / 0.9 + 1e-6
    assert axes == {0, 1, 2}


def test_reduced_slices_are_of_their_truth() -> None:
    pairs = Reduced(Draw("train", [subject()], None, 16, 3, 4), 2)  # type: ignore[arg-type]
    for n in range(4):
        example = pairs[n]
        assert (example.inputs.shape, example.truth.shape) == ((1, 8, 8), (1, 16, 16))
        assert float((example.inputs.mean() - example.truth.mean()).abs()) < 0.03


def batch() -> Batch:
    slices = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(slices, slices, {PLANE: torch.tensor([0, 1, 2, 1])})


def test_levels_lie_within_the_schedule_and_a_few_steps_lower_the_loss() -> None:
    objective = ScoreMatching(network(neighbours=1, planes=True, preconditioned=True), Geometric(0.01, 46.0))
    sigmas = objective.sigmas(4000, torch.Generator().manual_seed(0))
    assert float(sigmas.min()) >= 0.00999
    assert float(sigmas.max()) <= 46.001
    assert 0.14 < float((sigmas > 1).float().mean()) < 0.17  # a quarter even over ln sigma, 45 % of it above 1; the bell's tail
    optimizer = torch.optim.Adam(objective.network.parameters(), 1e-3)

    def loss() -> torch.Tensor:
        return objective.loss("network", batch(), torch.Generator().manual_seed(1), 0)

    before = float(loss().detach())
    for _ in range(8):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < before


def test_the_loss_of_the_raw_network_is_that_of_the_score() -> None:
    objective = ScoreMatching(network(), Geometric(0.01, 46.0))
    slices = torch.rand(2, 1, 8, 8)
    draw = torch.Generator().manual_seed(5)
    loss = objective.loss("network", Batch(slices, slices), draw, 0)
    draw = torch.Generator().manual_seed(5)
    sigma, noise = objective.sigmas(2, draw), torch.randn(slices.shape, generator=draw)
    noisy = slices + sigma.reshape(-1, 1, 1, 1) * noise
    score = objective.network(2 * noisy - 1, sigma.log()) / sigma.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(loss, (sigma.reshape(-1, 1, 1, 1) * score + noise).square().mean(), rtol=1e-4, atol=1e-5)


def test_what_the_recipe_writes_is_a_score_model(tmp_path: Path) -> None:
    sizes = SCORE_MODEL.networks("tiny")
    state = build(sizes["score"].network, sizes["score"].config).state_dict()
    SCORE_MODEL.write(str(tmp_path), Trained(sizes, {"score": state}, "for tests"))
    bundle = read_bundle(str(tmp_path))
    assert (bundle.prediction, bundle.schedule) == ("x0", {"kind": "geometric", "first": 0.01, "last": 46.0})
    model = ScoreModel.load(str(tmp_path))
    beyond = np.zeros((9, 10, 2 * model.network.neighbours), np.float32)
    assert model.volume(np.zeros((9, 10, 2), np.float32), 0.1, 2, beyond).shape == (9, 10, 2)
    stage = SCORE_MODEL.stages[0]
    assert stage.measures == measured
    begun, own = (stage.begin(Context(sizes["score"], Training(), measured=each)) for each in ({}, {"largest_distance": 20.0}))
    assert isinstance(begun, ScoreMatching)
    assert isinstance(own, ScoreMatching)
    assert (begun.schedule.last, own.schedule.last) == (46.0, 20.0)
    SCORE_MODEL.write(str(tmp_path / "own"), Trained(sizes, {"score": state}, "for tests", {"score": {"largest_distance": 20.0}}))
    assert ScoreModel.load(str(tmp_path / "own")).schedule.alpha_sigma(1.0)[1] == pytest.approx(20)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('"prediction": "x0"', '"prediction": "eps"', "tells x0 under .*, but got eps under geometric noise"),
        ('"kind": "geometric"', '"kind": "linear"', "but got x0 under linear noise"),
    ],
)
def test_a_model_that_tells_something_else_is_refused(tmp_path: Path, was: str, now: str, said: str) -> None:
    sizes = SCORE_MODEL.networks("tiny")
    state = build(sizes["score"].network, sizes["score"].config).state_dict()
    SCORE_MODEL.write(str(tmp_path), Trained(sizes, {"score": state}, "for tests"))
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace(was, now))
    with pytest.raises(WeightsError, match=f"model-unfit: expected a score model that {said}|model-unfit: .*{said}"):
        ScoreModel.load(str(tmp_path))


def test_noise_is_at_most_as_strong_as_the_trainings_slices_are_far_apart() -> None:
    """Between the middle ones of three, over all pairs, in the pixels' units."""
    slices = torch.zeros(3, 3, 4, 4)
    slices[1, 1, 0, 0], slices[2, 1, 1, 1], slices[:, 0] = 3.0, -4.0, torch.arange(3.0)[:, None, None] * 100
    assert measured([Batch(each, each) for each in slices])["largest_distance"] == pytest.approx(5)  # type: ignore[arg-type]
    assert measured([Batch(slices[0], slices[0])] * 2)["largest_distance"] == 1.0  # type: ignore[arg-type]


def test_scalings_are_for_values_as_large_as_the_trainings(tmp_path: Path) -> None:
    """And are written with the network; models that measured none keep 0.5, and the raw network has none."""
    slices = torch.stack([torch.full((3, 4, 4), 0.3), torch.full((3, 4, 4), 0.6)])
    figures = measured([Batch(each, each) for each in slices])  # type: ignore[arg-type]
    assert figures["sigma_data"] == pytest.approx(((0.3**2 + 0.6**2) / 2) ** 0.5)
    stage, size = SCORE_MODEL.stages[0], SCORE_MODEL.preset("tiny")
    begun = [stage.begin(Context(size, Training(), measured=each)) for each in ({}, {"largest_distance": 9.0}, figures)]
    assert [each.network.sigma_data for each in begun] == [0.5, 0.5, pytest.approx(figures["sigma_data"])]
    assert stage.fitted(size, figures).config == size.config | {"sigma_data": figures["sigma_data"]}
    assert stage.fitted(presets.paper(), figures) == presets.paper()
    folder, role = str(tmp_path), {"score": stage.fitted(size, figures)}
    SCORE_MODEL.write(folder, Trained(role, {"score": begun[2].network.state_dict()}, "for tests", {"score": figures}))
    assert ScoreModel.load(folder).network.sigma_data == pytest.approx(figures["sigma_data"])
    pretrained.check_fit(folder, SCORE_MODEL.networks("tiny"), SCORE_MODEL.stages)  # weights go on with their own
    assert pretrained.said(folder, stage) == {"sigma_data": figures["sigma_data"]}


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_model(str(tmp_path), "NCSNpp", {"width": 8, "multiples": [1], "blocks": 1}, network().state_dict(), "for tests")
    with pytest.raises(WeightsError, match=r"model-unfit: expected a score model, but got the parts network.*\. Train one"):
        ScoreModel.load(str(tmp_path))
