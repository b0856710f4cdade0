"""How isovox is deployed and scheduled: forms, cohorts, automations and notifications on a Prefect server."""
