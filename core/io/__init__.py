"""Files in and out: NIfTI, DICOM, BIDS, the Zarr store, weights."""
