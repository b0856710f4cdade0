"""Protocols that all families share, one a module; the registry finds them by listing this folder."""
