"""DICOM: single files, and the series that they make."""
