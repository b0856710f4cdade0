"""What a run takes from the group that it runs in, where its settings do not say otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

Settings = TypeVar("Settings", bound=BaseModel)


def of_group(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings of runs in a group that follow from its services: where MLflow is, and the cluster."""
    defaults: dict[str, Any] = {}
    if uri := environ.get("MLFLOW_TRACKING_URI"):
        defaults["tracking_uri"] = uri
    if cluster := environ.get("ISOVOX_CLUSTER"):
        defaults["compute"] = {"cluster": cluster}
    return defaults


def with_group(settings: Settings) -> Settings:
    """Settings of a deployed run, with the group's services in place of what they do not say; others as they are.

    Who starts a run by the API may leave out what the form would have filled in.
    """
    from prefect.runtime import deployment

    return filled(settings, of_group(os.environ)) if deployment.id else settings


def filled(settings: Settings, defaults: Mapping[str, Any]) -> Settings:
    """Settings with these defaults where nothing was said, field by field."""
    update = {}
    for name, default in defaults.items():
        if name not in type(settings).model_fields:
            continue
        value = getattr(settings, name)
        if isinstance(value, BaseModel) and isinstance(default, Mapping):
            update[name] = filled(value, default)
        elif name not in settings.model_fields_set:
            update[name] = default
    return settings.model_copy(update=update)
