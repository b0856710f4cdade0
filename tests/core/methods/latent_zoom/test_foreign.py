"""Weights of others under our names: both layouts, the packing of attention, the average, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.errors import UsageError, WeightsError
from core.methods.latent_zoom import foreign, presets
from core.methods.latent_zoom.presets import AUTOENCODER, DENOISER
from core.models.bundle import read_bundle
from core.models.cache import load_network
from core.networks import build

WIDTHS, LEVELS, BLOCKS, HEADS = (32, 32, 64), 3, 2, 2


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return (
        build("VQModel", presets.vq(3, WIDTHS, BLOCKS, 8, 32, attention=True)),
        build("UNet2DModel", presets.unet(3, WIDTHS, BLOCKS, 32, 32)),
    )


# -- CompVis' names, written down from their modules, not from ours -----------------------------------------------------------


VQ_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def compvis_vq(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    made = {}
    for name, value in tensors.items():
        theirs = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        theirs = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", theirs)
        theirs = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", theirs)
        theirs = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{LEVELS - 1 - int(m[1])}.block.{m[2]}", theirs)
        theirs = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{LEVELS - 1 - int(m[1])}.upsample", theirs)
        theirs = theirs.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        if "mid_block.attentions.0" in theirs:
            theirs = theirs.replace("mid_block.attentions.0", "mid.attn_1")
            theirs = re.sub("|".join(map(re.escape, VQ_ATTENTION)), lambda m: VQ_ATTENTION[m[0]], theirs)
        convolved = "mid.attn_1" in theirs and value.ndim == 2
        made[f"first_stage_model.{theirs}"] = value[..., None, None] if convolved else value
    return made


ROWS_IN = ["0", "0.0", "0.1", "down0", "1.0", "1.1", "down1", "2.0", "2.1"]  # input_blocks by number: level and block
ROWS_OUT = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def compvis_unet(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    made, packed = {}, {}
    single = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    single |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    for name, value in tensors.items():
        stem, _, kind = name.rpartition(".")
        if stem in single:
            made[f"{single[stem]}.{kind}"] = value
            continue
        found = re.match(r"(down|up|mid)_block(?:s\.(\d))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", stem)
        assert found is not None
        side, level, what, number, rest = found.groups()
        if side == "mid":
            place = f"middle_block.{1 if what == 'attentions' else 2 * int(number)}"
        elif what == "downsamplers":
            place, rest = f"input_blocks.{ROWS_IN.index(f'down{level}')}.0", "op"
        elif what == "upsamplers":
            last = ROWS_OUT.index((int(level), BLOCKS))
            place, rest = f"output_blocks.{last}.{2 if level == '0' else 1}", "conv"
        else:
            row = ROWS_IN.index(f"{level}.{number}") if side == "down" else ROWS_OUT.index((int(level), int(number)))
            place = f"{'input' if side == 'down' else 'output'}_blocks.{row}.{1 if what == 'attentions' else 0}"
        if what == "attentions" and rest in {"to_q", "to_k", "to_v"}:
            packed.setdefault(f"{place}.qkv.{kind}", {})[rest] = value
        elif what == "attentions":
            theirs = {"group_norm": "norm", "to_out.0": "proj_out"}[rest]
            made[f"{place}.{theirs}.{kind}"] = value[..., None] if value.ndim == 2 else value
        else:
            made[f"{place}.{RES.get(rest, rest)}.{kind}"] = value
    for name, parts in packed.items():
        heads = [[part.chunk(len(part) // 32)[n] for part in (parts["to_q"], parts["to_k"], parts["to_v"])] for n in range(HEADS)]
        joined = torch.cat([part for head in heads for part in head])
        made[name] = joined[..., None] if joined.ndim == 2 else joined
    return {f"model.diffusion_model.{name}": value for name, value in made.items()}


def outputs(vq: nn.Module, unet: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    image, codes = torch.rand(1, 3, 32, 32, generator=draw), torch.randn(1, 6, 16, 16, generator=draw)
    with torch.no_grad():
        return vq.encode(image).latents, vq.decode(codes[:, :3, :8, :8]).sample, unet(codes, torch.tensor([500])).sample


def checkpoint(networks: tuple[nn.Module, nn.Module], *, averaged: bool) -> dict[str, Tensor]:
    """A checkpoint of CompVis; averaged: the true weights are the average's, the raw ones others."""
    vq, unet = (network.state_dict() for network in networks)
    inside = compvis_unet(unet)
    state = compvis_vq(vq) | inside | {"betas": torch.zeros(1000), "logvar": torch.zeros(1000)}
    if averaged:
        state |= {"model_ema." + name.removeprefix("model.").replace(".", ""): value for name, value in inside.items()}
        state |= {name: value + 1 for name, value in inside.items()}
    return state


@pytest.mark.parametrize("averaged", [False, True])
def test_compvis_checkpoint_gives_the_very_outputs(networks, averaged: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": checkpoint(networks, averaged=averaged), "global_step": 7}, tmp_path / "model.ckpt")
    foreign.read([str(tmp_path / "model.ckpt")], str(tmp_path / "model"))
    bundle = read_bundle(str(tmp_path / "model"))
    again = [load_network(str(tmp_path / "model"), bundle, "cpu", role) for role in (AUTOENCODER, DENOISER)]
    for mine, theirs in zip(outputs(*again), outputs(*networks), strict=True):
        assert torch.equal(mine, theirs)
    assert ("the averaged weights" if averaged else "the raw weights") in (tmp_path / "model" / "README.md").read_text()
    assert bundle.schedule == presets.SCHEDULE


def test_both_files_of_diffusers_give_the_very_outputs_under_old_names_too(networks, tmp_path: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    paths = []
    for number, network in enumerate(networks):
        state = network.state_dict()
        renamed = {re.sub("|".join(map(re.escape, old)), lambda m: old[m[0]], name): value for name, value in state.items()}
        paths.append(str(tmp_path / f"{number}.bin"))
        torch.save(renamed, paths[-1])
    foreign.read(paths[::-1], str(tmp_path / "model"))
    bundle = read_bundle(str(tmp_path / "model"))
    again = [load_network(str(tmp_path / "model"), bundle, "cpu", role) for role in (AUTOENCODER, DENOISER)]
    assert all(torch.equal(*pair) for pair in zip(outputs(*again), outputs(*networks), strict=True))


def test_attention_as_compvis_computes_it_is_that_of_the_unpacked_parts() -> None:
    """Their QKVAttentionLegacy: heads are cut first, then each into query, key and value."""
    draw = torch.Generator().manual_seed(2)
    weight, tokens = (torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((192, 64), (64, 10)))
    packed = (weight @ tokens).reshape(HEADS, 96, 10)
    query, key, value = packed.split(32, dim=1)
    legacy = torch.einsum("bts,bcs->bct", torch.einsum("bct,bcs->bts", query, key).div(32**0.5).softmax(-1), value).reshape(
        64, 10
    )
    parts = [(part @ tokens).reshape(HEADS, 32, 10).transpose(1, 2) for part in foreign.unpacked(weight)]
    ours = nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(64, 10)
    torch.testing.assert_close(ours, legacy)


def test_files_of_neither_layout_and_tensors_that_lack_are_refused(networks, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"checkpoint-missing: expected a checkpoint on this machine, but got nowhere\. "):
        foreign.read(["nowhere"], str(tmp_path / "model"))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"layout-unknown: expected CompVis' checkpoint .*, but got weight\. Name"):
        foreign.read([str(tmp_path / "other.pt")], str(tmp_path / "model"))
    state = checkpoint(networks, averaged=False)
    del state["model.diffusion_model.middle_block.1.proj_out.weight"]
    torch.save(state, tmp_path / "less.ckpt")
    with pytest.raises(WeightsError, match=r"weights-unfit: .*1 missing: mid_block\.attentions\.0\.to_out\.0\.weight"):
        foreign.read([str(tmp_path / "less.ckpt")], str(tmp_path / "model"))


def test_without_internet_it_is_said_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def fail(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        UsageError, match=r"download-failed: expected internet, and CompVis/.*, but got OSError: no route.*Fetch vqvae"
    ):
        foreign.fetch(str(tmp_path))
