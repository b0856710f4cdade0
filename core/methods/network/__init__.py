"""Any network that makes one image of one image, from its model's folder."""
