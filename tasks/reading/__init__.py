"""Blind reading: series are made of restored scans, readers answer, and the answers are scored."""
