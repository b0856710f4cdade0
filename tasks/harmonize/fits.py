"""ComBat of a table, whether of a scan's features or of its voxels: one function, so that both have the same numbers."""

from __future__ import annotations

from core.errors import FeaturesError
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.design import complete
from core.harmonize.tables.partly import fit_partly
from core.harmonize.tables.table import Features
from core.settings.harmonize import HarmonizeSettings


def preserved(settings: HarmonizeSettings, table: Features) -> list[str]:
    """Covariates whose effects stay: those wanted that are known of any scan."""
    return [name for name in settings.preserve if any(value is not None for value in table.covariates.get(name, ()))]


def fitted_on(settings: HarmonizeSettings, table: Features) -> Combat:
    """Fitted on the scans of known age and sex; of the others the mean is taken, also to learn what their site does.

    Raises:
        FeaturesError: covariate-missing, where no scan has all; and as ``fit_partly``.
    """
    preserve = preserved(settings, table)
    if len(table) and not len(complete(table, preserve)):
        remedy = f"complete the table, or choose one of them by --preserve {preserve[0]}"
        raise FeaturesError("covariate-missing", f"scans with {' and '.join(preserve)}", "none that has both", remedy)
    return fit_partly(table, preserve, **settings.combat_options)
