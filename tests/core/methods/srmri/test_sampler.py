"""One level of the samplers against formulas: linear recursions of mean and covariance, gradients, projections, fusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.diffusion.samplers import Langevin
from core.methods.srmri.sampling.planes import PlaneOperator, fused, plane_axes
from core.methods.srmri.sampling.sampler import Noise, Rules, Scene, gradient_of, moved, settled
from tests.benchmarks.srmri_tables import ceiling

Runs = NDArray[np.float64]
SIDE = 2
N = SIDE * SIDE
SIGMAS = [3.0, 1.5, 0.7, 0.3, 0.1, 0.0]
SNR = 0.1
torch.manual_seed(0)
ROOT_ = torch.randn(N, N, dtype=torch.float64)
COVARIANCE = ROOT_ @ ROOT_.T / N + 0.1 * torch.eye(N, dtype=torch.float64)
MEAN = torch.rand(N, dtype=torch.float64)
EYE = torch.eye(N, dtype=torch.float64)
ROWS = torch.tensor([[0.7, 0.3]], dtype=torch.float64)
H = torch.kron(ROWS, torch.eye(SIDE, dtype=torch.float64))
SEEN = torch.tensor([0.8, 0.2], dtype=torch.float64)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """What is expected behind noise where slices are normal."""
    gain = COVARIANCE @ torch.linalg.inv(COVARIANCE + sigma**2 * EYE)
    return (MEAN + (x.reshape(N) - MEAN) @ gain.T).reshape(x.shape)


def scene(raised: Tensor | None = None) -> Scene:
    operator = PlaneOperator(ROWS, torch.eye(SIDE, dtype=torch.float64))
    return Scene(gaussian, operator, SEEN.reshape(1, 1, 1, SIDE), raised)


def level(scene: Scene, how: Rules, x: Tensor, number: int, sigmas: tuple[float, float], noise: Noise) -> tuple[Tensor, float]:
    """All that becomes of a slice at a level that has no neighbours."""
    x, apart = moved(scene, how, x, number, sigmas, noise)
    return settled(scene, how, x, sigmas[1], noise), apart


def walked(rules: Rules, noise: Callable[[int, int], Tensor], start: Tensor) -> Tensor:
    x = start.reshape(1, 1, SIDE, SIDE)
    for n in range(len(SIGMAS) - 1):
        x, _ = level(scene(), rules, x, n, (SIGMAS[n], SIGMAS[n + 1]), lambda use, n=n: noise(n, use).reshape(1, 1, SIDE, SIDE))
    return x.reshape(N)


def silent(_: int, __: int) -> Tensor:
    return torch.zeros(N, dtype=torch.float64)


def rules(pull: str, **more: object) -> Rules:
    return Rules(pull, rho=0.05, squared=True, corrector=Langevin(SNR, measured=False), **more)  # type: ignore[arg-type]


def measured_moments(how: Rules) -> tuple[Tensor, Tensor]:
    """Mean and covariance of an affine sampler: where it goes without noise, and where unit noises of every use move that."""
    mean = walked(how, silent, torch.zeros(N, dtype=torch.float64))
    columns = [walked(how, silent, SIGMAS[0] * EYE[n]) - mean for n in range(N)]
    for at in range(len(SIGMAS) - 1):
        for used in range(4):
            for n in range(N):

                def unit(number: int, use: int, at: int = at, used: int = used, n: int = n) -> Tensor:
                    return EYE[n] if (number, use) == (at, used) else silent(number, use)

                columns.append(walked(how, unit, torch.zeros(N, dtype=torch.float64)) - mean)
    moves = torch.stack(columns, 1)
    return mean, moves @ moves.T


def predicted_moments(pull: str, *, predictor_first: bool, period: int = 1) -> tuple[Tensor, Tensor]:
    """The same by matrices: each move is x <- M x + b, and noise."""
    m, c = torch.zeros(N, dtype=torch.float64), SIGMAS[0] ** 2 * EYE
    pseudo = torch.linalg.pinv(H)
    away = EYE - pseudo @ H

    def gain(sigma: float) -> Tensor:
        return COVARIANCE @ torch.linalg.inv(COVARIANCE + sigma**2 * EYE)

    def gradient(sigma: float) -> tuple[Tensor, Tensor]:
        """Of |y - H D|^2: G x + g."""
        seen = H @ gain(sigma)
        return 2 * seen.T @ seen, -2 * seen.T @ (SEEN - H @ (MEAN - gain(sigma) @ MEAN))

    def move(m: Tensor, c: Tensor, number: int, sigma: float, step: float, spread: float, then: float, pulls: bool):  # type: ignore[no-untyped-def]
        pulled = torch.linalg.inv(COVARIANCE + sigma**2 * EYE)
        matrix, shift = EYE - step * pulled, step * pulled @ MEAN
        graded = pull in {"dps", "mcg"} or (pull == "srmri" and number % period == 0)
        if pulls and graded:
            slope, offset = gradient(sigma)
            matrix, shift = matrix - 0.05 * slope, shift - 0.05 * offset
        m, c = matrix @ m + shift, matrix @ c @ matrix.T + spread**2 * EYE
        if pulls and (pull == "mcg" or not graded):
            m, c = away @ m + pseudo @ SEEN, away @ c @ away.T + then**2 * pseudo @ H @ H.T @ pseudo.T
        return m, c

    for n in range(len(SIGMAS) - 1):
        now, then = SIGMAS[n], SIGMAS[n + 1]
        langevin = 2 * (SNR * now) ** 2, 2 * SNR * now
        if not predictor_first:
            m, c = move(m, c, n, now, *langevin, now, True)
        step = now**2 - then**2
        m, c = move(m, c, n, now, step, step**0.5 if then > 0 else 0.0, then, True)
        if predictor_first and then > 0:
            m, c = move(m, c, n, then, 2 * (SNR * then) ** 2, 2 * SNR * then, then, False)
    return m, c


@pytest.mark.parametrize("predictor_first", [False, True])
@pytest.mark.parametrize(("pull", "period"), [("score-sde", 1), ("dps", 1), ("mcg", 1), ("srmri", 2)])
def test_mean_and_covariance_follow_the_linear_recursion(pull: str, period: int, *, predictor_first: bool) -> None:
    how = rules(pull, predictor_first=predictor_first, period=period)
    mean, covariance = measured_moments(how)
    wanted_mean, wanted = predicted_moments(pull, predictor_first=predictor_first, period=period)
    torch.testing.assert_close(mean, wanted_mean, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(covariance, wanted, atol=1e-10, rtol=1e-10)


NOISE = 0.3  # of the scan, where a posterior is asked for
RUNS = 4000


def drawn(denoise: Callable[[Tensor, float], Tensor], how: Rules) -> tuple[Tensor, Tensor]:
    """Mean and covariance of so many runs side by side over 400 levels; norms are not asked for, so slices do not mix."""
    levels = [*np.geomspace(30, 0.003, 400).tolist(), 0.0]
    draw = torch.Generator().manual_seed(1)

    def noise(_: int) -> Tensor:
        return torch.randn(RUNS, 1, SIDE, SIDE, generator=draw, dtype=torch.float64)

    there, x = replace(scene(), denoise=denoise), levels[0] * noise(0)
    for n in range(len(levels) - 1):
        x, _ = level(there, how, x, n, (levels[n], levels[n + 1]), noise)
    runs = x.reshape(RUNS, N)
    return runs.mean(0), runs.T.cov()


def test_with_the_exact_likelihood_the_samples_are_the_posterior_and_dps_is_biased() -> None:
    """The likelihood of y given x_t has the covariance H C_0t H' + s^2; DPS takes the expected slice for the slice."""
    seen = H @ COVARIANCE @ H.T + NOISE**2 * torch.eye(len(H), dtype=torch.float64)
    kalman = COVARIANCE @ H.T @ torch.linalg.inv(seen)
    mean, covariance = MEAN + kalman @ (SEEN - H @ MEAN), COVARIANCE - kalman @ H @ COVARIANCE

    def exactly(x: Tensor, sigma: float) -> Tensor:
        within = COVARIANCE @ torch.linalg.inv(COVARIANCE + sigma**2 * EYE)
        expected = MEAN + (x.reshape(-1, N) - MEAN) @ within.T
        left = COVARIANCE - within @ COVARIANCE  # C_0t
        pull = left @ H.T @ torch.linalg.inv(H @ left @ H.T + NOISE**2 * torch.eye(len(H), dtype=torch.float64))
        return (expected + (SEEN - expected @ H.T) @ pull.T).reshape(x.shape)

    def blindly(x: Tensor, sigma: float) -> Tensor:
        within = COVARIANCE @ torch.linalg.inv(COVARIANCE + sigma**2 * EYE)
        return (MEAN + (x.reshape(-1, N) - MEAN) @ within.T).reshape(x.shape)

    how = Rules("dps", rho=0.0, squared=True, corrector=Langevin(SNR, measured=False), predictor_first=True)
    made, spread = drawn(exactly, how)
    error = (covariance.diagonal() / RUNS).sqrt()  # of a mean; that of a variance is sqrt(2) times it, relative
    assert ((made - mean).abs() < 4 * error).all()
    assert ((spread.diagonal() / covariance.diagonal() - 1).abs() < 4 * (2 / RUNS) ** 0.5 + 0.03).all()  # 0.03: of 400 levels
    dps, narrow = drawn(blindly, replace(how, rho=0.02))
    along = torch.linalg.norm(H @ dps - SEEN) / torch.linalg.norm(H @ mean - SEEN)
    assert float(along) < 0.5  # nearer the noisy scan than the posterior's mean is
    assert float((H @ narrow @ H.T).trace() / (H @ covariance @ H.T).trace()) < 0.5  # and surer of it


TRIED = 250  # runs of a sampler with norms, each on its own
KNOWN = 20_000  # of the formulas, side by side


def by_formulas(pull: str, rho: float, *, predictor_first: bool, period: int) -> Runs:
    """The same walks of many slices (runs, pixels) side by side, with norms, by formulas that are written out once more."""
    draw, inverse, project = np.random.default_rng(5), np.linalg.pinv(H.numpy()), H.numpy()
    prior, middle, y, pixels = COVARIANCE.numpy(), MEAN.numpy(), SEEN.numpy(), len(SEEN)

    def normal() -> Runs:
        return draw.standard_normal((KNOWN, N))

    def looked(x: Runs, sigma: float, number: int) -> tuple[Runs, Runs | None]:
        """Score, and what a gradient takes away."""
        gain = prior @ np.linalg.inv(prior + sigma**2 * np.eye(N))
        expected = middle + (x - middle) @ gain.T
        rest = y - expected @ project.T
        slope = -(rest / np.linalg.norm(rest, axis=1, keepdims=True)) @ project @ gain
        graded = pull in {"dps", "mcg"} or (pull == "srmri" and number % period == 0)
        return (expected - x) / sigma**2, rho * pixels**0.5 * slope if graded else None

    def pulled(x: Runs, taken: Runs | None, sigma: float) -> Runs:
        x = x if taken is None else x - taken
        if taken is not None and pull != "mcg":
            return x
        return x + (y + sigma * normal() @ project.T - x @ project.T) @ inverse.T

    def corrected(x: Runs, score: Runs) -> Runs:
        z = normal()
        step = 2 * (SNR * np.linalg.norm(z, axis=1) / np.linalg.norm(score, axis=1)) ** 2
        return x + step[:, None] * score + np.sqrt(2 * step)[:, None] * z

    x = SIGMAS[0] * normal()
    for number, (now, then) in enumerate(pairwise(SIGMAS)):
        if not predictor_first:
            score, taken = looked(x, now, number)
            x = pulled(corrected(x, score), taken, now)
        score, taken = looked(x, now, number)
        x = x + (now**2 - then**2) * score + (then > 0) * np.sqrt(now**2 - then**2) * normal()
        x = pulled(x, taken, then)
        if predictor_first and then > 0:
            x = corrected(x, looked(x, then, number)[0])
    return x


@pytest.mark.parametrize(
    ("pull", "predictor_first"), [("score-sde", True), ("dps", False), ("mcg", True), ("srmri", False), ("srmri", True)]
)
def test_with_norms_mean_and_covariance_are_those_of_the_formulas_to_four_standard_errors(
    pull: str, *, predictor_first: bool
) -> None:
    """Runs are cut at the formulas' 1st and 99th percentiles, for norms give long tails; errors by the formulas' spread."""
    how = Rules(pull, 2, 0.3, predictor_first=predictor_first, corrector=Langevin(SNR))  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(2)

    def noise(_: int, __: int) -> Tensor:
        return torch.randn(N, generator=draw, dtype=torch.float64)

    ours = np.array([walked(how, noise, SIGMAS[0] * noise(0, 0)).numpy() for _ in range(TRIED)])
    theirs = by_formulas(pull, 0.3, predictor_first=predictor_first, period=2)
    ends, share = np.percentile(theirs, (1, 99), axis=0), (1 / TRIED + 1 / KNOWN) ** 0.5
    middle = theirs.clip(*ends).mean(0)
    away, known = (runs.clip(*ends) - middle for runs in (ours, theirs))
    assert (abs(away.mean(0)) < 4 * share * known.std(0)).all()
    spread = known[:, :, None] * known[:, None]
    assert (abs((away[:, :, None] * away[:, None]).mean(0) - spread.mean(0)) < 4 * share * spread.std(0)).all()


def test_with_every_level_a_gradient_srmri_is_dps_to_the_last_bit() -> None:
    def noise(number: int, use: int) -> Tensor:
        return torch.randn(N, generator=torch.Generator().manual_seed(10 * number + use), dtype=torch.float64)

    start = 3 * noise(99, 0)
    for squared in (False, True):
        a, b = (walked(Rules(pull, 1, 0.1, squared), noise, start) for pull in ("srmri", "dps"))
        assert torch.equal(a, b)
        assert not torch.equal(a, walked(Rules("srmri", 2, 0.1, squared), noise, start))


def cost(how: Rules, levels: int, ratio: float) -> float:
    """Of that many levels, where an evaluation without gradient costs 1 and one with it ``ratio``."""
    counts = {False: 0, True: 0}

    def counted(x: Tensor, sigma: float) -> Tensor:
        counts[x.requires_grad] += 1
        return gaussian(x, sigma)

    x, nothing = (torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64) for _ in range(2))
    for number in range(levels):
        x, _ = level(replace(scene(), denoise=counted), how, x, number, (0.5, 0.4), lambda _: nothing)
    return counts[False] + ratio * counts[True]


@pytest.mark.parametrize("predictor_first", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_the_speed_over_dps_has_the_ceiling_that_its_evaluations_give(*, k: int, predictor_first: bool) -> None:
    levels, ratio = 5 * k, 2.5
    dps, ours = (cost(Rules(pull, k, predictor_first=predictor_first), levels, ratio) for pull in ("dps", "srmri"))
    assert dps / ours == pytest.approx(ceiling(k, ratio, predictor_first=predictor_first))


@pytest.mark.parametrize("fusion", [True, False])
def test_without_fusion_the_scan_has_no_say_between_gradients(*, fusion: bool) -> None:
    first, x = scene(), torch.randn(1, 1, SIDE, SIDE, dtype=torch.float64)
    other = replace(first, seen=first.seen + 1)
    how = Rules("srmri", 2, 0.1, fusion=fusion)
    made = [level(each, how, x, 1, (0.7, 0.5), lambda _: torch.zeros_like(x))[0] for each in (first, other)]
    assert torch.equal(*made) is not fusion


@pytest.mark.parametrize("squared", [False, True])
def test_gradients_are_those_of_finite_differences(*, squared: bool) -> None:
    x, sigma, h = torch.randn(1, 1, SIDE, SIDE, dtype=torch.float64), 0.7, 1e-6

    def misfit(x: Tensor) -> float:
        square = float((SEEN - (H @ gaussian(x, sigma).reshape(N))).square().sum())
        return square if squared else square**0.5

    expected, gradient, apart = gradient_of(scene(), x, sigma, squared=squared)
    for n in range(N):
        step = h * EYE[n].reshape(x.shape)
        assert float(gradient.reshape(N)[n]) == pytest.approx((misfit(x + step) - misfit(x - step)) / (2 * h), rel=1e-6)
    assert not expected.requires_grad
    assert (apart**2 if squared else apart) == pytest.approx(misfit(x))


@pytest.mark.parametrize("squared", [False, True])
def test_a_slice_of_which_nothing_was_measured_has_the_gradient_0(*, squared: bool) -> None:
    x, eye = torch.randn(1, 1, SIDE, SIDE, dtype=torch.float64), torch.eye(SIDE, dtype=torch.float64)
    blind = Scene(gaussian, PlaneOperator(eye, eye, torch.zeros_like(eye)), torch.zeros_like(x))
    expected, gradient, apart = gradient_of(blind, x, 0.7, squared=squared)
    assert torch.equal(gradient, torch.zeros_like(x))
    assert (apart, float((expected - gaussian(x, 0.7)).abs().max())) == (0, 0)


def test_authors_projection_leaves_what_the_nearest_pixel_cannot_undo() -> None:
    x = torch.randn(1, 1, SIDE, SIDE, dtype=torch.float64)
    for nearest in (False, True):
        how = rules("score-sde", nearest=nearest)
        made, _ = level(scene(), how, x, 0, (0.5, 0.0), lambda _: torch.zeros_like(x))
        rest = float((SEEN - H @ made.reshape(N)).abs().max())
        assert rest < 1e-12  # weights that sum to 1 along both axes: here both undo it
    wide = PlaneOperator(torch.tensor([[0.5, 0.4, 0.1, 0.0], [0.0, 0.1, 0.4, 0.5]]).double(), torch.eye(2).double())
    y = torch.randn(1, 1, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(wide(wide.inverse(y)), y)
    assert not torch.allclose(wide(torch.nn.functional.interpolate(y, (4, 2), mode="nearest")), y, atol=0.01)


def test_what_is_left_beside_a_mask_on_a_reduced_slice_is_undone() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.tensor([[0.5, 0.4, 0.1, 0.0], [0.0, 0.1, 0.4, 0.5]], dtype=torch.float64)
    kept = torch.tensor([[1, 0, 1], [1, 1, 0]], dtype=torch.float64)
    operator = PlaneOperator(rows, torch.eye(3, dtype=torch.float64), kept)
    y = torch.randn(1, 1, 2, 3, generator=draw, dtype=torch.float64)
    dense = torch.stack([operator(e.reshape(1, 1, 4, 3)).reshape(-1) for e in torch.eye(12, dtype=torch.float64)], 1)
    wanted = torch.linalg.pinv(dense) @ (y * kept).reshape(-1)
    torch.testing.assert_close(operator.inverse(y).reshape(-1), wanted)
    torch.testing.assert_close(operator.adjoint(y).reshape(-1), dense.T @ y.reshape(-1))


@pytest.mark.parametrize("levels", [(2, 2), (1, 1), (0, 3), (2, 0)])
def test_fusion_keeps_exactly_the_band_that_it_says(levels: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    image, other = draw.standard_normal((2, 72, 80))
    made = fused(image, other, levels)

    def split(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        details = []
        for axis, depth in enumerate(levels):
            if depth:
                x, *rest = pywt.wavedec(x, "bior4.4", "periodization", depth, axis)
                details += rest
        return x, details

    np.testing.assert_allclose(split(made)[0], split(other)[0], atol=1e-10)
    rest = made - image
    single = next((n for n, depth in enumerate(levels) if depth and not levels[1 - n]), None)
    if single is not None:
        for each in pywt.wavedec(rest, "bior4.4", "periodization", levels[single], single)[1:]:
            np.testing.assert_allclose(each, 0, atol=1e-10)


def test_fusion_of_odd_sides_keeps_the_shape_and_of_no_level_the_image() -> None:
    draw = np.random.default_rng(0)
    image, other = draw.standard_normal((2, 23, 41))
    assert fused(image, other, (1, 1)).shape == image.shape
    assert fused(image, other, (0, 0)) is image
    np.testing.assert_allclose(fused(image, image, (1, 1)), image, atol=1e-12)


def test_slices_are_laid_so_that_what_is_reduced_lies_within_them() -> None:
    assert plane_axes(()) == (1, 0)
    assert plane_axes((2,)) == (1, 0)
    assert plane_axes((1,)) == (0, 2)
    assert plane_axes((0, 2)) == (1, 0)
    assert plane_axes((0, 1)) == (2, 0)
