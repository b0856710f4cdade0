"""The one digest: known values of each form, so that outputs of before are known again."""

from __future__ import annotations

import numpy as np

from core.digest import digest_of, digest_of_voxels

RECORD = [["ab" * 32], "cubic", {"b": 1e-09, "a": "ü"}, "", {"tile": [64, 64, 64]}, 0, "1"]


def test_the_order_of_keys_does_not_matter_and_that_of_values_does() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1}) != digest_of({"a": 1, "b": [2, 1]})


def test_each_form_has_the_value_that_its_records_carry() -> None:
    assert digest_of(RECORD) == "2e035830459e47034185baf1d4d198af895c6a71b9a676da871ea1396b152afa"
    assert digest_of(RECORD, spaced=True) == "43b62e9650135772156be9bca7b536efa00289503636891f3ebf040798da1111"
    listing = [("a.nii", "5 1"), ("b.nii", "3 7")]
    assert digest_of(listing, spaced=True) == "5ba61fbdcfab2ced6c01d87dce3361bfaf37f7a7bd6e88240b17f9161729889c"


def test_lines_follow_the_value_in_their_order() -> None:
    assert digest_of({}, lines=["a 1\n", "b 2\n"]) == "72672d6707dba9c4065aea6de293f69905f60d714545004a12a6de1128ce992a"
    assert digest_of({}, lines=["b 2\n", "a 1\n"]) != digest_of({}, lines=["a 1\n", "b 2\n"]) != digest_of({})


def test_voxels_are_the_same_however_they_lie_in_memory_and_others_where_value_or_shape_differ() -> None:
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert digest_of_voxels(image) == digest_of_voxels(np.asfortranarray(image))
    assert digest_of_voxels(image) == "ee1d90b03d45e6e14fe9040e402bb46468ffc19c3878b84cff33f233b605d8b2"
    assert digest_of_voxels(image) == digest_of_voxels(np.flip(np.ascontiguousarray(np.flip(image, 2)), 2))
    assert len({digest_of_voxels(other) for other in (image, image + 1, image.reshape(2, 4, 3), np.flip(image, 0))}) == 4
