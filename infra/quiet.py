"""How Prefect and MLflow keep to this machine and to themselves, and what a service's fault is called."""

from __future__ import annotations

from core.errors import IsovoxError

QUIET = {
    "DO_NOT_TRACK": "true",  # MLflow wants the word, not 1
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes and 1 GB for what isovox does not use
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a tracking server that is gone must not hold a run up for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # V2 asks an outside host even with analytics off
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",  # the flow's own log stays whole, on its page
}


class ServiceError(IsovoxError):
    """A server that does not start, died, or was to be reached from outside this machine."""
