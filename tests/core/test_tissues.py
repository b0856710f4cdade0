"""Tissues by a mixture, by labels, by nothing; on phantoms whose answer is known and on a brain that FreeSurfer labelled."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.errors import InputError
from core.io import nifti
from core.tissues import CSF, GM, WM, Tissues, brain_mask, maps_of_labels
from tests.phantoms import MEANS, brain


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("contrast", ["T1w", "T2w", "FLAIR"])
def test_a_phantom_gives_its_classes_back(contrast):
    image, labels = brain(contrast=contrast)
    found = Tissues.fit(image, labels > 0, contrast)
    assert found.means == pytest.approx(MEANS[contrast], rel=0.08, abs=2)
    classes = found.maps(image).argmax(0)
    for tissue, least in ((CSF, 0.97), (GM, 0.97), (WM, 0.97)):
        assert dice((classes == tissue) & (labels > 0), labels == tissue + 1) > least
    assert sum(found.weights) == pytest.approx(1)
    assert (found.gm_mean, found.wm_mean) == (found.means[GM], found.means[WM])


def test_scale_does_not_matter():
    image, _ = brain()
    small, large = (Tissues.fit(image * np.float32(scale)) for scale in (1e-3, 1e3))
    assert np.array(large.means) / small.means == pytest.approx(1e6, rel=1e-3)


def test_a_head_with_scalp_and_noisy_air_needs_no_mask():
    image, labels = brain((80, 80, 80), head=True, noise=3.0)
    found = Tissues.fit(image)
    assert found.gm_mean == pytest.approx(MEANS["T1w"][GM], rel=0.1)
    assert found.wm_mean == pytest.approx(MEANS["T1w"][WM], rel=0.05)
    inside = brain_mask(image)
    assert (labels[inside] > 0).mean() > 0.99
    assert inside.sum() > 0.5 * (labels > 0).sum()


def test_where_the_background_is_zero_the_mask_is_the_rest():
    image, labels = brain()
    assert np.array_equal(brain_mask(image), labels > 0)


def test_white_matter_that_is_all_one_value_keeps_its_place():
    image, labels = brain(noise=12.0)
    image[(image > 100) & (labels == 3)] = 110.0  # as normalised scans have it
    classes = Tissues.fit(image).maps(image).argmax(0)
    assert dice((classes == WM) & (labels > 0), labels == 3) > 0.85


def test_maps_are_a_function_of_the_voxel_alone_and_sum_to_one():
    image, _ = brain()
    found = Tissues.fit(image)
    maps = found.maps(image)
    assert maps.dtype == np.float32
    assert np.abs(maps.sum(0) - 1).max() < 1e-5
    for crop in (np.s_[:, 10:17, 3:4, :], np.s_[:, 5:6, 5:6, 5:9]):
        assert np.array_equal(found.maps(image[crop[1:]]), maps[crop])


def test_beyond_the_outermost_means_a_voxel_is_of_the_outermost_class():
    found = Tissues((30.0, 75.0, 105.0), (40.0, 8.0, 6.0), (0.2, 0.4, 0.4), 75.0, 105.0)
    assert found.maps(np.array([-50.0, 0.0, 500.0], np.float32)).argmax(0).tolist() == [CSF, CSF, WM]


def test_json_keeps_every_bit():
    found = Tissues.fit(brain()[0])
    assert Tissues.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_plain_labels_are_the_maps():
    image, labels = brain()
    maps = maps_of_labels(labels.astype(np.float32))
    assert [np.array_equal(maps[tissue], labels == tissue + 1) for tissue in (CSF, GM, WM)] == [True] * 3
    found = Tissues.of_maps(image, maps)
    for tissue in (CSF, GM, WM):
        inside = image[labels == tissue + 1]
        assert found.means[tissue] == pytest.approx(inside.mean(dtype=float), rel=1e-4)
        assert found.sds[tissue] == pytest.approx(inside.std(dtype=float), rel=1e-3)


def test_freesurfer_labels_are_sorted_by_tissue():
    labels = np.array([[[0, 2, 41, 3, 42, 4, 24, 17, 8, 7, 251, 1035, 2035, 3035, 16, 62]]], np.float32)
    tissue = maps_of_labels(labels)[:, 0, 0]
    told = ["CGW"[column.argmax()] if column.any() else "-" for column in tissue.T]
    assert "".join(told) == "-WWGGCCGGWWGGWW-"


def test_pure_voxels_alone_count_where_maps_are_given():
    image = np.array([[[100.0, 90.0, 10.0, 50.0, 60.0]]], np.float32)
    maps = np.array([[0, 0, 1, 0, 0], [0, 0.5, 0, 1, 0.95], [1, 0.5, 0, 0, 0.05]], np.float32)[:, None, None]
    found = Tissues.of_maps(image, maps)
    assert (found.wm_mean, found.gm_mean) == (100.0, 55.0)


@pytest.mark.parametrize("image", [np.zeros((8, 8, 8)), np.full((8, 8, 8), 3.0), np.indices((8, 8, 8))[0] % 2])
def test_an_image_without_three_intensities_is_refused(image):
    with pytest.raises(InputError, match=r"tissues-not-found: expected at least three intensities .* Give a label image"):
        Tissues.fit(image.astype(np.float32))


@pytest.mark.parametrize("labels", [np.zeros((4, 4, 4)), np.full((4, 4, 4), 9999), np.ones((4, 4, 4))])
def test_labels_of_no_tissue_are_refused(labels):
    with pytest.raises(InputError, match="labels-unknown: expected labels 0 to 3"):
        maps_of_labels(labels.astype(np.float32))


def test_labels_without_a_tissue_are_refused():
    image, labels = brain((24, 24, 24))
    labels[labels == 1] = 0
    with pytest.raises(InputError, match=r"tissues-not-found: .* Check that the label image is of this scan"):
        Tissues.of_maps(image, maps_of_labels(labels.astype(np.float32)))


def test_a_real_brain_agrees_with_freesurfer(scans):
    image, grid, _ = nifti.load(str(scans / "labels" / "T1w.nii.gz"))
    labels, on, _ = nifti.load(str(scans / "labels" / "aparc_aseg.nii.gz"))
    assert on == grid
    inside = np.s_[60:200, 40:210, 50:190]
    assert np.count_nonzero(labels) == np.count_nonzero(labels[inside])
    image, labels = (np.ascontiguousarray(one[inside]) for one in (image, labels))
    maps, found = maps_of_labels(labels), Tissues.fit(image)
    known = maps.any(0)
    classes = found.maps(image[known]).argmax(0)
    for tissue, least in ((CSF, 0.3), (GM, 0.9), (WM, 0.9)):  # the labels leave the fluid around the brain out
        assert dice(classes == tissue, maps[tissue][known] > 0) > least
    true = Tissues.of_maps(image, maps)
    assert found.wm_mean == pytest.approx(true.wm_mean, rel=0.02)
    assert found.gm_mean == pytest.approx(true.gm_mean, rel=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("person", range(1, 9))
def test_heads_of_another_site_give_grey_and_white_matter(scans, person):
    image, _, _ = nifti.load(str(scans / "ds000011" / f"sub-{person:02}" / "anat" / f"sub-{person:02}_T1w.nii.gz"))
    found = Tissues.fit(image)
    assert 0.58 < found.gm_mean / found.wm_mean < 0.72
    assert 0.3 < found.weights[WM] < 0.5
