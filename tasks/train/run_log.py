"""What MLflow is told of a training while it runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.io import files
from tasks.tracking.address import run_page
from tasks.tracking.tracker import experiment_id

if TYPE_CHECKING:
    from core.training.events import Validated

LONGEST = 300  # characters of a warning

_log = logging.getLogger(__name__)


class Log:
    """What MLflow is told of a training while it runs; where it cannot be reached, training goes on.

    Args:
        uri: MLflow's tracking URI.
        name: of the model.
        key: of this training, by which its run is found again.
        params: settings.

    Attributes:
        page: the address where a server shows it; None without one.
    """

    def __init__(self, uri: str, name: str, key: str, params: dict[str, str]) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        experiment = experiment_id(self._client, uri, "isovox training")
        known = self._client.search_runs([experiment], f"tags.training = '{key}'", max_results=1)
        run = known[0] if known else self._client.create_run(experiment, run_name=name, tags={"training": key})
        self.run_id = run.info.run_id
        self.page = run_page(uri, experiment, self.run_id)
        self._client.update_run(self.run_id, "RUNNING")
        for parameter, value in params.items():
            if parameter not in run.data.params:
                self._client.log_param(self.run_id, parameter, value)

    def validated(self, event: Validated, stage: str = "") -> None:
        """A validation's figures and, of volumes, a picture; a server that is away is warned of, and does not end a training.

        Args:
            event: what the training told.
            stage: before the figures' names, where there are several.
        """
        at, start = int(event.figures["step"]), f"{stage}/" if stage else ""
        picture = mosaic(event.shown) if event.shown else None
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


def mosaic(shown: Sequence[Any], count: int = 4) -> Any:
    """Middle slices of volumes side by side, a row for each of the first ones; uint8 (rows, columns).

    Args:
        shown: tensors (n, 1, x, y, z) from 0 (black) to 1.
        count: rows.
    """
    rows = [
        np.concatenate([np.asarray(volume[volume.shape[0] // 2]).T[::-1] for volume in volumes], axis=1)
        for volumes in zip(*(each[:count, 0] for each in shown), strict=True)
    ]
    return (np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8)
