"""ComBat of a table, whether of a scan's features or of its voxels: one function, so that both have the same numbers."""

from __future__ import annotations

from core.harmonize.tables.combat import Combat
from core.harmonize.tables.design import complete
from core.harmonize.tables.table import Features
from core.settings.harmonize import HarmonizeSettings


def preserved(settings: HarmonizeSettings, table: Features) -> list[str]:
    """Covariates whose effects stay: those wanted that are known of any scan."""
    return [name for name in settings.preserve if any(value is not None for value in table.covariates.get(name, ()))]


def fitted_on(settings: HarmonizeSettings, table: Features) -> Combat:
    """Fitted on the scans of known age and sex; of the others the mean is taken, also to learn what their site does.

    Raises:
        FeaturesError: as ``Combat.fit``.
    """
    preserve = preserved(settings, table)
    fitted = Combat.fit(complete(table, preserve), preserve, **settings.combat_options)
    return fitted.extend(table, 1, missing="mean")
