"""The softmax cross entropy of segmentation, keeping logits and labels only."""

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.losses.utils import weight_reduce_loss
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmman.registry import MODELS

from .chunks import calculation_dtype, chunks, refuse_gradients


@MODELS.register_module()
class LeanCrossEntropyLoss(CrossEntropyLoss):
    """mmseg's ``CrossEntropyLoss`` for softmax with the same arguments, values and gradients, and less memory.

    mmseg's keeps the logarithms of all probabilities and makes two more tensors of that size in the backward pass. This
    one keeps its inputs and calculates loss and gradient chunk by chunk: beyond its inputs, only the gradient and a
    chunk are alive. In half precision it calculates in float32, and the loss is float32 too.

    With ``class_weight`` mmseg's ``avg_non_ignore=True`` raises an IndexError. Here it is the mean that the name says,
    which is ``avg_non_ignore=False`` too, as mmseg leaves ignored labels out of the sum of class weights anyway.

    Args:
        use_sigmoid (bool): False, sigmoids are not taken. Defaults to False.
        use_mask (bool): False, masks of instances are not taken. Defaults to False.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        class_weight (list[float] | str, optional): Weight of each class, or a file of them. Defaults to None.
        loss_weight (float): Factor of the loss. Defaults to 1.0.
        loss_name (str): Name of the loss in the log; starts with ``loss_`` to be trained with. Defaults to
            ``'loss_ce'``.
        avg_non_ignore (bool): Whether ``'mean'`` leaves ignored labels out of the count. Defaults to False.

    Raises:
        ValueError: If an argument has a value that is not supported.
    """

    def __init__(
        self,
        use_sigmoid: bool = False,
        use_mask: bool = False,
        reduction: str = 'mean',
        class_weight: list[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
        avg_non_ignore: bool = False,
    ) -> None:
        if use_sigmoid or use_mask:
            raise ValueError(
                f'LeanCrossEntropyLoss is a softmax over pixels: use_sigmoid and use_mask must be False, '
                f'got {use_sigmoid!r} and {use_mask!r}'
            )
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f"LeanCrossEntropyLoss.reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
        super().__init__(use_sigmoid, use_mask, reduction, class_weight, loss_weight, loss_name, avg_non_ignore)
        self.cls_criterion = lean_cross_entropy


def lean_cross_entropy(
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    reduction: str = 'mean',
    avg_factor: float | Tensor | None = None,
    ignore_index: int = -100,
    avg_non_ignore: bool = False,
) -> Tensor:
    """Compute the cross entropy of logits and labels; what ``CrossEntropyLoss.forward`` of mmseg calls.

    Args:
        pred (Tensor): Logits, (N, C, ...).
        label (Tensor): Class indices, (N, ...).
        weight (Tensor, optional): Weights of the labels, (N, ...) or of size 1 in some of these. Defaults to None.
        class_weight (Tensor, optional): (C,). Defaults to None.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        avg_factor (float | Tensor, optional): What ``'mean'`` divides by. None: the number of labels, or the sum of the
            class weights of those that are not ignored. Defaults to None.
        ignore_index (int): The label without a loss. Defaults to -100.
        avg_non_ignore (bool): Whether the number of labels leaves out ignored ones. Defaults to False.

    Returns:
        Tensor: The loss, a scalar, or (N, ...) with ``'none'``.

    Raises:
        ValueError: If a shape does not fit, ``weight`` requires a gradient, or ``'sum'`` comes with ``avg_factor``.
    """
    if pred.dim() < 2 or label.shape != pred.shape[:1] + pred.shape[2:] or label.dtype != torch.long:
        raise ValueError(
            f'LeanCrossEntropyLoss takes logits (N, C, ...) and class indices (N, ...) of torch.int64, '
            f'got {tuple(pred.shape)} and {label.dtype} {tuple(label.shape)}'
        )
    refuse_gradients('LeanCrossEntropyLoss', weight=weight)
    if weight is not None:
        if weight.dim() != label.dim() or any(w not in (1, n) for w, n in zip(weight.shape, label.shape, strict=True)):
            raise ValueError(
                f'LeanCrossEntropyLoss: weight must have the shape of the labels, {tuple(label.shape)}, or size 1 in '
                f'some dimensions, got {tuple(weight.shape)}'
            )
        weight = _as_rows(weight.float().expand(label.shape))
    loss = _CrossEntropy.apply(
        pred.t()[None] if pred.dim() == 2 else pred.flatten(2),
        _as_rows(label),
        weight,
        class_weight,
        ignore_index,
        reduction == 'none',
    )
    if reduction == 'none':
        return loss.reshape(label.shape)
    if reduction == 'mean' and avg_factor is None:
        avg_factor = _count(label, class_weight, ignore_index, avg_non_ignore)
    return weight_reduce_loss(loss, None, reduction, avg_factor)


class _CrossEntropy(torch.autograd.Function):
    """The weighted loss of every pixel, (N, P), or its sum, of logits (N, C, P) and labels (N, P)."""

    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        label: Tensor,
        weight: Tensor | None,
        class_weight: Tensor | None,
        ignore_index: int,
        elementwise: bool,
    ) -> Tensor:
        ctx.save_for_backward(pred, label, weight, class_weight)
        ctx.ignore_index = ignore_index
        dtype = calculation_dtype(pred)
        if class_weight is not None:
            class_weight = class_weight.to(dtype)
        # One number a pixel: a C-th of the logits.
        out = torch.empty_like(label, dtype=dtype)
        for image, pixels in _pieces(pred):
            out[image, pixels] = F.cross_entropy(
                pred[image, :, pixels].t().to(dtype),
                label[image, pixels],
                weight=class_weight,
                reduction='none',
                ignore_index=ignore_index,
            )
        if weight is not None:
            out.mul_(weight)
        return out if elementwise else out.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        pred, label, weight, class_weight = ctx.saved_tensors
        dtype = calculation_dtype(pred)
        grad = torch.empty_like(pred)
        grad_output = grad_output.expand(label.shape)
        for image, pixels in _pieces(pred):
            target = label[image, pixels]
            ignored = target == ctx.ignore_index
            target = target.masked_fill(ignored, 0)
            factor = grad_output[image, pixels].masked_fill(ignored, 0)
            if weight is not None:
                factor = factor * weight[image, pixels]
            if class_weight is not None:
                factor = factor * class_weight[target]
            part = pred[image, :, pixels].to(dtype).softmax(dim=0)
            part[target, torch.arange(len(target), device=target.device)] -= 1
            grad[image, :, pixels] = part.mul_(factor)
        return grad, None, None, None, None, None


def _pieces(pred: Tensor) -> list[tuple[int, slice]]:
    num, classes, pixels = pred.shape
    return [(image, piece) for image in range(num) for piece in chunks(pixels, classes, pred.device)]


def _as_rows(label: Tensor) -> Tensor:
    """(N, ...) to (N, P), and (N,) to (1, N), as :class:`_CrossEntropy` takes them."""
    return label[None] if label.dim() == 1 else label.flatten(1)


def _count(label: Tensor, class_weight: Tensor | None, ignore_index: int, avg_non_ignore: bool) -> float | Tensor:
    """What the mean divides by."""
    if class_weight is not None:
        return class_weight[label[label != ignore_index]].sum()
    if avg_non_ignore:
        return label.numel() - (label == ignore_index).sum().item()
    return label.numel()
