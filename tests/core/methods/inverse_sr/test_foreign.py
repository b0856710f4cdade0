"""Weights of others: three layouts of names come to the same networks; what lacks is named, and nothing of a pickle is run."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from core.errors import UsageError, WeightsError
from core.methods.inverse_sr import foreign
from core.methods.inverse_sr.presets import AUTOENCODER, DENOISER, autoencoder_kl, unet
from core.methods.inverse_sr.prior import Prior
from core.models.domain import read_domain
from core.networks import build

Tensors = dict[str, torch.Tensor]

# -- theirs, made of ours by tables of their own --------------------------------------------------------------------------------


def of_generative(ours: Tensors) -> Tensors:
    """MONAI Generative 0.1: other names of the decoder's samplers and of the attention's last layer."""
    return {
        name.replace(".postconv.conv.", ".conv.conv.").replace(".out_proj.", ".to_out.0."): value for name, value in ours.items()
    }


def autoencoder_of_authors(ours: Tensors) -> Tensors:
    """InverseSR: no ``.conv`` within convolutions; samplers are ``blocks.N.conv``."""
    names = {name: re.sub(r"\.postconv\.conv\.|\.conv\.conv\.", ".SAMPLER.", name) for name in ours}
    return {names[name].replace(".conv.", ".").replace(".SAMPLER.", ".conv."): value for name, value in ours.items()}


PLACES = {  # three levels with two blocks
    "conv_in": "input_blocks.0.0",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.resnets.1": "input_blocks.2.0",
    "down_blocks.0.downsampler": "input_blocks.3.0",
    "down_blocks.1.resnets.0": "input_blocks.4.0",
    "down_blocks.1.attentions.0": "input_blocks.4.1",
    "down_blocks.1.resnets.1": "input_blocks.5.0",
    "down_blocks.1.attentions.1": "input_blocks.5.1",
    "down_blocks.1.downsampler": "input_blocks.6.0",
    "down_blocks.2.resnets.0": "input_blocks.7.0",
    "down_blocks.2.attentions.0": "input_blocks.7.1",
    "down_blocks.2.resnets.1": "input_blocks.8.0",
    "down_blocks.2.attentions.1": "input_blocks.8.1",
    "middle_block.resnet_1": "middle_block.0",
    "middle_block.attention": "middle_block.1",
    "middle_block.resnet_2": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.resnets.2": "output_blocks.2.0",
    "up_blocks.0.attentions.2": "output_blocks.2.1",
    "up_blocks.0.upsampler": "output_blocks.2.2",
    "up_blocks.1.resnets.0": "output_blocks.3.0",
    "up_blocks.1.attentions.0": "output_blocks.3.1",
    "up_blocks.1.resnets.1": "output_blocks.4.0",
    "up_blocks.1.attentions.1": "output_blocks.4.1",
    "up_blocks.1.resnets.2": "output_blocks.5.0",
    "up_blocks.1.attentions.2": "output_blocks.5.1",
    "up_blocks.1.upsampler": "output_blocks.5.2",
    "up_blocks.2.resnets.0": "output_blocks.6.0",
    "up_blocks.2.resnets.1": "output_blocks.7.0",
    "up_blocks.2.resnets.2": "output_blocks.8.0",
}
WITHIN = {
    r"\.norm1\.(weight|bias)$": r".in_layers.0.\1",
    r"\.conv1\.conv\.": ".in_layers.2.",
    r"\.time_emb_proj\.": ".emb_layers.1.",
    r"\.norm2\.(weight|bias)$": r".out_layers.0.\1",
    r"\.conv2\.conv\.": ".out_layers.3.",
    r"\.skip_connection\.conv\.": ".skip_connection.",
}
ATTENTION = {
    r"\.proj_(in|out)\.conv\.": r".proj_\1.",
    r"\.out_proj\.": ".to_out.0.",
    r"\.linear1\.": ".net.0.proj.",
    r"\.linear2\.": ".net.2.",
}


def unet_of_authors(ours: Tensors) -> Tensors:
    """CompVis: blocks numbered through, beside buffers of the diffusion."""
    theirs = {"betas": torch.zeros(4), "alphas_cumprod": torch.zeros(4)}
    for name, value in ours.items():
        start = next((each for each in PLACES if name.startswith(f"{each}.")), None)
        changed = name if start is None else PLACES[start] + name[len(start) :]
        table = ATTENTION if "attention" in name else WITHIN
        for ours_, other in table.items():
            changed = re.sub(ours_, other, changed)
        changed = changed.replace("input_blocks.0.0.conv.", "input_blocks.0.0.").replace("out.2.conv.", "out.2.")
        theirs[f"model.diffusion_model.{changed}"] = value
    return theirs


SAME: Any = dict
LAYOUTS = {
    "MONAI": (SAME, SAME),
    "MONAI Generative": (of_generative, of_generative),
    "InverseSR": (autoencoder_of_authors, unet_of_authors),
}
CONFIGS = {AUTOENCODER: autoencoder_kl(3, (8, 16, 16, 16), 8), DENOISER: unet(3, 4, (8, 16, 24), 8, blocks=2, upcast=True)}


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    made = {AUTOENCODER: build("AutoencoderKL", CONFIGS[AUTOENCODER]), DENOISER: build("DiffusionModelUNet", CONFIGS[DENOISER])}
    for network in made.values():
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.05)  # also of layers that begin as zeros
    return made


def saved(tmp_path: Path, networks: dict[str, nn.Module], layout: str) -> list[str]:
    paths = []
    for change, (role, network) in zip(LAYOUTS[layout], networks.items(), strict=True):
        paths.append(str(tmp_path / f"{role}.pth"))
        torch.save(change(network.state_dict()), paths[-1])
    return paths


def assert_same(folder: str, networks: dict[str, nn.Module]) -> None:
    prior = Prior.load(folder)
    code = torch.randn((1, 3, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    image = torch.rand((1, 1, 32, 32, 32), generator=torch.Generator().manual_seed(1))
    autoencoder: Any = networks[AUTOENCODER]
    with torch.no_grad():
        assert torch.equal(prior.decode(code), autoencoder.decode(code))
        assert torch.equal(prior.encode(image), autoencoder.encode(image)[0])
        context = torch.full((1, 4), 0.5)
        told = torch.cat([code, torch.full((1, 4, 4, 4, 4), 0.5)], 1)
        noise = networks[DENOISER](told, torch.tensor([500]), context=context[:, None])
        assert torch.equal(prior.epsilon(code, 500, context), noise)


# -- what comes of it -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_come_to_the_same_networks(tmp_path: Path, networks: dict[str, nn.Module], layout: str) -> None:
    paths = saved(tmp_path, networks, layout)
    foreign.read(paths[::-1], str(tmp_path / "model"))
    assert_same(str(tmp_path / "model"), networks)
    prior = Prior.load(str(tmp_path / "model"))
    assert prior.window.codes == ("L", "A", "S")
    assert [one.name for one in prior.conditions] == ["sex", "age", "ventricular_volume", "brain_volume"]
    assert prior.facts.samples == 10_000
    assert read_domain(prior.folder).anatomy == ("head",)
    assert "autoencoder.pth" in (tmp_path / "model" / "README.md").read_text()


class _Module(nn.Module):
    """Modules within modules by dotted names, as those that were pickled."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        below: dict[str, Tensors] = {}
        for name, value in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                below.setdefault(first, {})[rest] = value
            elif first in {"weight", "bias"}:
                self.register_parameter(first, nn.Parameter(value))
            else:
                self.register_buffer(first, value)
        for name, inner in below.items():
            self.add_module(name, type(self)(inner))


def pickled(path: Path, tensors: Tensors, name: str, package: str = "models") -> None:
    """A whole module of a package that is not here when it is opened."""
    place = ModuleType(f"{package}.{name}")
    kind = type("Whole", (_Module,), {"__module__": place.__name__})
    place.Whole = kind  # type: ignore[attr-defined]
    parent = ModuleType(package)
    sys.modules |= {package: parent, place.__name__: place}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(kind(tensors), path)
    finally:
        del sys.modules[place.__name__], sys.modules[package]


def test_pickled_modules_of_the_authors_are_read_through_stubs(tmp_path: Path, networks: dict[str, nn.Module]) -> None:
    change = LAYOUTS["InverseSR"]
    pickled(tmp_path / "vae" / "data" / "model.pth", change[0](networks[AUTOENCODER].state_dict()), "aekl_no_attention")
    pickled(tmp_path / "ddpm" / "data" / "model.pth", change[1](networks[DENOISER].state_dict()), "ddpm_v2_conditioned")
    foreign.read([str(tmp_path / "vae"), str(tmp_path / "ddpm")], str(tmp_path / "model"))
    assert_same(str(tmp_path / "model"), networks)
    assert "models.aekl_no_attention" not in sys.modules


class _Evil:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def test_a_pickle_that_names_anything_else_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": _Evil(str(tmp_path / "mark"))}, tmp_path / "evil.pth")
    with pytest.raises(
        WeightsError, match=r"expected modules of models, torch.nn, but got (posix|nt)\.mkdir\. Save the state_dict alone"
    ):
        foreign.read([str(tmp_path / "evil.pth")], str(tmp_path / "model"))
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "model").exists()


def test_a_decoder_alone_is_refused_by_what_lacks(tmp_path: Path, networks: dict[str, nn.Module]) -> None:
    paths = saved(tmp_path, networks, "MONAI")
    whole = torch.load(paths[0], weights_only=True)
    torch.save({name: value for name, value in whole.items() if not name.startswith("encoder")}, paths[0])
    with pytest.raises(WeightsError, match=r"42 missing: encoder\.blocks\.0\.conv\.weight|missing: encoder"):
        foreign.read(paths, str(tmp_path / "model"))
    assert not (tmp_path / "model" / "config.json").exists()


def test_files_of_one_kind_or_of_neither_are_refused(tmp_path: Path, networks: dict[str, nn.Module]) -> None:
    paths = saved(tmp_path, networks, "MONAI")
    with pytest.raises(WeightsError, match=r"none of denoiser\. Name both files"):
        foreign.read(paths[:1], str(tmp_path / "model"))
    with pytest.raises(WeightsError, match="two of autoencoder"):
        foreign.read([paths[0], paths[0]], str(tmp_path / "model"))
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"layout-unknown.*layer\.weight in .*other\.pth"):
        foreign.read([str(tmp_path / "other.pth")], str(tmp_path / "model"))
    with pytest.raises(UsageError, match="checkpoint-missing"):
        foreign.read([str(tmp_path / "none.pth")], str(tmp_path / "model"))


def test_without_internet_the_download_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import monai.bundle

    def unreachable(**_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(monai.bundle, "download", unreachable)
    with pytest.raises(
        UsageError, match=r"download-failed: expected internet.*Name or service not known.*models import brain-ldm FILE FILE"
    ):
        foreign.fetch(str(tmp_path))


def test_large_files_of_a_bundle_are_fetched_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import monai.bundle

    def large(folder: str) -> None:
        for name in ("diffusion_model.pth", "autoencoder.pth"):
            Path(folder, "models").mkdir(exist_ok=True)
            Path(folder, "models", name).touch()

    monkeypatch.setattr(monai.bundle, "download", lambda **said: Path(said["bundle_dir"], said["name"]).mkdir())
    monkeypatch.setattr(monai.bundle, "download_large_files", large)
    assert [Path(path).name for path in foreign.fetch(str(tmp_path))] == ["autoencoder.pth", "diffusion_model.pth"]
