"""Linear operators inside a network's computation: searches through a generative model follow their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import GridError
from core.operators.linear import LinearOperator

Map = Callable[[NDArray[Any]], NDArray[Any]]


def as_torch(operator: LinearOperator) -> Callable[[Tensor], Tensor]:
    """The operator as a differentiable function of tensors.

    The gradient of a linear map is its adjoint, and the gradient of that the map again, so it may be differentiated any number of
    times. The arithmetic is the operator's own, on the CPU; tensors of a GPU go there and back.

    Args:
        operator: A.

    Returns:
        a function of a float32 or float64 tensor (…, x, y, z) of ``operator.shape_in``, batch and channels before the axes,
        that gives A of each image, in the same type and on the same device.

    Raises:
        GridError: tensor-shape, from the function, for a tensor of another shape.
    """

    def apply(images: Tensor) -> Tensor:
        if images.shape[-3:] != operator.shape_in:
            got = str(tuple(images.shape))
            raise GridError(
                "tensor-shape", f"a tensor (…, {str(operator.shape_in)[1:-1]})", got, "crop or pad it to the target grid"
            )
        return _Linear.apply(images, operator.forward, operator.adjoint)  # type: ignore[no-any-return, no-untyped-call]

    return apply


class _Linear(torch.autograd.Function):
    """A linear map and its adjoint, each the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, there: Map, back: Map) -> Tensor:
        """A of each image."""
        ctx.there, ctx.back = there, back
        arrays = images.detach().cpu().numpy()
        flat = arrays.reshape(-1, *arrays.shape[-3:])
        seen = np.stack([there(image) for image in flat])
        return torch.from_numpy(seen.reshape(*arrays.shape[:-3], *seen.shape[1:])).to(images.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """A' of each gradient."""
        return _Linear.apply(gradients[0], ctx.back, ctx.there), None, None  # type: ignore[no-untyped-call]
