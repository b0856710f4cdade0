"""The training loop: bounded steps, moving average, checkpoints, exact resume, validation, early stop.

A step is a function of the state before it and of its number: the pairs are drawn by number, noise from a generator seeded by
it. So training that was killed and resumed from its checkpoint ends with the same bytes on a CPU.

Several processes (``torch.distributed``) share the batches of a step: each takes every n-th, and their gradients are averaged.
The first of them validates and writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam
from torch.utils.data import DataLoader, Dataset, Subset

from core.errors import RestorationError, UsageError
from core.settings.train import Training
from core.training import checkpoint
from core.training.losses import psnr
from core.training.objectives import Objective

EPSILON = 1e-8  # of Adam
SEEDS_APART = 0x9E3779B1  # batches between two seeds; torch's generator on a CPU hears the lowest 32 bits of a number alone
Batch = tuple[Tensor, Tensor]


@dataclass
class Progress:
    """How far training is.

    Attributes:
        step: steps taken.
        best: the validation's score of the weights that are kept, dB.
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


@dataclass(frozen=True)
class Watch:
    """Who is told of training.

    Attributes:
        step: told the number of steps taken, after each.
        validated: told the figures of a validation, and (input, restored, truth) of its patches.
    """

    step: Callable[[int], None] = lambda _: None
    validated: Callable[[dict[str, float], tuple[Tensor, Tensor, Tensor]], None] = lambda *_: None


class Trainer:
    """Trains an objective.

    Args:
        objective: what is learned.
        settings: how.
        pairs: to train with, at least ``settings.steps * batch * accumulate`` of them.
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
        self.optimizers = {
            name: Adam(getattr(objective, name).parameters(), settings.learning_rate, objective.betas, EPSILON)
            for name in objective.players
        }
        self.progress = Progress()
        if told := checkpoint.load(where, self._modules(), self.optimizers):
            self.progress = Progress.from_json(told)
        self.shared = DistributedDataParallel(self.objective, find_unused_parameters=True) if self.world > 1 else self.objective

    def _modules(self) -> dict[str, nn.Module]:
        return {"objective": self.objective, "average": self.average, "best": self.best}

    def run(self, watch: Watch | None = None) -> Progress:
        """Train to the last step, to the end of the time or until validation no longer improves.

        Args:
            watch: is told of it.

        Raises:
            RestorationError: where the loss is no longer finite.
        """
        watch = watch or Watch()
        saved = started = time.monotonic()
        for batches in self._groups():
            if self._together(self._over(started)):
                break
            self._step(batches)
            watch.step(self.progress.step)
            if self.progress.step % self.settings.validate_every == 0 or self.progress.step == self.settings.steps:
                watch.validated(*self.validate())
            if time.monotonic() - saved > 60 * self.settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        self.save()
        return self.progress

    def _together(self, decided: bool) -> bool:  # noqa: FBT001 - what the first process decided
        """The first process's decision, in all of them."""
        if self.world == 1:
            return decided
        told = torch.tensor([decided], dtype=torch.uint8, device=self.device)
        distributed.broadcast(told, 0)
        return bool(told.item())

    def save(self) -> None:
        """Write the checkpoint; the first process does."""
        if self.rank == 0:
            checkpoint.save(self.where, self._modules(), self.optimizers, self.progress.to_json())

    def _over(self, started: float) -> bool:
        settings, progress = self.settings, self.progress
        late = settings.minutes is not None and time.monotonic() - started > 60 * settings.minutes
        waited = (progress.step - progress.best_step) // settings.validate_every
        return late or (progress.best_step > 0 and waited >= settings.patience)

    def _groups(self) -> Iterator[list[tuple[int, Batch]]]:
        """This process's batches of each step that is still to be taken, with their numbers."""
        size, parts, workers = self.settings.batch, self.settings.accumulate, self.settings.loaders
        numbers = range(self.progress.step * parts + self.rank, self.settings.steps * parts, self.world)
        places = [number * size + n for number in numbers for n in range(size)]
        how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": self.device != "cpu"}
        group: list[tuple[int, Batch]] = []
        for number, batch in zip(numbers, DataLoader(Subset(self.pairs, places), batch_size=size, **how), strict=True):
            group.append((number, batch))
            if len(group) == parts // self.world:
                yield group
                group = []

    def _step(self, batches: Sequence[tuple[int, Batch]]) -> None:
        """One step of every player."""
        step, total = self.progress.step, 0.0
        self.objective.train()
        for player in self.objective.at_work(step):
            optimizer = self.optimizers[player]
            optimizer.zero_grad(set_to_none=True)
            for number, (inputs, truth) in batches:
                draw = torch.Generator().manual_seed((self.settings.seed * SEEDS_APART + number) % 2**32)
                with self._arithmetic():
                    loss = self.shared(player, inputs.to(self.device), truth.to(self.device), draw, step) / len(batches)
                loss.backward()
                total += float(loss.detach()) if player == "network" else 0.0
            nn.utils.clip_grad_norm_(getattr(self.objective, player).parameters(), self.settings.clip)
            _set_rate(optimizer, self.settings, step)
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
            for kept, new in zip(self.average.parameters(), self.objective.network.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
            for copy, buffer in zip(self.average.buffers(), self.objective.network.buffers(), strict=True):
                copy.copy_(buffer)

    def _arithmetic(self) -> AbstractContextManager[object]:
        precision = self.settings.precision
        return nullcontext() if precision == "float32" else torch.autocast(self.device, getattr(torch, precision))

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], tuple[Tensor, Tensor, Tensor]]:
        """Figures of the average over the held-out pairs (PSNR in dB, range 1), and those pairs."""
        parts = [self._held(*batch) for batch in DataLoader(self.held, batch_size=self.settings.batch)]
        inputs, restored, truth, scores = (torch.cat(one) for one in zip(*parts, strict=True))
        progress = self.progress
        total, steps = progress.running
        figures = {
            "step": float(progress.step),
            "loss": total / max(steps, 1),
            "psnr": float(psnr(restored, truth).mean()),
            "psnr_cubic": float(psnr(inputs, truth).mean()),
            "score": float(scores.mean()),
        }
        progress.running = (0.0, 0)
        progress.history.append(figures)
        if self.objective.keeps_last or figures["score"] > progress.best:
            progress.best, progress.best_step = figures["score"], progress.step
            self.best.load_state_dict(self.average.state_dict())
        return figures, (inputs, restored, truth)

    def _held(self, inputs: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A held-out batch: input, what the average makes of it, truth, and the scores."""
        with self._arithmetic():
            given, wanted = inputs.to(self.device), truth.to(self.device)
            restored = self.objective.restore(self.average, given).float()
            scores = self.objective.score(self.average, given, wanted, restored)
        return inputs, restored.cpu(), truth, scores.cpu()


def _set_rate(optimizer: Adam, settings: Training, step: int) -> None:
    """A linear rise over the first steps, then half a cosine down to a hundredth at the last."""
    done = step / max(settings.steps, 1)
    rate = settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / settings.warmup)
