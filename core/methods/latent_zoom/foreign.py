"""Weights of others: latent diffusion's model that makes pictures 4 times finer, in CompVis' layout or in diffusers'.

    layout      file                                           autoencoder                        denoiser
    CompVis     one, ``state_dict`` with ``first_stage_model…``  encoder.down.0.block.1.norm1       input_blocks.1.0.in_layers.0
    diffusers   two, of ``vqvae`` and ``unet``                  encoder.down_blocks.0.resnets.1.…  down_blocks.0.resnets.0.norm1

Of CompVis' weights the moving average is taken where there is one (``model_ema``, whose names have no points). Its attention
packs query, key and value for each head by itself; split in thirds they would have the right shapes and be wrong. Sizes are read
off the shapes; channels of a head cannot be, and are the paper's 32, or all of a narrower network's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from core.errors import UsageError, WeightsError
from core.io import files
from core.methods.latent_zoom.presets import AUTOENCODER, DENOISER, LATENT, SCHEDULE, unet, vq
from core.models.bundle import Filled, save_bundle
from core.models.convert import check_tensors
from core.models.domain import Domain, write_domain

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]

STAGE, INSIDE, AVERAGE = "first_stage_model.", "model.diffusion_model.", "model_ema."
REPOSITORY = "CompVis/ldm-super-resolution-4x-openimages"
FILES = ("vqvae/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.bin")
HEAD, GROUPS = 32, 32
MULTIPLE = 32
CARD = """# Latent diffusion, 4 times finer

Imported from {sources}, {weights} weights. Rombach et al. 2022: photographs (OpenImages) degraded by BSRGAN-light.

## Limits
It has seen photographs, not MRI. For what it may be used is what its makers say of it; isovox does not know.
"""

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
BLOCKS: dict[str, Callable[[int, re.Match[str]], str]] = {  # of the autoencoder, by the number of levels
    r"\bdown\.(\d+)\.block\.": lambda _, at: f"down_blocks.{at[1]}.resnets.",
    r"\bdown\.(\d+)\.downsample\.": lambda _, at: f"down_blocks.{at[1]}.downsamplers.0.",
    r"\bup\.(\d+)\.block\.": lambda levels, at: f"up_blocks.{levels - 1 - int(at[1])}.resnets.",
    r"\bup\.(\d+)\.upsample\.": lambda levels, at: f"up_blocks.{levels - 1 - int(at[1])}.upsamplers.0.",
    r"\bmid\.block_([12])\.": lambda _, at: f"mid_block.resnets.{int(at[1]) - 1}.",
}
OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def read(paths: Sequence[str], folder: str) -> None:
    """Write the model of CompVis' checkpoint, or of diffusers' two files.

    Args:
        paths: one file, or the two in any order, on this machine.
        folder: of the model, to be made.

    Raises:
        UsageError: a file that is missing.
        WeightsError: files of neither layout; tensors that are missing or left over, by name.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors |= opened(path)
    autoencoder, denoiser, weights = parts_of(tensors)
    filled = {
        AUTOENCODER: Filled("VQModel", vq_config(autoencoder), autoencoder),
        DENOISER: Filled("UNet2DModel", unet_config(denoiser), denoiser),
    }
    for part in filled.values():
        check_tensors(part.network, dict(part.config), part.tensors)
    sources = ", ".join(f"`{files.name_of(path)}` (sha256 `{files.sha256(path)}`)" for path in paths)
    write_domain(folder, Domain())
    card = CARD.format(sources=sources, weights=weights)
    save_bundle(folder, filled, card, schedule=SCHEDULE, prediction="eps", multiple=MULTIPLE)


def fetch(folder: str) -> list[str]:
    """Download the two files of the public model; their paths.

    Raises:
        UsageError: there is no internet, or no such model any more.
    """
    from huggingface_hub import hf_hub_download

    try:
        return [hf_hub_download(REPOSITORY, name, local_dir=folder) for name in FILES]
    except Exception as error:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        remedy = f"fetch {' and '.join(FILES)} where there is, and: isovox models import ldm-sr FILE FILE"
        raise UsageError("download-failed", f"internet, and {REPOSITORY} on Hugging Face", got, remedy) from error


def opened(path: str) -> dict[str, Tensor]:
    """The tensors of a file by its own names; no code of it is run.

    Raises:
        UsageError: no such file.
        WeightsError: it holds something else than tensors.
    """
    from pathlib import Path
    from pickle import UnpicklingError

    import torch
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise UsageError("checkpoint-missing", "a checkpoint on this machine", path, "check its path")
    if path.endswith(".safetensors"):
        return dict(load_file(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        got = f"{path}: {str(error).splitlines()[0][:200]}"
        remedy = "save its state_dict alone where you trust it, and import that"
        raise WeightsError("weights-unreadable", "a checkpoint of tensors alone", got, remedy) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    return {name: value for name, value in state.items() if torch.is_tensor(value)}


def parts_of(tensors: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """Autoencoder and denoiser under diffusers' names, and which of the checkpoint's weights they are.

    Args:
        tensors: of one file of CompVis, or of the two of diffusers together.

    Raises:
        WeightsError: of neither layout.
    """
    if any(name.startswith(STAGE) for name in tensors) and any(name.startswith(INSIDE) for name in tensors):
        stage = {name.removeprefix(STAGE): value for name, value in tensors.items() if name.startswith(STAGE)}
        inside, weights = _averaged(tensors)
        return dict(_autoencoder(stage)), dict(_denoiser(inside)), weights
    if "conv_norm_out.weight" in tensors and "quantize.embedding.weight" in tensors:
        own = {name: value for name, value in tensors.items() if name.startswith(("encoder.", "decoder.", "quant", "post_quant"))}
        return dict(_newer(own)), dict(_newer({n: value for n, value in tensors.items() if n not in own})), "the file's"
    wanted, got = f"CompVis' checkpoint ({STAGE}…, {INSIDE}…) or diffusers' two files", ", ".join(list(tensors)[:4])
    raise WeightsError("layout-unknown", wanted, got, "name the checkpoint, or both files")


def _averaged(tensors: Tensors) -> tuple[dict[str, Tensor], str]:
    """The denoiser by CompVis' names: its moving average where there is one."""
    raw = {name.removeprefix(INSIDE): value for name, value in tensors.items() if name.startswith(INSIDE)}
    averages = {name.removeprefix(AVERAGE): value for name, value in tensors.items() if name.startswith(AVERAGE)}
    averaged = {name: averages.get(f"diffusion_model{name}".replace(".", "")) for name in raw}
    if any(value is None for value in averaged.values()):
        return raw, "the raw"
    return {name: value for name, value in averaged.items() if value is not None}, "the averaged"


# -- names --------------------------------------------------------------------------------------------------------------------


def _newer(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Names of attention as diffusers has had them since its version 0.17."""
    old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    for name, value in tensors.items():
        stem, _, kind = name.rpartition(".")
        before, _, last = stem.rpartition(".")
        yield (f"{before}.{old[last]}.{kind}" if last in old else name), value


def _autoencoder(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """CompVis' autoencoder; its up levels are numbered from the finest, and its attention's convolutions of 1 x 1 are layers."""
    levels = len({name.split(".")[2] for name in tensors if name.startswith("decoder.up.")})
    for theirs, value in tensors.items():
        name = theirs.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
        for pattern, put in BLOCKS.items():
            name = re.sub(pattern, partial(put, levels), name)
        if within := re.match(r"(.*)mid\.attn_1\.(\w+)\.(weight|bias)$", name):
            start, layer, kind = within.groups()
            yield f"{start}mid_block.attentions.0.{ATTENTION[layer]}.{kind}", value.squeeze() if value.ndim == 4 else value
        else:
            yield name, value


def _denoiser(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """CompVis' U-Net."""
    places = _places(tensors)
    for name, value in tensors.items():
        start = next((theirs for theirs in (*OUTSIDE, *places) if name.startswith(f"{theirs}.")), None)
        if start is None:
            yield name, value
            continue
        rest = name.removeprefix(f"{start}.")
        if start in OUTSIDE:
            yield f"{OUTSIDE[start]}.{rest}", value
        elif rest.startswith("qkv."):
            kind = rest.removeprefix("qkv.")
            for layer, part in zip(("to_q", "to_k", "to_v"), unpacked(value), strict=True):
                yield f"{places[start]}.{layer}.{kind}", part
        else:
            yield f"{places[start]}.{_within(rest)}", value.squeeze(-1) if value.ndim == 3 else value


def unpacked(packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of CompVis' attention, which packs the three head by head: (heads * 3 * channels of a head, …)."""
    packed = packed.squeeze(-1) if packed.ndim == 3 else packed
    width = len(packed) // 3
    size = HEAD if width % HEAD == 0 else width
    heads = packed.reshape(width // size, 3, size, *packed.shape[1:])
    query, key, value = (heads[:, n].reshape(width, *packed.shape[1:]).contiguous() for n in range(3))
    return query, key, value


def _within(rest: str) -> str:
    """A name within a block."""
    stem, _, kind = rest.rpartition(".")
    return f"{RESNET.get(stem) or ATTENTION.get(stem, stem)}.{kind}" if stem else kind


def _places(tensors: Tensors) -> dict[str, str]:
    """Where each of CompVis' blocks is in diffusers' network: numbered through there, by level here."""
    rows = len({name.split(".")[1] for name in tensors if name.startswith("output_blocks.")})
    levels = 1 + sum(1 for name in tensors if re.fullmatch(r"input_blocks\.\d+\.0\.op\.weight", name))
    blocks = rows // levels - 1
    places = {
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
    }
    for level in range(levels):
        for n in range(blocks):
            at = 1 + level * (blocks + 1) + n
            places[f"input_blocks.{at}.0"] = f"down_blocks.{level}.resnets.{n}"
            places[f"input_blocks.{at}.1"] = f"down_blocks.{level}.attentions.{n}"
        places[f"input_blocks.{(level + 1) * (blocks + 1)}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        for n in range(blocks + 1):
            at = level * (blocks + 1) + n
            places[f"output_blocks.{at}.0"] = f"up_blocks.{level}.resnets.{n}"
            for last in (1, 2):
                up = f"output_blocks.{at}.{last}.conv.weight" in tensors
                kind = "upsamplers.0.conv" if up else f"attentions.{n}"
                places[f"output_blocks.{at}.{last}{'.conv' if up else ''}"] = f"up_blocks.{level}.{kind}"
    return places


# -- sizes --------------------------------------------------------------------------------------------------------------------


def _needed(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        remedy = "save the whole network, not a part of it"
        raise WeightsError("weights-unfit", f"the tensor {name}", f"{len(tensors)} others", remedy)
    return tensors[name]


def _levels(tensors: Tensors, start: str) -> tuple[tuple[int, ...], int]:
    """Channels of each level, and blocks of one."""
    count = len({name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)})
    widths = tuple(_needed(tensors, f"{start}{n}.resnets.0.conv1.weight").shape[0] for n in range(count))
    blocks = len({name.split(".resnets.")[1].split(".")[0] for name in tensors if name.startswith(f"{start}0.resnets.")})
    return widths, blocks


def _groups(widths: Sequence[int]) -> int:
    return math.gcd(GROUPS, *widths)


def vq_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of VQModel for tensors of its names."""
    widths, blocks = _levels(tensors, "encoder.down_blocks.")
    channels = _needed(tensors, "encoder.conv_in.weight").shape[1]
    attention = any(".mid_block.attentions." in name for name in tensors)
    codes = len(_needed(tensors, "quantize.embedding.weight"))
    return vq(channels, widths, blocks, codes, _groups(widths), attention=attention)


def unet_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of UNet2DModel for tensors of its names."""
    widths, blocks = _levels(tensors, "down_blocks.")
    shown = _needed(tensors, "conv_in.weight").shape[1] - LATENT
    head = HEAD if widths[-1] % HEAD == 0 else widths[-1]
    return unet(shown, widths, blocks, head, _groups(widths))
