"""Voxels on their way: the store, slabs of a scan as it is read, arrays by name in one file."""
