"""Interpolation onto the target grid."""

from core.methods.family import Family, MethodEntry, Reference

UNSER = Reference(
    "Unser (1999). Splines: a perfect fit for signal and image processing. IEEE Signal Processing Magazine 16(6).",
    "10.1109/79.799930",
)

FAMILY = Family(
    name="interpolation",
    title="Interpolation",
    methods=(
        MethodEntry(
            "nearest",
            "core.methods.interpolation.method:Nearest",
            "the nearest measured voxel: what the scan looks like as it is",
            "splines of order 0",
        ),
        MethodEntry("linear", "core.methods.interpolation.method:Linear", "linear interpolation", "splines of order 1"),
        MethodEntry(
            "cubic",
            "core.methods.interpolation.method:Cubic",
            "cubic B-spline interpolation, the baseline that every other method has to beat",
            "Unser 1999, interpolating splines of order 3",
            baseline=True,
        ),
    ),
    references={
        "nearest": (UNSER,),
        "linear": (UNSER,),
        "cubic": (UNSER,),
    },
)
