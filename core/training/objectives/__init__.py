"""What networks are trained for, one objective a file; a family's recipe names one, or brings its own."""
