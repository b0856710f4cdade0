"""What a group needs on one machine: Prefect, MLflow, a work pool with its worker and a Dask cluster, supervised."""
