"""What a family of methods declares of itself, without importing any of its code.

A family is a folder of ``core/methods`` with a ``family.py`` that holds ``FAMILY = Family(...)``. Whatever wants a method,
a recipe, a protocol or a network by name finds it there, through ``core.methods.registry``. Objects are named as
"module:attribute" and imported where they are used, so that listing what there is costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Takes:
    """What a method restores from.

    Attributes:
        scans: one scan at a time, or also several of one person together (``--fuse``).
        mask: a mask beside the scan, True where nothing was measured.
        model: trained weights.
        covariates: columns of participants.tsv that it uses where they are known ("age", "sex").
    """

    scans: Literal["one", "several"] = "one"
    mask: Literal["none", "optional", "needed"] = "none"
    model: bool = False
    covariates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A paper to cite.

    Attributes:
        text: authors, year, title and where it appeared, without the DOI.
        doi: "10.…".
    """

    text: str
    doi: str


@dataclass(frozen=True)
class MethodEntry:
    """A way to restore scans.

    Attributes:
        name: on the command line, in forms and in output paths: "unet-3d".
        where: its class, a ``core.methods.base.Method``: "core.methods.unet.method:UNet3D".
        title: one line.
        source: paper and equation.
        takes: what it restores from.
        recipe: name of the recipe that trains its network; "" where it needs no training.
        quick: options by which it restores a small scan in moments, for tests.
        champion: where no model is named it restores with its champion of the registry; False: its model must be named.
        model: name of that champion where several methods restore with one; "": the method's own.
        without_model: options, any of which lets it restore without a model.
        baseline: it is the one that all others are compared with: splines of order 3, which the engine itself can make of a scan.
    """

    name: str
    where: str
    title: str
    source: str
    takes: Takes = Takes()
    recipe: str = ""
    quick: Mapping[str, Any] = field(default_factory=dict)
    champion: bool = True
    model: str = ""
    without_model: Mapping[str, Any] = field(default_factory=dict)
    baseline: bool = False

    @property
    def model_name(self) -> str:
        """Name in the registry of the model with whose champion it restores."""
        return self.model or self.name


@dataclass(frozen=True)
class PickerEntry:
    """A choice among methods by what is known of a scan; named as a method is.

    Attributes:
        name: on the command line, in forms: "auto".
        where: "module:function" of (facts: ``core.models.domain.Facts``, models: Mapping[str, str]) -> Sequence[tuple[str, str]]:
            methods by name, the best first, each with why; ``models`` are the sha256 of those in use, by method. Of the methods
            the first one takes the scan that is for all that is known of it; the last one must be for any scan.
        among: "module:function" of () -> Sequence[str]: all methods that it may name, the one for any scan last.
        title: one line.
        source: what the choice rests on.
    """

    name: str
    where: str
    among: str
    title: str
    source: str


@dataclass(frozen=True)
class RecipeEntry:
    """A way to train a network.

    Attributes:
        name: on the command line: "diffusion-iqt-base".
        where: a ``core.training.recipe.Recipe``: "core.methods.diffusion_iqt.recipe:BASE".
        method: name of the method that restores with what it trains.
        title: one line.
        presets: names of the network's sizes, largest first.
    """

    name: str
    where: str
    method: str
    title: str
    presets: tuple[str, ...]


@dataclass(frozen=True)
class ProtocolEntry:
    """A way to evaluate methods.

    Attributes:
        name: on the command line: "thick-slice".
        where: a ``core.evaluation.protocol.Protocol``.
        title: one line.
    """

    name: str
    where: str
    title: str


@dataclass(frozen=True)
class NetworkEntry:
    """A class of network that a model's config.json may name.

    Attributes:
        name: of the class.
        module: that it is in.
        method: name of the method that knows how to apply it; "": it makes one image of one image of the same shape, which every
            method of ``core.methods.patch_network`` can apply.
        restores: False for what only takes part in training.
    """

    name: str
    module: str
    method: str = ""
    restores: bool = True


@dataclass(frozen=True)
class ForeignEntry:
    """A model of others that isovox can take in.

    Attributes:
        name: on the command line and in the registry: "brain-ldm".
        reads: "module:function" of (paths: Sequence[str], folder: str) -> None, which writes its files as a bundle.
        title: one line: what its files are.
        fetches: "module:function" of (folder: str) -> Sequence[str], which downloads its files; "" where they cannot be had so.
    """

    name: str
    reads: str
    title: str
    fetches: str = ""


@dataclass(frozen=True)
class Family:
    """Methods that belong together, and all that is theirs.

    Attributes:
        name: of the folder.
        title: one line.
        methods: ways to restore.
        pickers: choices among methods.
        recipes: ways to train.
        protocols: ways to evaluate.
        networks: classes of networks that models of this family name.
        key_maps: by the name of a foreign layout, "module:function" that reads it (``core.models.convert.Reads``).
        foreign: models of others that it can take in.
        references: papers to cite by the name of a method; of each method, an empty tuple where only its user knows what it is.
        mock: "module:function" of (folder: str, method: str) -> None, which writes a tiny model, seeded, in milliseconds.
        folder: where the declaration lies; the registry fills it in.
    """

    name: str
    title: str
    methods: tuple[MethodEntry, ...]
    pickers: tuple[PickerEntry, ...] = ()
    recipes: tuple[RecipeEntry, ...] = ()
    protocols: tuple[ProtocolEntry, ...] = ()
    networks: tuple[NetworkEntry, ...] = ()
    key_maps: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[ForeignEntry, ...] = ()
    references: Mapping[str, tuple[Reference, ...]] = field(default_factory=dict)
    mock: str = ""
    folder: Path = Path()

    def weights(self, method: str) -> Path:
        """Folder of the weights that isovox brings for a method, whether or not it brings any."""
        return self.folder / "weights" / method
