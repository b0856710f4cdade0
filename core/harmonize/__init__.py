"""Several sites made comparable: features a scan, what of them is the site's, and how it is taken away."""
