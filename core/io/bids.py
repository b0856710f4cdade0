"""What is there to restore: a BIDS dataset, a folder of images, or a table of paths; local or on S3.

A table (.tsv, tab-separated, ``n/a`` for nothing) has the column ``path`` (of an image or a DICOM folder; absolute, a URI,
or relative to the table) and may have ``participant_id``, ``session_id``, ``suffix``, ``reference`` (path of the truth) and
``mask`` (path of the voxels that were not measured, for methods that take one); further columns are ignored.
"""

from __future__ import annotations

from core.errors import AccessError, UsageError, naming
from core.io import files, readers, s3
from core.io.inventory.entries import Entry, Listing, listing
from core.io.layouts.base import Discovery
from core.io.layouts.bids import from_bids, is_bids
from core.io.layouts.folder import from_folder
from core.io.layouts.table import from_table
from core.io.names import Entities, is_nifti, without_extension
from core.io.scans import Refused, Source
from core.settings.scans import Selection

__all__ = ["Discovery", "Entities", "Refused", "Source", "discover", "is_nifti", "label_images", "survey", "without_extension"]

TABLES = (".csv", ".txt", ".xlsx", ".xls", ".ods")


def _found(uri: str, selection: Selection, out: str) -> Discovery:
    if not files.exists(uri):
        raise UsageError("input-missing", "a dataset, folder or table", f"nothing at {uri}", "check the path")
    if not files.is_folder(uri):
        return from_table(uri, selection) if uri.lower().endswith(".tsv") else _from_file(uri, selection)
    here = listing(uri, out)
    if is_bids([entry.path for entry in here.entries]):
        return from_bids(uri, here, selection)
    return from_folder(uri, here, selection)


def _from_file(uri: str, selection: Selection) -> Discovery:
    """One image; the other file of a pair is found beside it."""
    if uri.lower().endswith(TABLES):
        remedy = "save it as .tsv: text in UTF-8, separated by tabs"
        raise UsageError("input-unread", "a folder, an image or a table .tsv", files.name_of(uri), remedy)
    folder, name = files.parent_of(uri), files.name_of(uri)
    return from_folder(folder, Listing([Entry(name, uri), *readers.partners(uri)]), selection)


def survey(input_uri: str, selection: Selection | None = None, out: str = "") -> Discovery:
    """Find the scans to restore, in the order of their keys, and account for every file.

    Args:
        input_uri: BIDS dataset, folder of images, one image, or table (.tsv); local or s3://.
        selection: participants, sessions, suffixes, acquisitions and exclusions; by default all intensities (in BIDS, in anat/).
        out: of the run, not looked into where it lies below the input.

    Returns:
        the scans, those refused with the reason, and the ledger.

    Raises:
        UsageError: there is nothing at ``input_uri``, it may not be read, nothing was selected, or a label is not there.
    """
    try:
        discovery = _found(input_uri.rstrip("/") or "/", selection or Selection(), out)
    except AccessError as error:
        raise UsageError("input-forbidden", error.wanted, error.got, error.remedy) from error
    except Exception as error:
        if not s3.is_forbidden(error):
            raise
        raise UsageError("input-forbidden", f"permission to read {input_uri}", str(error), "check its permissions") from error
    discovery.unique()
    if not discovery.scans:
        account = discovery.ledger.account().lines()
        got = f"no scan in {input_uri}" + (f" ({'; '.join(account)})" if account else "")
        raise UsageError("no-scans", "at least one scan", got, "check the path, the labels and the suffixes")
    discovery.scans.sort(key=lambda scan: scan.key)
    return discovery


def label_images(uri: str) -> list[Source | Refused]:
    """The label images that a table names, or those (_dseg) of a dataset or folder.

    Raises:
        UsageError: as ``survey``.
    """
    if not uri.lower().endswith(".tsv") or files.is_folder(uri):
        with naming("--suffix", "--labels"):
            return discover(uri, Selection(suffix=("dseg",)))
    if not files.exists(uri):
        raise UsageError("input-missing", "a table of label images", f"nothing at {uri}", "check the path")
    discovery = from_table(uri, Selection(), labels=True)
    discovery.unique()
    return discovery.scans


def discover(input_uri: str, selection: Selection | None = None) -> list[Source | Refused]:
    """The scans that ``survey`` finds.

    Raises:
        UsageError: as ``survey``.
    """
    return survey(input_uri, selection).scans
