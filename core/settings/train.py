"""Training of a network on a cohort."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from core.settings.base import Command, FormOnly, PerStage, Settings
from core.settings.degradation import DEGRADATION, Degradation
from core.settings.run import Compute
from core.settings.scans import SELECTION, Selection


class StageTraining(Settings):
    """What differs for one stage of a recipe."""

    steps: int | None = Field(None, ge=1, title="Steps", description="of the optimiser, at most")
    learning_rate: float | None = Field(None, gt=0, title="Learning rate", description="of Adam")


class Training(Settings):
    """How a network learns."""

    steps: Annotated[int, PerStage()] = Field(
        20_000, ge=1, title="Steps", description="of the optimiser in each stage, at most; or STAGE=NUMBER"
    )
    minutes: float | None = Field(None, gt=0, title="Minutes", description="of training in this call, at most; the next goes on")
    batch: int = Field(4, ge=1, title="Batch", description="patches at once")
    accumulate: int = Field(1, ge=1, title="Accumulate", description="batches whose gradients are summed before a step")
    patch: int | None = Field(None, ge=16, title="Patch", description="edge in voxels; default: the preset's")
    learning_rate: Annotated[float, PerStage()] = Field(
        3e-4, gt=0, title="Learning rate", description="of Adam, at its height: it falls as the recipe says; or STAGE=NUMBER"
    )
    warmup: int = Field(100, ge=1, title="Warm-up", description="steps over which the learning rate rises")
    clip: float = Field(1.0, gt=0, title="Clip", description="largest norm of a gradient")
    ema: float = Field(0.999, ge=0, lt=1, title="EMA", description="decay of the moving average of the weights, which restores")
    precision: Literal["float32", "bfloat16"] = Field("float32", title="Precision", description="of the arithmetic")
    validate_every: int = Field(500, ge=1, title="Validate every", description="steps")
    validation_pairs: int = Field(
        32, ge=1, title="Validation pairs", description="patches of the held-out persons, always the same"
    )
    patience: int = Field(20, ge=1, title="Patience", description="validations without a better one, after which training ends")
    checkpoint_minutes: float = Field(3.0, ge=0, title="Checkpoint", description="minutes between checkpoints")
    loaders: int = Field(0, ge=0, title="Loaders", description="processes that draw patches; 0: the training process itself")
    seed: int = Field(0, ge=0, lt=2**63, title="Seed", description="of weights, patches and noise")
    stages: Annotated[dict[str, StageTraining], FormOnly()] = Field(
        {}, title="Stages", description="what differs for a stage of the recipe, by its name"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_stage(cls, values: Any) -> Any:
        """``steps: {autoencoder: 1000}``, or words such as autoencoder=1000, say steps of stages; a plain number those of all."""
        if not isinstance(values, dict):
            return values
        stages = {name: dict(own) for name, own in dict(values.get("stages") or {}).items()}
        plain = {name: value for name, value in values.items() if name != "stages"}
        for field in ("steps", "learning_rate"):
            number, own = _said(plain.pop(field, None))
            plain |= {} if number is None else {field: number}
            for name, value in own.items():
                stages.setdefault(name, {})[field] = value
        return plain | ({"stages": stages} if stages else {})

    @model_serializer(mode="wrap")
    def _where_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Stages are left out where nothing differs: what was trained before goes on."""
        return {name: value for name, value in write(self).items() if name != "stages" or value}

    def of_stage(self, name: str, share: float = 1.0, rate: float = 1.0) -> Training:
        """How one stage is trained.

        Args:
            name: of the stage.
            share: of the steps of all stages, that it makes unless its own are said.
            rate: of the learning rate of all stages, likewise.
        """
        own = self.stages.get(name, StageTraining())
        steps = own.steps or max(1, round(share * self.steps))
        return self.model_copy(
            update={"steps": steps, "learning_rate": own.learning_rate or rate * self.learning_rate, "stages": {}}
        )


def _said(value: Any) -> tuple[Any, dict[str, Any]]:
    """The number for all stages, and those of stages by name."""
    if isinstance(value, dict):
        return None, value
    words = list(value) if isinstance(value, list | tuple) else [value]
    named = [word for word in words if isinstance(word, str) and "=" in word]
    numbers = [word for word in words if word not in named]
    pairs = (word.partition("=") for word in named)
    return (numbers[0] if len(numbers) == 1 else numbers or None), {name: number for name, _, number in pairs}


class Split(Settings):
    """Which persons are trained on; the rest of the cohort."""

    validation: tuple[str, ...] = Field(
        (), title="Validation", description="labels of the held-out persons; default: every eighth"
    )
    test: tuple[str, ...] = Field((), title="Test", description="labels of persons that training must never see")


def _recipes(schema: dict[str, Any]) -> None:
    """A form offers the recipes that there are."""
    from core.methods import registry

    schema["enum"] = list(registry.recipes())


def _presets(schema: dict[str, Any]) -> None:
    """A form offers the sizes that there are."""
    from core.methods import registry

    schema["enum"] = list(dict.fromkeys(size for recipe in registry.recipes().values() for size in recipe.presets))


class TrainSettings(Command):
    """Training of a method's networks on a cohort, by a recipe."""

    recipe: str = Field(title="Recipe", description="what is trained, and how", json_schema_extra=_recipes)
    cohort: str = Field(
        title="Cohort",
        description="BIDS dataset, folder of NIfTI, or TSV table of sharp scans; local or s3://",
        examples=["/data/sharp"],
    )
    out: str | None = Field(None, title="Output", description="folder of the training; default: by name in isovox's own folder")
    name: str | None = Field(None, title="Name", description="of the model in the registry; default: the recipe's")
    preset: str = Field("small", title="Preset", description="size of the network", json_schema_extra=_presets)
    pretrained: str | None = Field(
        None,
        title="Pretrained",
        description="model of this recipe and size whose weights the training begins with: a folder, or models:/name@alias; "
        "default: random ones",
        examples=["/data/model"],
    )
    degradation: Degradation = DEGRADATION
    training: Training = Field(Training(), title="Training", description="steps, batches, learning rate and when to stop")
    split: Split = Field(Split(), title="Split", description="which persons validate, and which the training must never see")
    compute: Compute = Field(
        Compute(),
        title="Compute",
        description="where scans are taken in; the training itself runs here, on all GPUs that there are",
    )
    selection: Selection = SELECTION
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    tracking_uri: str | None = Field(
        None, title="MLflow tracking URI", description="default: a sqlite file in isovox's own folder"
    )

    @model_validator(mode="before")
    @classmethod
    def _formerly(cls, values: Any) -> Any:
        """What is called recipe now was called method once: files and schedules from then say so."""
        if isinstance(values, dict) and "method" in values and "recipe" not in values:
            return {"recipe" if name == "method" else name: value for name, value in values.items()}
        return values

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        """A recipe that is not there is refused, and a size that it does not have."""
        from core.methods import registry

        sizes = registry.recipe_entry(self.recipe).presets
        if self.preset not in sizes:
            raise registry.unknown("preset-unknown", self.preset, sizes, f"choose one for {self.recipe}")
        return self
