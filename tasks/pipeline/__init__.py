"""The main job: discover, plan, ingest, export, quality, verify, clean."""
