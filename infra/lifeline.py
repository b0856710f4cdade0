"""``infra.processes.parent_death`` under the name that images and settings of before have stored."""

from infra.processes.parent_death import dask_setup

__all__ = ["dask_setup"]
