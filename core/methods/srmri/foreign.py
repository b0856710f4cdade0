"""Weights of others: a checkpoint of score_sde_pytorch (Song et al. 2021), whose NCSN++ with residual input is this one's.

    model   module.all_modules.N.…, under the names that the network here has; module.sigmas: all noise levels, no weight
    ema     shadow_params: a list in the order of the parameters that learn, without the frozen frequencies (all_modules.0.W)

The moving average is taken where there is one. Sizes and levels with attention are read off the names and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import UsageError, WeightsError
from core.io import files
from core.methods.srmri.presets import LEAST, MULTIPLE, PAPER_MOST, SCORE
from core.models.bundle import Filled, save_bundle
from core.models.convert import check_tensors
from core.models.domain import Domain, write_domain

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]

INSIDE, FROZEN, SIGMAS = "all_modules.", "all_modules.0.W", "sigmas"
HEAD = 4  # modules before the first level: frequencies, two linear layers, a convolution
CARD = """# Score model, NCSN++

Imported from `{name}` (sha256 `{sha256}`), {weights} weights, step {step}. Noise from {least:g} to {most:g}.

## Limits
What slices it learned from, and in what units, is not in the file. isovox gives it the 99.9th percentile as 1.
"""


def read(paths: Sequence[str], folder: str) -> None:
    """Write the model of a checkpoint.

    Args:
        paths: one file on this machine.
        folder: of the model, to be made.

    Raises:
        UsageError: no such file, or several.
        WeightsError: no such checkpoint; tensors that are missing or left over, by name.
    """
    if len(paths) != 1:
        raise UsageError("checkpoint-count", "one checkpoint", f"{len(paths)} files", "name checkpoint_N.pth alone")
    content = _opened(paths[0])
    state = {name.removeprefix("module."): value for name, value in content["model"].items()}
    sigmas = state.pop(SIGMAS, None)
    tensors, weights = _averaged(state, content.get("ema"))
    config = config_of(tensors)
    check_tensors("NCSNpp", config, tensors)
    least, most = (LEAST, PAPER_MOST) if sigmas is None else (float(sigmas.min()), float(sigmas.max()))
    name, sha256 = files.name_of(paths[0]), files.sha256(paths[0])
    card = CARD.format(name=name, sha256=sha256, weights=weights, step=content.get("step", "unknown"), least=least, most=most)
    write_domain(folder, Domain())
    facts = {"schedule": {"kind": "geometric", "first": least, "last": most}, "prediction": "score"}
    multiple = max(MULTIPLE, 2 ** (len(config["multiples"]) - 1))
    save_bundle(folder, {SCORE: Filled("NCSNpp", config, tensors)}, card, multiple=multiple, **facts)


def _opened(path: str) -> dict[str, Any]:
    """What is in the file; no code of it is run."""
    from pathlib import Path
    from pickle import UnpicklingError

    import torch

    if not Path(path).is_file():
        raise UsageError("checkpoint-missing", "a checkpoint on this machine", path, "check its path")
    wanted, remedy = "a checkpoint of score_sde_pytorch: optimizer, model, ema, step", "name a checkpoint_N.pth"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        got = f"{path}: {str(error).splitlines()[0][:200]}"
        raise WeightsError("weights-unreadable", wanted, got, remedy) from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not any(INSIDE in name for name in state):
        got = ", ".join(list(content)[:5]) if isinstance(content, dict) else type(content).__name__
        raise WeightsError("weights-state", wanted, f"{got} in {path}", remedy)
    return dict(content)


def _averaged(state: Tensors, ema: Mapping[str, Any] | None) -> tuple[dict[str, Tensor], str]:
    """The moving average by name, and which weights these are.

    Raises:
        WeightsError: a list of another length than there are weights that learn.
    """
    shadows = list((ema or {}).get("shadow_params", []))
    if not shadows:
        return dict(state), "last"
    names = [name for name in state if name != FROZEN]
    if len(names) != len(shadows):
        got = f"{len(shadows)} for {len(names)}"
        raise WeightsError(
            "weights-shapes", "an average of each weight that learns", got, "import the checkpoint as it was saved"
        )
    return {FROZEN: state[FROZEN]} | dict(zip(names, shadows, strict=True)), "averaged"


def config_of(tensors: Tensors) -> dict[str, Any]:
    """The network's arguments, by its modules' names and shapes.

    Raises:
        WeightsError: not an NCSN++ with residual input and without progressive output.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    count = 1 + max(int(name.split(".")[1]) for name in shapes)
    pyramids = [n for n in range(count) if f"{INSIDE}{n}.Conv2d_0.weight" in shapes]
    attentions = [n for n in range(count) if f"{INSIDE}{n}.NIN_0.W" in shapes]
    if FROZEN not in shapes or not pyramids or not attentions:
        wanted, remedy = "NCSN++ with Fourier features and residual input", "import one of that kind"
        raise WeightsError("weights-architecture", wanted, f"{count} modules of another", remedy)
    width, last = shapes[FROZEN][0], pyramids[-1] + 1
    widths = [shapes[f"{INSIDE}{n}.Conv2d_0.weight"][0] for n in pyramids] + [shapes[f"{INSIDE}{last}.Conv_0.weight"][0]]
    starts = [HEAD, *(n + 1 for n in pyramids)]
    attention = [level for level, start in enumerate(starts) if start + 1 in attentions]  # after each block, so after the first
    blocks = sum(f"{INSIDE}{n}.Conv_0.weight" in shapes for n in range(HEAD, pyramids[0])) - 1  # one of them halves
    return {"width": width, "multiples": [each // width for each in widths], "blocks": blocks, "attention": attention}
