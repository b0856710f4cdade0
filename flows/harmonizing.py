"""The flow under the name that deployments of before have stored."""

from flows.harmonize import harmonize_sites

__all__ = ["harmonize_sites"]
