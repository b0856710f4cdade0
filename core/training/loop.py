"""The training loop: bounded steps, moving average, checkpoints, exact resume, validation, early stop.

A step is a function of the state before it and of its number: the pairs are drawn by number, noise from a generator seeded by
it. So training that was killed and resumed from its checkpoint ends with the same bytes on a CPU.

Several processes (``torch.distributed``) share the batches of a step: each takes every n-th, and their gradients are averaged.
The first of them validates and writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Subset

from core.errors import RestorationError, UsageError
from core.settings.train import Training
from core.training import checkpoint
from core.training.batch import Batch, joined, stacked
from core.training.events import StepTaken, Tell, Validated, nobody
from core.training.objectives.base import Objective

SEEDS_APART = 0x9E3779B1  # batches between two seeds; torch's generator on a CPU hears the lowest 32 bits of a number alone


@dataclass
class Progress:
    """How far training is.

    Attributes:
        step: steps taken.
        best: the validation's score of the weights that are kept.
        best_step: after which.
        history: a row of figures by name for each validation.
        running: sum of the losses since the last validation, and of how many steps.
    """

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    running: tuple[float, int] = (0.0, 0)

    @property
    def kept(self) -> dict[str, float]:
        """The figures of the weights that are kept; empty before the first validation."""
        return next((row for row in self.history if row["step"] == self.best_step), {})

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        return {**vars(self), "best": None if self.best == -math.inf else self.best}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Progress:
        """What ``to_json`` wrote."""
        best = -math.inf if value["best"] is None else value["best"]
        return cls(**{**value, "best": best, "running": tuple(value["running"])})


class Trainer:
    """Trains an objective.

    Args:
        objective: what is learned.
        settings: how.
        pairs: examples to train with, at least ``settings.steps * batch * accumulate`` of them.
        held: to validate with, all of them each time.
        where: URI of the checkpoint.
        device: for torch.

    Raises:
        UsageError: batches that cannot be shared evenly by the processes.
    """

    def __init__(
        self, objective: Objective, settings: Training, pairs: Dataset[Batch], held: Dataset[Batch], where: str, device: str
    ) -> None:
        self.objective, self.settings, self.device, self.where = objective.to(device), settings, device, where
        self.pairs, self.held = pairs, held
        self.rank, self.world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
        if settings.accumulate % self.world:
            wanted = f"a multiple of the {self.world} processes for --accumulate"
            raise UsageError(
                "accumulate-uneven", wanted, str(settings.accumulate), "sum as many batches as there are GPUs, or twice"
            )
        self.average = deepcopy(objective.network).requires_grad_(requires_grad=False).eval()
        self.best = deepcopy(self.average)
        self.optimizers = {name: objective.optimizer(name, settings.learning_rate) for name in objective.trained}
        self.progress = Progress()
        if stored := checkpoint.load(where, self._modules(), self.optimizers):
            self.progress = Progress.from_json(stored)
        self.shared = DistributedDataParallel(self.objective, find_unused_parameters=True) if self.world > 1 else self.objective

    def _modules(self) -> dict[str, nn.Module]:
        return {"objective": self.objective, "average": self.average, "best": self.best}

    def run(self, tell: Tell = nobody, minutes: float | None = None) -> Progress:
        """Train to the last step, to the end of the time or until validation no longer improves.

        Args:
            tell: is told of each step and validation.
            minutes: that training may take from now; None: no limit.

        Raises:
            RestorationError: where the loss is no longer finite.
        """
        saved = started = time.monotonic()
        for batches in self._groups():
            late = minutes is not None and time.monotonic() - started > 60 * minutes
            if self._together(late or self.finished):
                break
            self._step(batches)
            tell(StepTaken(self.progress.step))
            if self.progress.step % self.settings.validate_every == 0 or self.progress.step == self.settings.steps:
                tell(self.validate())
            if time.monotonic() - saved > 60 * self.settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        self.save()
        if self.world > 1:
            distributed.barrier()  # a next stage reads what the first process wrote
        return self.progress

    def _together(self, decided: bool) -> bool:  # noqa: FBT001 - what the first process decided
        """The first process's decision, in all of them."""
        if self.world == 1:
            return decided
        decision = torch.tensor([decided], dtype=torch.uint8, device=self.device)
        distributed.broadcast(decision, 0)
        return bool(decision.item())

    def save(self) -> None:
        """Write the checkpoint; the first process does."""
        if self.rank == 0:
            checkpoint.save(self.where, self._modules(), self.optimizers, self.progress.to_json())

    @property
    def finished(self) -> bool:
        """Whether the last step is taken, or validation no longer improves."""
        settings, progress = self.settings, self.progress
        waited = (progress.step - progress.best_step) // settings.validate_every
        return progress.step >= settings.steps or (progress.best_step > 0 and waited >= settings.patience)

    def _groups(self) -> Iterator[list[tuple[int, Batch]]]:
        """This process's batches of each step that is still to be taken, with their numbers."""
        size, parts, workers = self.settings.batch, self.settings.accumulate, self.settings.loaders
        numbers = range(self.progress.step * parts + self.rank, self.settings.steps * parts, self.world)
        places = [number * size + n for number in numbers for n in range(size)]
        how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": self.device != "cpu"}
        loader = DataLoader(Subset(self.pairs, places), batch_size=size, collate_fn=stacked, **how)
        group: list[tuple[int, Batch]] = []
        for number, batch in zip(numbers, loader, strict=True):
            group.append((number, batch))
            if len(group) == parts // self.world:
                yield group
                group = []

    def _step(self, batches: Sequence[tuple[int, Batch]]) -> None:
        """One step of every module that learns now."""
        step, total = self.progress.step, 0.0
        self.objective.train()
        for module in self.objective.learning(step):
            optimizer = self.optimizers[module]
            optimizer.zero_grad(set_to_none=True)
            for number, batch in batches:
                draw = torch.Generator().manual_seed((self.settings.seed * SEEDS_APART + number) % 2**32)
                with self._arithmetic():
                    loss = self.shared(module, batch.to(self.device), draw, step) / len(batches)
                loss.backward()
                total += float(loss.detach()) if module == "network" else 0.0
            nn.utils.clip_grad_norm_(getattr(self.objective, module).parameters(), self.settings.clip)
            _set_rate(optimizer, self.settings, step, self.objective.pace(step / max(self.settings.steps, 1)))
            optimizer.step()
        if not math.isfinite(total):
            wanted = f"a finite loss at step {step}"
            raise RestorationError("training-diverged", wanted, str(total), "train with a smaller --learning-rate")
        self._advance(total)

    def _advance(self, loss: float) -> None:
        progress = self.progress
        progress.step += 1
        progress.running = progress.running[0] + loss, progress.running[1] + 1
        decay = min(self.settings.ema, (1 + progress.step) / (10 + progress.step))
        with torch.no_grad():
            for averaged, new in zip(self.average.parameters(), self.objective.network.parameters(), strict=True):
                averaged.lerp_(new, 1 - decay)
            for copy, buffer in zip(self.average.buffers(), self.objective.network.buffers(), strict=True):
                copy.copy_(buffer)

    def _arithmetic(self) -> AbstractContextManager[object]:
        precision = self.settings.precision
        return nullcontext() if precision == "float32" else torch.autocast(self.device, getattr(torch, precision))

    @torch.no_grad()
    def validate(self) -> Validated:
        """Figures of the average over the held-out examples, and what it made of them."""
        parts = [self._held(batch) for batch in DataLoader(self.held, batch_size=self.settings.batch, collate_fn=stacked)]
        held = joined([batch for batch, _, _ in parts])
        restored, scores = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
        progress = self.progress
        total, steps = progress.running
        own = {name: float(each.mean()) for name, each in self.objective.figures(held, restored).items()}
        score = float(scores.mean())
        figures = {"step": float(progress.step), "loss": total / max(steps, 1), **own, "score": score}
        if not all(map(math.isfinite, figures.values())):
            wanted, got = (
                f"finite figures at step {progress.step}",
                ", ".join(f"{name} {value}" for name, value in figures.items()),
            )
            raise RestorationError("training-diverged", wanted, got, "train with a smaller --learning-rate")
        progress.running = (0.0, 0)
        progress.history.append(figures)
        early = progress.best_step < self.objective.begins
        if self.objective.keeps_last or early or score > progress.best:
            progress.best, progress.best_step = score, progress.step
            self.best.load_state_dict(self.average.state_dict())
        return Validated(figures, held, restored, tuple(self.objective.shown(held, restored)))

    def _held(self, held: Batch) -> tuple[Batch, Tensor, Tensor]:
        """A held-out batch, what the average makes of it, and the scores, on the CPU."""
        with self._arithmetic():
            batch = held.to(self.device)
            restored = self.objective.restore(self.average, batch).float()
            scores = self.objective.score(self.average, batch, restored)
        return held, restored.cpu(), scores.cpu()


def _set_rate(optimizer: Optimizer, settings: Training, step: int, pace: float) -> None:
    """The learning rate as far as it has fallen by the objective's pace, after a linear rise over the first steps."""
    rate = settings.learning_rate * pace
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / settings.warmup)
