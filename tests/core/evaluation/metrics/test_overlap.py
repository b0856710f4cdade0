"""Overlap of labels: 1 for the same, 0 for nothing in common, known fractions between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import IsovoxError
from core.evaluation.metrics.overlap import ious, mean_iou

LABELS = arrays(np.int16, (4, 5, 3), elements=st.integers(0, 5))


@given(LABELS, LABELS)
def test_each_label_agrees_with_sets_of_voxels_and_both_ways_round(a, b):
    found = ious(a, b, background={0})
    for label in set(range(1, 6)) & (set(a.ravel().tolist()) | set(b.ravel().tolist())):
        one, two = ({tuple(at) for at in np.argwhere(image == label)} for image in (a, b))
        assert found.pop(label) == pytest.approx(len(one & two) / len(one | two))
    assert not found
    assert ious(b, a, background={0}) == pytest.approx(ious(a, b, background={0}))


@given(LABELS)
def test_an_image_overlaps_itself_wholly(a):
    if a.any():
        assert mean_iou(a, a, background={0}) == 1.0


def test_a_known_fraction_and_what_counts_as_background():
    a, b = np.zeros((2, 2, 2), np.int32), np.zeros((2, 2, 2), np.int32)
    a[0], b[:, 0] = 7, 7  # 4 voxels each, 2 shared: 2 of 6
    b[1, 1, 1] = 9  # a label that a has not: 0
    assert ious(a, b, background={0}) == pytest.approx({7: 1 / 3, 9: 0.0})
    assert mean_iou(a, b, background={0}) == pytest.approx(1 / 6)
    assert mean_iou(a, b, background={0, 9}) == pytest.approx(1 / 3)


def test_labels_far_apart_take_no_table_between_them():
    a = np.array([[[1, 2_000_000_000]]], np.int64)
    assert mean_iou(a, a, background=()) == 1.0


def test_shapes_that_differ_and_images_without_labels_are_refused():
    with pytest.raises(IsovoxError, match=r"metric-shape: .*\(2, 2, 2\) and \(2, 2, 3\)"):
        ious(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), background={0})
    with pytest.raises(IsovoxError, match="metric-labels"):
        mean_iou(np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), background={0})
