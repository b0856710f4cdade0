"""Checkpoints in the layout of score_sde_pytorch: every weight finds its place, the average without the frozen frequencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UsageError, WeightsError
from core.methods.srmri import foreign
from core.methods.srmri.score_model import ScoreModel
from core.methods.srmri.score_network import NCSNpp


def checkpoint(network: NCSNpp, shadows: list[torch.Tensor] | None = None) -> dict[str, Any]:
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    state["module.sigmas"] = torch.logspace(1.5, -2, 50)
    made: dict[str, Any] = {"optimizer": {"state": {}}, "model": state, "step": 7}
    return made | ({"ema": {"decay": 0.999, "num_updates": 7, "shadow_params": shadows}} if shadows else {})


@pytest.mark.parametrize(("multiples", "blocks", "attention"), [((1, 2, 2, 2), 1, ()), ((1, 2), 2, (1,)), ((1, 1, 2), 1, (0, 2))])
def test_a_checkpoint_becomes_the_network_that_it_was(multiples: Any, blocks: int, attention: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NCSNpp(8, multiples, blocks, attention)
    learning = [value + 1 for value in network.parameters() if value.requires_grad]
    torch.save(checkpoint(network, learning), tmp_path / "checkpoint_7.pth")
    foreign.read([str(tmp_path / "checkpoint_7.pth")], str(tmp_path / "model"))
    model = ScoreModel.load(str(tmp_path / "model"))
    assert (model.network.levels, model.network.blocks, model.network.attention) == (len(multiples), blocks, frozenset(attention))
    for name, value in model.network.named_parameters():
        before = dict(network.named_parameters())[name]
        torch.testing.assert_close(value, before + (0 if name == "all_modules.0.W" else 1), rtol=0, atol=0)
    assert model.schedule.alpha_sigma(0)[1] == pytest.approx(0.01)
    assert model.schedule.alpha_sigma(1)[1] == pytest.approx(10**1.5, rel=1e-4)
    assert "averaged weights, step 7" in (tmp_path / "model" / "README.md").read_text()


def test_what_is_no_such_checkpoint_is_refused(tmp_path: Path) -> None:
    network = NCSNpp(8, (1, 2), 1)
    torch.save({"weights": 1}, tmp_path / "a.pth")
    torch.save(checkpoint(network, list(network.parameters())), tmp_path / "b.pth")  # with the frozen one: shifted by one
    with pytest.raises(UsageError, match=r"checkpoint-missing: expected a checkpoint .* Check its path"):
        foreign.read([str(tmp_path / "none.pth")], str(tmp_path / "m"))
    with pytest.raises(WeightsError, match=r"weights-state: expected a checkpoint of score_sde_pytorch.*but got weights in"):
        foreign.read([str(tmp_path / "a.pth")], str(tmp_path / "m"))
    with pytest.raises(
        WeightsError, match=r"weights-shapes: expected an average of each weight that learns, but got 137 for 136"
    ):
        foreign.read([str(tmp_path / "b.pth")], str(tmp_path / "m"))
