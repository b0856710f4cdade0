"""What networks learn from: the images of persons, pairs of patches drawn from them, and who is left out."""
