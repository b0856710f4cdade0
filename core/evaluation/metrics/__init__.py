"""Image quality against a reference."""

from core.evaluation.metrics.image import ms_ssim, nrmse, psnr, ssim

__all__ = ["ms_ssim", "nrmse", "psnr", "ssim"]
