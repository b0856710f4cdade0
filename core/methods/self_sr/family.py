"""The scan as its own teacher."""

from core.methods.family import Family, MethodEntry, Takes

FAMILY = Family(
    name="self_sr",
    title="The scan as its own teacher",
    methods=(
        MethodEntry(
            "self-sr",
            "core.methods.self_sr.method:SelfSR",
            "a network that learns from the scan's sharp in-plane detail how to sharpen across the slices",
            "after Zhao et al. 2020 (SMORE) and Remedios et al. 2025 (ECLARE)",
            Takes(model=True),
            quick={"steps": 3},
            model="anyscan",
            without_model={"start": "none"},
        ),
    ),
    mock="core.methods.anyscan.mock:write",
)
