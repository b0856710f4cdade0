"""Several processes as one group: each has its rank, they add up what they have, the first tells of it, failures are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.processes.ranks import run_ranks
from tasks.events import Advanced, Event

pytestmark = pytest.mark.slow


def note_sum(folder: str, tell: Callable[[Event], None]) -> None:
    from pathlib import Path

    import torch
    from torch import distributed

    total = torch.tensor([distributed.get_rank() + 1.0])
    distributed.all_reduce(total)
    for _ in range(3):
        tell(Advanced("steps", distributed.get_rank() + 1))
    Path(folder, str(distributed.get_rank())).write_text(str(total.item()))


def fail(_: str, tell: Callable[[Event], None]) -> None:
    raise ValueError("no such luck")


def test_each_process_has_a_rank_and_they_add_up(tmp_path):
    heard: list[Event] = []
    run_ranks(2, note_sum, str(tmp_path), heard.append, gpus=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "3.0", "1": "3.0"}
    assert heard == [Advanced("steps")] * 3  # the first rank's, once each


def test_a_failure_of_one_is_the_failure_of_all(tmp_path):
    with pytest.raises(ValueError, match="no such luck"):
        run_ranks(2, fail, str(tmp_path), gpus=False)
