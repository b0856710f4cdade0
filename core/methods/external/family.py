"""Programs of others."""

from core.methods.family import Family, MethodEntry

HERE = "core.methods.external.method"
QUICK = {"program": "copy"}

FAMILY = Family(
    name="external",
    title="Programs of others",
    methods=(
        MethodEntry(
            "external",
            f"{HERE}:External",
            "any program that takes a NIfTI and writes one, by a YAML file that says how it is called",
            "the program's own",
            quick=QUICK,
        ),
        MethodEntry(
            "eclare",
            f"{HERE}:EclareProgram",
            "ECLARE: a network that learns from the scan alone, once it is installed",
            "Remedios et al. 2025",
            quick=QUICK,
        ),
        MethodEntry(
            "synthsr",
            f"{HERE}:SynthSrProgram",
            "SynthSR of FreeSurfer: a T1w of 1 mm made from a scan of any contrast, once it is installed",
            "Iglesias et al. 2023",
            quick=QUICK,
        ),
        MethodEntry(
            "supersynth",
            f"{HERE}:SuperSynthProgram",
            "SuperSynth of FreeSurfer: a T1w of 1 mm made from a scan of any contrast, once it is installed",
            "Liu et al. 2025 (BrainFM)",
            quick=QUICK,
        ),
        MethodEntry(
            "bme-x",
            f"{HERE}:BmeXProgram",
            "BME-X: enhances the interpolated T1w of a person of 2 years or more, once its image is pulled",
            "Sun et al. 2025",
            quick=QUICK,
        ),
    ),
)
