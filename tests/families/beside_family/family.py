"""Methods that take what lies beside a scan."""

from core.methods.family import Family, MethodEntry, Takes


def entry(name, mask, covariates=()):
    takes = Takes(mask=mask, covariates=covariates)
    return MethodEntry(name, f"beside_family.method:{name.title()}", "fills", "for tests", takes)


FAMILY = Family("beside_family", "for tests", (entry("filling", "optional", ("age", "sex")), entry("needing", "needed")))
