"""How isovox is deployed and scheduled."""
