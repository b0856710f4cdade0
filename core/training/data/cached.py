"""Examples that are dear to make, such as latents of an autoencoder: each is made once and kept as a file."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.data import Dataset

from core.io import files
from core.training.batch import Batch

CONDITION = "condition."  # before the names of conditions in the files


class Cached(Dataset[Batch]):
    """Changed examples by number, kept as safetensors files; the same number gives the same example in any process.

    Args:
        examples: to change.
        change: of one example, a function of it alone.
        folder: URI of these examples alone; ``core.training.recipe.Context.folder`` changes with what a stage builds on.
        distinct: how many different ones there are; beyond, they come again.
        length: how many are asked for.
    """

    def __init__(
        self, examples: Dataset[Batch], change: Callable[[Batch], Batch], folder: str, *, distinct: int, length: int
    ) -> None:
        self.examples, self.change, self.folder, self.distinct, self.length = examples, change, folder, distinct, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        """The example of that number, without the first axis; a file that is damaged is made anew."""
        number = index % self.distinct
        uri = files.join(self.folder, f"{number:07d}.safetensors")
        if files.exists(uri) and (kept := _read(uri)) is not None:
            return kept
        made = self.change(self.examples[number])
        _write(uri, made)
        return made


def _write(uri: str, example: Batch) -> None:
    from safetensors.torch import save

    conditions = {CONDITION + name: value for name, value in example.conditions.items()}
    tensors = {"inputs": example.inputs, "truth": example.truth, **conditions}
    files.write_atomic(uri, save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}))


def _read(uri: str) -> Batch | None:
    """The example that was kept; None where its file is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(files.read_bytes(uri))
        conditions = {name.removeprefix(CONDITION): value for name, value in tensors.items() if name.startswith(CONDITION)}
        return Batch(tensors["inputs"], tensors["truth"], conditions)
    except (SafetensorError, KeyError):
        return None
