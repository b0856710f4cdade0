"""How far networks see: against convolutions whose reach is known, and by changing what lies beyond it."""

from __future__ import annotations

import pytest

from core.errors import WeightsError
from core.methods import registry
from core.networks import build
from core.networks.receptive_field import reach

torch = pytest.importorskip("torch")
PLAIN = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "norm": None}


def test_one_level_without_stride_reaches_as_far_as_its_kernels() -> None:
    config = PLAIN | {"channels": [2, 2], "strides": [1], "kernel_size": [5, 3, 3], "up_kernel_size": 3}
    assert reach("UNet", config, 1) == (2 + 2 + 1, 1 + 1 + 1, 1 + 1 + 1)  # down, bottom, up


@pytest.mark.parametrize("units", [0, 1, 2])
def test_what_lies_beyond_changes_nothing_and_what_lies_within_does(units: int) -> None:
    config = PLAIN | {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": units}
    far = reach("UNet", config, 4)[0]
    torch.manual_seed(3)
    network = build("UNet", config).double()
    image = torch.rand(1, 1, 2 * far + 8, 8, 8, dtype=torch.float64)
    changed = image.clone()
    changed[:, :, :4] += 1
    with torch.no_grad():
        difference = (network(image) - network(changed)).abs().amax((0, 1, 3, 4))
    assert difference[4 + far :].max() == 0
    assert difference[: 4 + far - 8].max() > 0  # it is not much farther than needed
    assert far % 4 == 0


@pytest.mark.parametrize(("network", "config"), [("UNet", PLAIN | {"channels": [4, 8], "strides": [2], "norm": "INSTANCE"})])
def test_a_network_that_normalises_over_the_patch_has_no_end(network: str, config: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="reach-unbounded"):
        reach(network, config, 8)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["unet-3d", "resunet-3d"])
def test_the_presets_reach_less_than_a_head(method: str) -> None:
    size = registry.recipe(method).preset("small")
    assert max(reach(size.network, size.config, size.multiple)) <= 48
