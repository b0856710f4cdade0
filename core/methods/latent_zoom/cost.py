"""What latent zoom costs, counted on a device without memory: operations, and what each network holds at its peak.

    volume of N slices, n between two: N x steps x denoiser + ((N - 1)(n + 1) + 1) x (decoder + what sharpens)

So the work grows in a line with n, and a slice more costs its decoding, whatever the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.methods.latent_zoom import latent
from core.methods.latent_zoom.presets import AUTOENCODER, DEBLUR, DENOISER, FINER, LATENT
from core.networks import build
from core.networks.preset import Preset


@dataclass(frozen=True)
class Cost:
    """Of slices of one size.

    Attributes:
        step: floating-point operations of the denoiser, once, a slice.
        decoder: of the decoder, a slice.
        deblur: of what sharpens decoded slices, a slice.
        peak: bytes of activations at the peak of the one of the three that takes most, a slice, float32; libraries may take
            some more for themselves.
        weights: bytes of the three networks, float32.
    """

    step: int
    decoder: int
    deblur: int
    peak: int
    weights: int

    @property
    def added(self) -> int:
        """Operations of one slice more between two others."""
        return self.decoder + self.deblur

    def flops(self, slices: int, between: int, steps: int) -> int:
        """Operations of a volume.

        Args:
            slices: that were measured.
            between: new ones between two of these.
            steps: of the sampler.
        """
        return slices * steps * self.step + ((slices - 1) * (between + 1) + 1) * self.added


def cost_of(parts: Mapping[str, Preset], rows: int, columns: int) -> Cost:
    """What a system costs for fine slices of some rows and columns, multiples of 4.

    Args:
        parts: its networks by role.
        rows: of a restored slice.
        columns: likewise.
    """
    with torch.device("meta"), torch.no_grad():
        vq, unet, edsr = (build(parts[role].network, parts[role].config).eval() for role in (AUTOENCODER, DENOISER, DEBLUR))
        channels = parts[DEBLUR].config["channels"]
        codes = torch.empty(1, LATENT, rows // FINER, columns // FINER)
        coarsest = 2 ** (len(parts[DENOISER].config["block_out_channels"]) - 1)
        sides = [-(-n // coarsest) * coarsest for n in codes.shape[2:]]  # that the U-Net is shown, see ``latent.denoiser``
        noisy, shown = torch.empty(1, LATENT, *sides), torch.empty(1, 1, *sides)
        image = torch.empty(1, channels, rows, columns)
        step, peak_of_step = counted(lambda: latent.told(unet, noisy, shown, torch.zeros(1)))
        decoder, peak_of_decoder = counted(lambda: latent.decode(vq, codes))
        deblur, peak_of_deblur = counted(lambda: edsr(image))
    weights = sum(4 * weight.numel() for network in (vq, unet, edsr) for weight in network.parameters())
    return Cost(step, decoder, deblur, max(peak_of_step, peak_of_decoder, peak_of_deblur), weights)


def counted(run: Callable[[], Tensor]) -> tuple[int, int]:
    """Floating-point operations of a run, and bytes of the tensors that it made and that live at once at its peak."""
    from torch.multiprocessing.reductions import StorageWeakRef
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode  # takes seconds to import

    class Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Hears of every tensor that is made."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.alive: dict[int, tuple[Any, int]] = {}
            self.peak = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
            for tensor in made if isinstance(made, tuple | list) else (made,):
                if isinstance(tensor, Tensor):
                    reference = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
                    self.alive[reference.cdata] = reference, tensor.untyped_storage().nbytes()
            self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
            return made

    with FlopCounterMode(display=False) as operations, Living() as tensors, torch.no_grad():
        run()
    return operations.get_total_flops(), tensors.peak
