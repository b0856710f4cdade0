"""What MLflow is told of a training while it runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from core.io import files
from tasks.tracking.tracker import experiment_id

if TYPE_CHECKING:
    from core.training.events import Validated

VOLUMES = 5  # axes of a batch of volumes
LONGEST = 300  # characters of a warning

_log = logging.getLogger(__name__)


class Log:
    """What MLflow is told of a training while it runs; where it cannot be reached, training goes on.

    Args:
        uri: MLflow's tracking URI.
        name: of the model.
        key: of this training, by which its run is found again.
        params: settings.
    """

    def __init__(self, uri: str, name: str, key: str, params: dict[str, str]) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        experiment = experiment_id(self._client, uri, "isovox training")
        known = self._client.search_runs([experiment], f"tags.training = '{key}'", max_results=1)
        run = known[0] if known else self._client.create_run(experiment, run_name=name, tags={"training": key})
        self.run_id = run.info.run_id
        self._client.update_run(self.run_id, "RUNNING")
        for one, value in params.items():
            if one not in run.data.params:
                self._client.log_param(self.run_id, one, value)

    def validated(self, event: Validated, stage: str = "") -> None:
        """A validation's figures and, of volumes, a picture; a server that is away is warned of, and does not end a training.

        Args:
            event: what the training told.
            stage: before the figures' names, where there are several.
        """
        at, start = int(event.figures["step"]), f"{stage}/" if stage else ""
        shown = event.restored.shape == event.held.truth.shape == event.held.inputs.shape and event.restored.ndim == VOLUMES
        picture = triptych(event.held.inputs, event.restored, event.held.truth) if shown else None
        try:
            for name, value in event.figures.items():
                if name != "step" and np.isfinite(value):
                    self._client.log_metric(self.run_id, start + name, value, step=at)
            if picture is not None:
                self._client.log_image(self.run_id, picture, artifact_file=f"validation/{start}{at:07d}.png")
        except Exception as error:  # noqa: BLE001 - whatever ails the tracking, the training goes on
            _log.warning("MLflow does not take the validation at step %d: %s", at, str(error)[:LONGEST])

    def end(self, status: str, model: str | None) -> None:
        """Close the run, with the model's folder where there is one."""
        if model is not None and not files.is_remote(model):
            self._client.log_artifacts(self.run_id, model, "model")
        self._client.set_terminated(self.run_id, status)


def triptych(inputs: Any, restored: Any, truth: Any, count: int = 4) -> Any:
    """Middle slices of patches side by side: input, restored, truth, their difference from the truth; uint8 (rows, columns).

    Args:
        inputs: tensor (n, 1, p, p, p) in units of the scan's 99.9th percentile; the slices' axis is the last.
        restored: likewise.
        truth: likewise.
        count: rows.
    """
    rows = []
    for a, b, c in zip(inputs[:count, 0], restored[:count, 0], truth[:count, 0], strict=True):
        cut = [np.asarray(one[one.shape[0] // 2]).T[::-1] for one in (a, b, c)]
        errors = [0.5 + 2 * (one - cut[2]) for one in cut[:2]]
        rows.append(np.concatenate([*cut, *errors], axis=1))
    return (np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8)
