"""Models: weights, what is said of them, and how foreign ones are converted."""
