"""The registry of models, and promotion."""
