"""What the tests of the lean losses share: a lean loss equals the toolbox's in value and gradient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

REDUCTIONS = [  # reduction, avg_factor
    ('none', None),
    ('none', 7.0),
    ('mean', None),
    ('mean', 7),
    ('mean', torch.tensor(7.0)),
    ('mean', 0),
    ('sum', None),
]


def value_and_gradient(loss: nn.Module, pred: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """The loss's value, and the gradient of the logits."""
    pred = pred.detach().clone().requires_grad_()
    value = loss(pred, *args, **kwargs)
    # A gradient that is not the same everywhere, where the loss is not one number.
    (value * torch.linspace(0.5, 2, value.numel(), dtype=value.dtype).view_as(value)).sum().backward()
    return value.detach(), pred.grad


def assert_equal_losses(ours: nn.Module, theirs: nn.Module, pred: Tensor, *args: Any, **kwargs: Any) -> None:
    """To rounding errors of the largest element, in single and in double precision."""
    for dtype, error in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        found = value_and_gradient(ours, pred.to(dtype), *args, **kwargs)
        reference = value_and_gradient(theirs, pred.to(dtype), *args, **kwargs)
        for actual, expected in zip(found, reference, strict=True):
            largest = expected.abs().max().item() if expected.numel() else 0
            assert_close(actual, expected, rtol=0, atol=error * largest)
