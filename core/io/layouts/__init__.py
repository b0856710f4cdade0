"""How an input is laid out: a BIDS dataset, a folder, a table of paths."""
