"""The figures of table 1, held against scikit-image as the authors call it."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from core.errors import IsovoxError
from core.methods.inverse_sr.protocol import TABLE, WINDOW, scores, window_about
from tests.phantoms import brain


def test_the_figures_are_those_of_the_authors_code():
    truth, _ = brain((40, 44, 42))
    restored = truth + np.random.default_rng(0).normal(0, 6, truth.shape).astype(np.float32)
    a, b = ((one - truth.min()) / (truth.max() - truth.min()) for one in (restored, truth))
    span = max(a.max(), b.max()) - min(a.min(), b.min())
    wanted = {
        "psnr_window": peak_signal_noise_ratio(b, a, data_range=1.0),
        "psnr_authors": peak_signal_noise_ratio(b, a, data_range=span),
        "ssim_window": structural_similarity(b, a, gaussian_weights=True, use_sample_covariance=False, data_range=1.0),
    }
    assert scores(restored, truth, None) == pytest.approx(wanted, abs=1e-4)
    assert span > 1


def test_the_window_lies_about_the_head():
    truth = np.zeros((200, 300, 170), np.float32)
    truth[60:150, 150:290, 5:165] = 1
    there = window_about(truth)
    assert tuple(one.stop - one.start for one in there) == WINDOW
    assert (there[0].start, there[1].start, there[2].start) == (25, 76, 5)
    assert truth[there].sum() == truth.sum()
    assert window_about(truth[:40, :50, :60]) == (slice(0, 40), slice(0, 50), slice(0, 60))


def test_what_lies_outside_the_window_does_not_count():
    truth = np.zeros((200, 240, 170), np.float32)
    truth[60:150, 50:190, 5:165] = np.random.default_rng(0).random((90, 140, 160), np.float32) + 1
    spoiled = truth.copy()
    spoiled[0], spoiled[:, 0] = 9, 9
    assert scores(spoiled, truth, None)["psnr_window"] == np.inf


def test_a_constant_truth_is_refused():
    flat = np.ones((12, 12, 12), np.float32)
    with pytest.raises(IsovoxError, match=r"metric-range: expected a truth that varies, but got 1 everywhere\. Check the truth"):
        scores(flat, flat, None)


def test_slices_are_dropped_and_averaged():
    operators = {name: how["operator"] for name, how in TABLE.degradations.items()}
    assert operators == {"dropped": "slice-mask", "averaged": "slice-profile"}
