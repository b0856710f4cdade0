"""Arrays in, arrays out: geometry, tiling, operators, methods, metrics and files of isovox."""

__version__ = "0.1.0"
