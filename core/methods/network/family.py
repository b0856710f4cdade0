"""Any network that makes one image of one image of the same shape."""

from core.methods.family import Family, MethodEntry, Takes

FAMILY = Family(
    name="network",
    title="Any network",
    methods=(
        MethodEntry(
            "network",
            "core.methods.network.method:AnyNetwork",
            "a network that makes one image of one image, in patches; its model is named by --model",
            "the model's own card",
            Takes(model=True),
            champion=False,
        ),
    ),
    mock="core.methods.network.mock:write",
    references={
        "network": (),
    },
)
