"""Sites made comparable."""
