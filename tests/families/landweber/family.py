"""What the family declares: a method, the recipe of its two networks, and a protocol of its own."""

from core.methods.family import Family, MethodEntry, NetworkEntry, ProtocolEntry, RecipeEntry, Reference, Takes

LANDWEBER = Reference(
    "Landweber (1951). An iteration formula for Fredholm integral equations of the first kind. "
    "American Journal of Mathematics 73(3).",
    "10.2307/2372313",
)

FAMILY = Family(
    name="landweber",
    title="Toy: gradient steps with a learned prior",
    methods=(
        MethodEntry(
            "landweber",
            "landweber.method:Landweber",
            "gradient steps towards the measured scan, each followed by a learned correction",
            "Landweber 1951",
            Takes(model=True),
            recipe="landweber",
        ),
    ),
    recipes=(RecipeEntry("landweber", "landweber.recipe:LANDWEBER", "landweber", "features, then what they correct", ("tiny",)),),
    protocols=(ProtocolEntry("every-other", "landweber.protocol:EVERY_OTHER", "every other slice kept, factor 2"),),
    networks=(
        NetworkEntry("Features", "landweber.networks", method="landweber"),
        NetworkEntry("Correction", "landweber.networks", method="landweber"),
    ),
    references={"landweber": (LANDWEBER,)},
    mock="landweber.mock:write",
)
