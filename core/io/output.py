"""Where things lie in an output folder, and the records of its scans; the only module that knows these names.

OUT/sub-*/…                       restored scans and sidecars (BIDS derivatives)
OUT/CITATION.md                   words to cite
OUT/report.html, OUT/reports/     pages to look at
OUT/isovox/plan.json              what will be done
OUT/isovox/cohort.zarr            the cohort's store
OUT/isovox/scans/<key>.json       the outcome of each scan
OUT/isovox/state/<key>.*          how far the restoration of a scan has come: its state, and what is told of it
"""

from __future__ import annotations

from collections.abc import Iterator

from core.engine.records import ScanRecord
from core.io import files
from core.places import at_home

END = b"</html>"
END_OF_SCRIPT = b");\n"
VOLUMES = ("input", "restored")  # that every page of every slice has beside it


class Output:
    """The output folder of a run.

    Args:
        uri: local path or s3:// prefix.
    """

    def __init__(self, uri: str) -> None:
        self.uri = at_home(uri).rstrip("/")

    def path(self, *parts: str) -> str:
        """The URI of a file in the output folder."""
        return files.join(self.uri, *parts)

    @property
    def plan(self) -> str:
        """The plan of the latest run."""
        return self.path("isovox", "plan.json")

    @property
    def store(self) -> str:
        """The cohort's Zarr store."""
        return self.path("isovox", "cohort.zarr")

    @property
    def lock(self) -> str:
        """The lock that keeps two runs apart."""
        return self.path("isovox", "lock.json")

    @property
    def flow_run(self) -> str:
        """Prefect's identifier of the run that works here."""
        return self.path("isovox", "flow-run.json")

    @property
    def ending(self) -> str:
        """What the latest run that came to its end counted."""
        return self.path("isovox", "run.json")

    @property
    def removed(self) -> str:
        """Scans that were restored and are no longer in the input, with the day when that was noticed."""
        return self.path("isovox", "removed.json")

    @property
    def redo(self) -> str:
        """The plan of restoring all again by a newer model, where there is one that was not told to be used."""
        return self.path("isovox", "plan-of-new-model.json")

    @property
    def seen(self) -> str:
        """What the input looked like to the latest run that left nothing to do."""
        return self.path("isovox", "seen.json")

    @property
    def cohort_page(self) -> str:
        """The report on the cohort."""
        return self.path("report.html")

    @property
    def citation(self) -> str:
        """A paragraph of methods on the latest run, with references."""
        return self.path("CITATION.md")

    def scan_page(self, key: str) -> str:
        """The report on one scan."""
        return self.path("reports", f"{key}.html")

    def picture(self, key: str) -> str:
        """The picture of one scan, before and after."""
        return self.path("reports", f"{key}.jpg")

    def viewer_page(self, key: str) -> str:
        """The page of every slice of one scan."""
        return self.path("reports", f"{key}_viewer.html")

    def volume(self, key: str, name: str) -> str:
        """A volume of one scan, such as "restored", as a script beside its page of every slice."""
        return self.path("reports", key, f"{name}.js")

    def thumbnail(self, key: str) -> str:
        """The picture of one scan in the cohort's mosaic."""
        return self.path("reports", key, "thumbnail.webp")

    @property
    def scan_list(self) -> str:
        """The keys of the scans that have pages, as a script for the pages to lead to one another."""
        return self.path("reports", "scans.js")

    @property
    def viewer_script(self) -> str:
        """The JavaScript that all viewers share."""
        return self.path("reports", "niivue.js")

    def record(self, key: str) -> str:
        """The record of one scan."""
        return self.path("isovox", "scans", f"{key}.json")

    def state(self, key: str) -> str:
        """The state of a restoration that goes step by step; by the key of the first of the scans that are restored together."""
        return self.path("isovox", "state", f"{key}.safetensors")

    @property
    def course(self) -> str:
        """How far the run that works here is, as it tells it."""
        return self.path("isovox", "course.json")

    def progress(self, key: str) -> str:
        """How far the restoration of a scan has come, as its worker tells it."""
        return self.path("isovox", "state", f"{key}.json")

    def write_record(self, record: ScanRecord) -> None:
        """Write a scan's record, whole or not at all."""
        files.write_json(self.record(record.key), record.model_dump(mode="json"))

    def read_record(self, key: str) -> ScanRecord | None:
        """A scan's record; None where there is none that can be read."""
        try:
            return ScanRecord.model_validate(files.read_json(self.record(key)))
        except (FileNotFoundError, ValueError):
            return None

    def records(self) -> Iterator[ScanRecord]:
        """All records in the order of their keys."""
        for name in sorted(files.listdir(self.path("isovox", "scans"))):
            if name.endswith(".json") and (record := self.read_record(name.removesuffix(".json"))) is not None:
                yield record

    def outputs_whole(self, record: ScanRecord) -> bool:
        """Whether every file that the record names is there with the recorded bytes."""
        try:
            return all(files.sha256(self.path(path)) == digest for path, digest in record.outputs.items())
        except FileNotFoundError:
            return False

    def page_whole(self, uri: str) -> bool:
        """Whether a page is there to its last tag."""
        return self._ends(uri, END)

    def volume_whole(self, key: str, name: str) -> bool:
        """Whether a volume beside a scan's page of every slice is there to its last sign."""
        return self._ends(self.volume(key, name), END_OF_SCRIPT)

    def _ends(self, uri: str, end: bytes) -> bool:
        try:
            with files.open_uri(uri) as page:
                page.seek(max(0, files.size(uri) - len(end)))
                return page.read() == end
        except FileNotFoundError:
            return False

    def reported(self, key: str) -> bool:
        """Whether a scan's pages, their volumes and its picture are there and whole."""
        whole = all(map(self.page_whole, (self.scan_page(key), self.viewer_page(key))))
        whole = whole and all(self.volume_whole(key, name) for name in VOLUMES)
        return whole and all(map(files.exists, (self.picture(key), self.thumbnail(key), self.viewer_script)))

    def done(self, key: str, digest: str) -> bool:
        """Whether a scan is finished with this digest and its files are whole: to skip before, to verify after."""
        record = self.read_record(key)
        finished = record is not None and record.state in {"done", "flagged"} and record.digest == digest and record.outputs
        return bool(finished) and record is not None and self.outputs_whole(record)
