"""The flow under the name that deployments of before have stored."""

from flows.monitor import monitor_features

__all__ = ["monitor_features"]
