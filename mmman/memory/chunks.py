"""What the lean losses share: in which pieces they go through the logits, and in which type they calculate."""

from collections.abc import Iterator

import torch
from torch import Tensor

# A chunk's some eight temporary float32 tensors are 4 MB in all: little beside the logits of a detector or segmentor
# (tens of MB and more), and few enough operations that the cost of calling them does not count. From 2**15 to 2**18 the
# time is the same.
CPU_ELEMENTS = 2**17
# On a GPU what counts is the number of kernels: here one takes about as long to run as to launch.
GPU_ELEMENTS = 2**20


def chunks(length: int, width: int, device: torch.device) -> Iterator[slice]:
    """Cut a tensor into pieces of about ``CPU_ELEMENTS`` or ``GPU_ELEMENTS``.

    Args:
        length (int): Size of the dimension to cut.
        width (int): Elements of the tensor at each index of that dimension.
        device (torch.device): Where the tensor is.

    Yields:
        slice: A piece of the dimension, of at least one index.
    """
    elements = CPU_ELEMENTS if device.type == 'cpu' else GPU_ELEMENTS
    step = max(1, elements // max(1, width))
    for start in range(0, length, step):
        yield slice(start, start + step)


def calculation_dtype(logits: Tensor) -> torch.dtype:
    """float32 for half precision, in which a sum over all logits overflows or stands still; else the logits' own."""
    return torch.promote_types(logits.dtype, torch.float32)


def refuse_gradients(loss: str, **constants: Tensor | None) -> None:
    """Raise where a tensor that the loss takes for a constant wants a gradient.

    Args:
        loss (str): The loss's name, for the message.
        **constants (Tensor, optional): Tensors by their argument's name.

    Raises:
        ValueError: If a tensor requires a gradient while gradients are recorded.
    """
    for name, tensor in constants.items():
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(f'{loss} gives no gradient to {name}, which requires one: detach it')
