"""Networks are built by name, and only those that are meant."""

from __future__ import annotations

import pytest

from core.errors import WeightsError
from core.networks import build

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}


def test_a_network_is_built_for_evaluation_from_json_values():
    import torch

    network = build("UNet", UNET)
    assert not network.training
    assert network(torch.zeros(1, 1, 8, 10, 12)).shape == (1, 1, 8, 10, 12)


@pytest.mark.parametrize("name", ["Unet5", "os.system", "", "NETWORKS"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(
        WeightsError,
        match=r"network-unknown: expected one of AttentionUnet, .*UNet, .*DiffusionIQT, ESRGAN.*, but got .*config\.json",
    ):
        build(name, {})


@pytest.mark.parametrize("config", [{}, UNET | {"depth": 3}, UNET | {"channels": [4]}])
def test_arguments_that_do_not_fit_are_refused(config):
    with pytest.raises(WeightsError, match="network-config: expected arguments of UNet"):
        build("UNet", config)
