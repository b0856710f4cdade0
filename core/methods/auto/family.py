"""The method that suits a scan, chosen by what is known of it."""

from core.methods.family import Family, PickerEntry

FAMILY = Family(
    name="auto",
    title="Choice by the scan",
    methods=(),
    pickers=(
        PickerEntry(
            "auto",
            "core.methods.auto.pick:ranked",
            "core.methods.auto.pick:among",
            "the method that did best on such scans in evaluations, told in plan, sidecar and page",
            "measured by contrast, distance of the slices and gap on persons held out: table.json of the family",
        ),
    ),
)
