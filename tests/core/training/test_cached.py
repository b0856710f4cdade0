"""Examples that are dear to make: made once, the same again, and anew where their file is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from core.training.batch import Batch
from core.training.data.cached import Cached


class Numbers(Dataset[Batch]):
    """Examples that are their numbers."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> Batch:
        self.asked.append(index)
        number = torch.full((1, 2, 2), float(index))
        return Batch(number, 2 * number, {"person": torch.tensor([index])})


@pytest.mark.parametrize(
    "damage", [lambda content: content[:0], lambda content: content[:-3], lambda content: b"{" * len(content)]
)
def test_an_example_is_made_once_and_anew_where_its_file_is_damaged(tmp_path: Path, damage) -> None:
    numbers = Numbers()
    kept = Cached(numbers, lambda example: example, str(tmp_path), distinct=3, length=9)
    for index in (4, 1, 4):
        example = kept[index]
        assert (float(example.inputs.mean()), float(example.truth.mean()), int(example.conditions["person"])) == (1, 2, 1)
    assert numbers.asked == [1]
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert float(kept[1].inputs.mean()) == 1
    assert numbers.asked == [1, 1]
    assert file.read_bytes() == whole
