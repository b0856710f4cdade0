"""A family of one folder, the example of CONTRIBUTING: gradient steps towards the scan, and a prior in two parts."""
