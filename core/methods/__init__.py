"""Restoration methods: a folder a family, each with its declaration; ``core.methods.registry`` finds them."""
