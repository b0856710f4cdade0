"""Weights of others for the prior, in three layouts, under the names of MONAI's networks.

    layout                     autoencoder                          denoiser
    MONAI from 1.4             as is                                as is
    MONAI Generative           decoder.blocks.N.conv.conv           …attn1.to_out.0
    InverseSR's modules        decoder.blocks.N.weight              model.diffusion_model.input_blocks.N.0.in_layers.0

Sizes are read off the shapes; heads (one) and groups (32, or what divides the widths) cannot be. Names that are missing or left
over are refused by name: MONAI's own loader leaves a missing encoder random.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from core.errors import UsageError, WeightsError
from core.io import files
from core.methods.inverse_sr.presets import AUTOENCODER, DENOISER, ROLES, SCHEDULE, autoencoder_kl, facts_of, paper, unet
from core.models.bundle import Filled, save_bundle
from core.models.convert import check_tensors
from core.models.domain import Domain, write_domain
from core.models.unpickled import tensors_of

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]

PACKAGES = ("models", "torch.nn")  # of the authors' pickled modules
VOLUMES = 5  # axes of a convolution's weights
SAMPLER = 3  # points in "decoder.blocks.3.conv"
INSIDE = "model.diffusion_model."
GROUPS = 32
BUNDLE = "brain_image_synthesis_latent_diffusion_model"  # of MONAI's model zoo
NETWORKS = {AUTOENCODER: "AutoencoderKL", DENOISER: "DiffusionModelUNet"}
HEADS = Domain(contrasts=("T1w",), anatomy=("head",), sign="non-negative")
CARD = """# Brain LDM

Imported from {sources}. Pinaya et al. 2022: T1w of 31,740 persons of UK Biobank, 44 to 82 years old, faces masked.

## Limits
For what it may be used is what its makers say of it; isovox does not know. It was never trained on skull-stripped brains.
"""

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1.conv",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2.conv",
    "skip_connection": "skip_connection.conv",
}
ATTENTION = {
    "proj_in": "proj_in.conv",
    "proj_out": "proj_out.conv",
    ".to_out.0": ".out_proj",
    ".ff.net.0.proj": ".ff.linear1",
    ".ff.net.2": ".ff.linear2",
}


def read(paths: Sequence[str], folder: str) -> None:
    """Write the prior of an autoencoder's and a denoiser's file.

    Args:
        paths: of the two, in any order, on this machine: state dicts (.pth, .pt, .safetensors), or modules that MLflow keeps (the
            file, or its folder).
        folder: of the model, to be made.

    Raises:
        UsageError: a file that is missing.
        WeightsError: one that is neither, or two of one kind; tensors that are missing or left over, by name.
    """
    by_role: dict[str, Tensors] = {}
    for path in paths:
        role, tensors = renamed(opened(path), path)
        if role in by_role:
            wanted, got = f"one file of each of {' and '.join(ROLES)}", f"two of {role}"
            raise WeightsError("model-unfit", wanted, got, "name the other file too")
        by_role[role] = tensors
    if missing := [role for role in ROLES if role not in by_role]:
        wanted, got = f"files of {' and '.join(ROLES)}", f"none of {', '.join(missing)}"
        raise WeightsError("model-unfit", wanted, got, "name both files")
    parts = {role: Filled(NETWORKS[role], CONFIGS[role](by_role[role]), by_role[role]) for role in ROLES}
    for part in parts.values():
        check_tensors(part.network, dict(part.config), part.tensors)
    sources = ", ".join(f"`{files.name_of(path)}` (sha256 `{files.sha256(_file(path))}`)" for path in paths)
    write_domain(folder, HEADS)
    save_bundle(folder, parts, CARD.format(sources=sources), schedule=SCHEDULE, prediction="eps", prior=facts_of(paper()))


def fetch(folder: str) -> list[str]:
    """Download the two files of the public bundle by MONAI's tools; their paths.

    Raises:
        UsageError: there is no internet, or no such bundle any more.
    """
    from monai.bundle import download, download_large_files

    place = Path(folder, BUNDLE)
    logging.disable(logging.INFO)  # MONAI lists its arguments
    try:
        download(name=BUNDLE, bundle_dir=folder, progress=False)
        if not list(place.glob("models/*.p*")):
            download_large_files(str(place))
    except Exception as error:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        remedy = "fetch autoencoder.pth and diffusion_model.pth where there is, and: isovox models import brain-ldm FILE FILE"
        raise UsageError("download-failed", f"internet, and the bundle {BUNDLE} of MONAI's model zoo", got, remedy) from error
    finally:
        logging.disable(logging.NOTSET)
    return [str(path) for path in sorted(place.glob("models/*.p*"))]


# -- files --------------------------------------------------------------------------------------------------------------------


def _file(path: str) -> str:
    """The file that is meant: MLflow keeps a module below the folder that it names."""
    if not Path(path).is_dir():
        return path
    return next((str(each) for each in sorted(Path(path).rglob("*.pth"))), path)


def opened(path: str) -> dict[str, Tensor]:
    """The tensors of a file by its own names; no code of it is run.

    Raises:
        UsageError: no such file.
        WeightsError: it is neither tensors nor a module of ``PACKAGES``.
    """
    import torch
    from safetensors.torch import load_file

    file = _file(path)
    if not Path(file).is_file():
        raise UsageError("checkpoint-missing", "a checkpoint on this machine", path, "check its path")
    if file.endswith(".safetensors"):
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError:
        return tensors_of(file, PACKAGES)
    except (RuntimeError, EOFError, ValueError) as error:
        got = f"{file}: {str(error).splitlines()[0][:200]}"
        raise WeightsError("weights-unreadable", "a checkpoint by torch.save, or safetensors", got, "copy it again") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    if not state or not all(torch.is_tensor(value) for value in state.values()):
        raise WeightsError("weights-state", "tensors by name", f"others in {file}", "save the state_dict alone")
    return {name.removeprefix("module."): value for name, value in state.items()}


# -- names --------------------------------------------------------------------------------------------------------------------


def renamed(tensors: Tensors, path: str) -> tuple[str, dict[str, Tensor]]:
    """Whose tensors these are, and the same under the names of MONAI's networks.

    Args:
        tensors: by the names of one of the three layouts.
        path: where they come from, for errors.

    Raises:
        WeightsError: of neither network.
    """
    if any(name.startswith(INSIDE) for name in tensors):
        inside = {name.removeprefix(INSIDE): value for name, value in tensors.items() if name.startswith(INSIDE)}
        return DENOISER, dict(_of_authors_unet(inside))
    if "conv_in.conv.weight" in tensors:
        return DENOISER, {name.replace(".to_out.0.", ".out_proj."): value for name, value in tensors.items()}
    if any(name.startswith("decoder.blocks.") for name in tensors):
        return AUTOENCODER, {_autoencoders(name, tensors): value for name, value in tensors.items()}
    wanted, got = (
        "an autoencoder (decoder.blocks…) or a denoiser (conv_in…, model.diffusion_model…)",
        ", ".join(list(tensors)[:4]),
    )
    raise WeightsError("layout-unknown", wanted, f"{got} in {path}", "describe it by --map")


def _autoencoders(name: str, tensors: Tensors) -> str:
    """A name of an autoencoder in any of the layouts as MONAI's."""
    stem, _, kind = name.rpartition(".")
    if _is_flat(stem, tensors):
        stem += ".conv"
    stem = re.sub(r"^(decoder\.blocks\.\d+)\.conv\.conv$", r"\1.postconv.conv", stem)
    return f"{stem}.{kind}"


def _is_flat(stem: str, tensors: Tensors) -> bool:
    """Whether this is a convolution of the authors', which lies a level deeper in MONAI's; norms have one axis, they have five.

    Samplers' are called ``blocks.N.conv`` there, as MONAI's plain ones: the first of each part tells which layout it is.
    """
    weight = tensors.get(f"{stem}.weight")
    if weight is None or weight.ndim != VOLUMES:
        return False
    if not stem.endswith(".conv"):
        return True
    return stem.count(".") == SAMPLER and f"{stem.partition('.')[0]}.blocks.0.weight" in tensors


def _of_authors_unet(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Names of CompVis' U-Net as MONAI's."""
    places = _places(tensors)
    for name, value in tensors.items():
        if name.startswith(("time_embed.", "out.0.")):
            yield name, value
        elif name.startswith(("input_blocks.0.0.", "out.2.")):
            start, _, kind = name.rpartition(".")
            yield f"{'out.2' if start == 'out.2' else 'conv_in'}.conv.{kind}", value
        else:
            start = ".".join(name.split(".")[: 2 if name.startswith("middle") else 3])
            rest = name.removeprefix(f"{start}.")
            yield f"{places.get(start, start)}.{_within(rest)}", value


def _within(rest: str) -> str:
    """A name within a block."""
    for theirs, ours in RESNET.items():
        if rest.startswith(f"{theirs}."):
            return ours + rest[len(theirs) :]
    for theirs, ours in ATTENTION.items():
        if theirs.startswith("."):
            rest = rest.replace(f"{theirs}.", f"{ours}.")
        elif rest.startswith(f"{theirs}."):
            rest = ours + rest[len(theirs) :]
    return rest


def _places(tensors: Tensors) -> dict[str, str]:
    """Where each of CompVis' blocks is in MONAI's network: numbered through there, by level here."""
    rows = len({name.split(".")[1] for name in tensors if name.startswith("output_blocks.")})
    resnets = {name.rsplit(".in_layers", 1)[0] for name in tensors if ".in_layers.0." in name}
    levels = 1 + sum(f"{start.rpartition('.')[0]}.0" != start for start in resnets if start.startswith("output_blocks."))
    blocks = rows // levels - 1
    places = {"middle_block.0": "middle_block.resnet_1", "middle_block.1": "middle_block.attention"}
    places["middle_block.2"] = "middle_block.resnet_2"
    for level in range(levels):
        for n in range(blocks):
            at = 1 + level * (blocks + 1) + n
            places |= {f"input_blocks.{at}.0": f"down_blocks.{level}.resnets.{n}"}
            places |= {f"input_blocks.{at}.1": f"down_blocks.{level}.attentions.{n}"}
        places[f"input_blocks.{(level + 1) * (blocks + 1)}.0"] = f"down_blocks.{level}.downsampler"
        for n in range(blocks + 1):
            at = level * (blocks + 1) + n
            places |= {f"output_blocks.{at}.0": f"up_blocks.{level}.resnets.{n}"}
            for last in (1, 2):
                kind = f"up_blocks.{level}.upsampler" if f"output_blocks.{at}.{last}" in resnets else None
                places[f"output_blocks.{at}.{last}"] = kind or f"up_blocks.{level}.attentions.{n}"
    return places


# -- sizes --------------------------------------------------------------------------------------------------------------------


def _autoencoder_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of MONAI's autoencoder for tensors of its names."""
    numbered = sorted(
        (int(name.split(".")[2]), value.shape[0])
        for name, value in tensors.items()
        if re.fullmatch(r"decoder\.blocks\.\d+\.postconv\.conv\.weight", name)
    )
    last = max((int(name.split(".")[2]) for name in tensors if name.startswith("decoder.blocks.")), default=0)
    widest = tensors["decoder.blocks.0.conv.weight"].shape[0]
    finest = _needed(tensors, f"decoder.blocks.{last}.conv.weight").shape[1]
    inner = [width for _, width in reversed(numbered)]
    channels = (finest, *inner[:-1], widest) if numbered else (widest,)
    return autoencoder_kl(_needed(tensors, "post_quant_conv.conv.weight").shape[0], channels, math.gcd(GROUPS, *channels))


def _unet_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of MONAI's U-Net for tensors of its names."""
    levels = len({name.split(".")[1] for name in tensors if name.startswith("down_blocks.")})
    blocks = len({name.split(".")[3] for name in tensors if name.startswith("down_blocks.0.resnets.")})
    channels = tuple(_needed(tensors, f"down_blocks.{n}.resnets.0.conv1.conv.weight").shape[0] for n in range(levels))
    latent = _needed(tensors, "out.2.conv.weight").shape[0]
    conditions = _needed(tensors, "conv_in.conv.weight").shape[1] - latent
    return unet(latent, conditions, channels, math.gcd(GROUPS, *channels), blocks=blocks, upcast=True)


def _needed(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        remedy = "save the whole network, not a part of it"
        raise WeightsError("weights-unfit", f"the tensor {name}", f"{len(tensors)} others", remedy)
    return tensors[name]


CONFIGS = {AUTOENCODER: _autoencoder_config, DENOISER: _unet_config}
