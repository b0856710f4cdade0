"""Prefect tasks, and what a Dask worker runs."""
