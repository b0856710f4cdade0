"""A method that tells more than its image."""

from core.methods.family import Family, MethodEntry, Takes

ENTRY = MethodEntry("telling", "mapping_family.method:Telling", "tells", "for tests", Takes(scans="several"))
FAMILY = Family("mapping_family", "for tests", (ENTRY,))
