"""3D U-Net and 3D residual U-Net."""
