"""How restorations are scored and compared."""
