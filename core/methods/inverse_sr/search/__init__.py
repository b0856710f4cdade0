"""The searches: what scans say of an image, where a search starts, and how it goes down."""
