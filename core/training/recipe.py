"""A recipe: how the networks of a method are trained, from sizes over objectives and examples to the model that is written.

```
preset --size--> networks by role
stage 1: network + objective + examples --loop--> its weights
stage 2: likewise; it may build on the networks of the stages before (a diffusion model on the latents of an autoencoder)
write: the weights of all stages --> the model's folder
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.data import Dataset

from core.errors import UsageError
from core.models.bundle import NETWORK, save_model
from core.models.card import Card
from core.models.scaling import Scaling
from core.networks import build
from core.networks.preset import Preset
from core.operators.forward_model import ForwardModel
from core.settings.train import Training
from core.training.batch import Batch
from core.training.data.pairs import Pairs
from core.training.objectives.base import Objective

if TYPE_CHECKING:
    from core.training.data.drawn_slices import SliceRanges
    from core.training.data.subjects import Subject


@dataclass(frozen=True)
class Context:
    """What a stage can build on.

    Attributes:
        preset: size of the stage's own network.
        training: steps, batches and seed of the stage.
        earlier: networks of the stages before, by role, with their trained weights; they do not learn any more.
        folder: URI where the stage may keep what is dear to make again; another where the networks of the stages before change.
        shared: URI where all stages may keep what does not depend on networks.
        device: for torch.
        measured: figures by name, as ``Stage.measures`` found them; empty where it measures none, or did not when it began.
        presets: sizes of the networks of all stages, by role.
    """

    preset: Preset
    training: Training
    earlier: Mapping[str, nn.Module] = field(default_factory=dict)
    folder: str = ""
    shared: str = ""
    device: str = "cpu"
    measured: Mapping[str, float] = field(default_factory=dict)
    presets: Mapping[str, Preset] = field(default_factory=dict)


@dataclass(frozen=True)
class Draw:
    """What examples are drawn of.

    Attributes:
        part: of the split, "train" or "validation".
        subjects: images of its persons.
        forward: how scans of low resolution come from them.
        patch: edge in voxels.
        seed: of all that is random.
        length: how many examples there shall be.
    """

    part: str
    subjects: Sequence[Subject]
    forward: ForwardModel
    patch: int
    seed: int
    length: int


def pairs(draw: Draw, context: Context) -> Dataset[Batch]:  # noqa: ARG001 - what a stage's examples are asked with
    """Degraded patches and their truth."""
    return Pairs(draw.subjects, draw.forward, draw.patch, draw.seed, draw.length)


@dataclass(frozen=True)
class Stage:
    """The training of one network.

    Attributes:
        objective: of the network with random weights; it may draw more random weights, as a discriminator's.
        role: of the network among those of the recipe.
        examples: to learn from and to validate with; a function of its arguments alone.
        share: of the steps that the settings say for all stages, that this one makes.
        rate: of the learning rate that the settings say for all stages, that this one learns by.
        measures: figures by name of the examples that it learns from, found once before it begins, such as the network's units;
            None: there is nothing to measure.
        arguments: of the network, by the names of such figures, which take the places of those that its size says.
    """

    objective: Callable[[nn.Module, Context], Objective]
    role: str = NETWORK
    examples: Callable[[Draw, Context], Dataset[Batch]] = pairs
    share: float = 1.0
    rate: float = 1.0
    measures: Callable[[Dataset[Batch]], Mapping[str, float]] | None = None
    arguments: Sequence[str] = ()

    def training(self, training: Training) -> Training:
        """How it is trained, of how all stages are: its own steps and learning rate where they are said, else its shares."""
        return training.of_stage(self.role, self.share, self.rate)

    def begin(self, context: Context) -> Objective:
        """The objective, its networks with random weights by torch's global generator."""
        own = self.fitted(context.preset, context.measured)
        return self.objective(build(own.network, own.config), context)

    def fitted(self, preset: Preset, measured: Mapping[str, float]) -> Preset:
        """A size of the network with what was measured for it."""
        own = {name: measured[name] for name in self.arguments if name in measured and name in preset.config}
        return replace(preset, config={**preset.config, **own})


@dataclass(frozen=True)
class Trained:
    """What all stages came to.

    Attributes:
        presets: sizes of the networks by role.
        weights: by role and name.
        card: what there is to know of the model.
        measured: figures of the examples by role and name, of stages that measured any.
    """

    presets: Mapping[str, Preset]
    weights: Mapping[str, Mapping[str, Tensor]]
    card: Card | str
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How the networks of a method are trained.

    Attributes:
        name: on the command line.
        method: that restores with what is trained.
        presets: by the size's name, a function that gives the network in that size, or the networks by role.
        stages: one after the other, each with a checkpoint of its own.
        write: writes the model into a folder, local or s3://.
        degrades: whether a forward model takes part; else the networks learn what images are like, whatever a scan shows of them.
        drawn: slices that its examples draw for themselves, each its own; None: the forward model is that of the settings.
    """

    name: str
    method: str
    presets: Mapping[str, Callable[[], Preset | Mapping[str, Preset]]]
    stages: Sequence[Stage]
    write: Callable[[str, Trained], None]
    degrades: bool = True
    drawn: SliceRanges | None = None

    def networks(self, size: str) -> dict[str, Preset]:
        """The networks in a size, by role.

        Raises:
            UsageError: a size that there is not.
        """
        if size not in self.presets:
            raise UsageError("preset-unknown", f"a size of {self.name}: {', '.join(self.presets)}", size, "choose one")
        preset = self.presets[size]()
        return {NETWORK: preset} if isinstance(preset, Preset) else dict(preset)

    def preset(self, size: str) -> Preset:
        """The network in a size, of a recipe that trains one alone.

        Raises:
            UsageError: a size that there is not.
        """
        (preset,) = self.networks(size).values()
        return preset


def write_network(folder: str, trained: Trained, *, residual: bool, scaling: Scaling | None = None) -> None:
    """Write the model of a network that works alone, on patches whose last axis is that of the slices.

    Args:
        folder: where, local or s3://.
        trained: by the recipe.
        residual: the network gives what is to be added to its input.
        scaling: the network's units, where they are not those of the examples.
    """
    (preset,), (weights,) = trained.presets.values(), trained.weights.values()
    save_model(
        folder,
        preset.network,
        preset.config,
        weights,
        trained.card,
        residual=residual,
        slices_last=True,
        multiple=preset.takes,
        scaling=scaling,
    )
