"""Pages to look at: one HTML file a scan and one for the cohort, opened from disk, asking no host for anything."""

from tasks.report.pages import cohort_page, scan_page
from tasks.report.pictures import scan_picture, thumbnail
from tasks.report.viewer import niivue, viewer_of
from tasks.report.views import CohortView, ScanView

__all__ = ["CohortView", "ScanView", "cohort_page", "niivue", "scan_page", "scan_picture", "thumbnail", "viewer_of"]
