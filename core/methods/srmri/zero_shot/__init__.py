"""Restoration of a scan by networks that learn from it alone: KernelGAN finds how it was reduced, ZSSR undoes that."""
