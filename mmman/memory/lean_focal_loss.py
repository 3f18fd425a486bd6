"""The sigmoid focal loss, keeping logits and labels only."""

from typing import Any

import torch
from mmdet.models.losses import FocalLoss
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmman.registry import MODELS

from .chunks import calculation_dtype, chunks, refuse_gradients


@MODELS.register_module()
class LeanFocalLoss(FocalLoss):
    """mmdet's ``FocalLoss`` with the same arguments, values and gradients, and less memory.

    mmdet's, where it is not the compiled operation for CUDA, keeps some eight tensors of the logits' size for the
    backward pass. This one keeps its inputs and calculates loss and gradient again, chunk by chunk: beyond its inputs,
    only the gradient and a chunk are alive. In half precision it calculates in float32, and the loss is float32 too.

    On a GPU mmdet takes ``mmcv.ops.sigmoid_focal_loss``, which keeps its inputs only as well, but writes the loss of
    every logit before it sums up. There this class saves these tensors at the price of many small kernels, and takes
    one-hot targets, for which mmdet has no compiled operation. Neither was measured.

    Args:
        use_sigmoid (bool): True, there is no softmax focal loss. Defaults to True.
        gamma (float): Exponent of the modulating factor, at least 0. Defaults to 2.0.
        alpha (float): Weight of the positive class; the negative one's is ``1 - alpha``. Defaults to 0.25.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        loss_weight (float): Factor of the loss. Defaults to 1.0.
        activated (bool): False, probabilities are not taken. Defaults to False.

    Raises:
        ValueError: If an argument has a value that is not supported.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float = 0.25,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        activated: bool = False,
    ) -> None:
        if use_sigmoid is not True or activated is not False:
            raise ValueError(
                f'LeanFocalLoss takes logits of a sigmoid: use_sigmoid must be True and activated False, '
                f'got {use_sigmoid!r} and {activated!r}'
            )
        if gamma < 0:
            raise ValueError(f'LeanFocalLoss.gamma must be at least 0, got {gamma}')
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f"LeanFocalLoss.reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
        super().__init__(use_sigmoid, gamma, alpha, reduction, loss_weight, activated)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred (Tensor): Logits, (N, C).
            target (Tensor): Class indices, (N,), where C is the background; or one-hot or soft labels, (N, C).
            weight (Tensor, optional): (N,), (N, 1), (N, C) or (N * C,). Defaults to None.
            avg_factor (float | Tensor, optional): What ``'mean'`` divides by instead of N * C. Defaults to None.
            reduction_override (str, optional): Takes the place of ``reduction``. Defaults to None.

        Returns:
            Tensor: The loss, a scalar, or (N, C) with ``'none'``.

        Raises:
            ValueError: If a shape does not fit, a class index is outside of [0, C] (looked at on a CPU only, where it
                does not wait for the device), ``weight`` or ``target`` requires a gradient, or ``'sum'`` comes with
                ``avg_factor``.
        """
        reduction = reduction_override or self.reduction
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f"LeanFocalLoss: reduction_override must be 'none', 'mean' or 'sum', got {reduction!r}")
        _check_target(pred, target)
        refuse_gradients('LeanFocalLoss', weight=weight, target=target)
        weight = None if weight is None else _as_matrix(weight, pred)
        loss = _FocalLoss.apply(pred, target, weight, self.gamma, self.alpha, reduction == 'none')
        if reduction == 'mean' and avg_factor is None:
            loss = loss / pred.numel()
        else:
            loss = weight_reduce_loss(loss, None, reduction, avg_factor)
        return self.loss_weight * loss


class _FocalLoss(torch.autograd.Function):
    """The weighted loss of every logit, (N, C), or its sum."""

    @staticmethod
    def forward(
        ctx: Any, pred: Tensor, target: Tensor, weight: Tensor | None, gamma: float, alpha: float, elementwise: bool
    ) -> Tensor:
        ctx.save_for_backward(pred, target, weight)
        ctx.gamma, ctx.alpha = gamma, alpha
        dtype = calculation_dtype(pred)
        out = torch.empty_like(pred, dtype=dtype) if elementwise else None
        sums = []
        for rows in chunks(*pred.shape, pred.device):
            x, t = _logits_and_labels(pred, target, rows)
            loss = torch.lerp(x.sigmoid(), (-x).sigmoid(), t).pow_(gamma)
            loss.mul_(_cross_entropy(x, t)).mul_(_class_weight(t, alpha))
            if weight is not None:
                loss.mul_(weight[rows])
            if elementwise:
                out[rows] = loss
            else:
                sums.append(loss.sum())
        if elementwise:
            return out
        # Not one by one: the rounding errors of a running sum grow with the number of chunks.
        return torch.stack(sums).sum() if sums else pred.new_zeros((), dtype=dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, weight = ctx.saved_tensors
        grad = torch.empty_like(pred)
        for rows in chunks(*pred.shape, pred.device):
            x, t = _logits_and_labels(pred, target, rows)
            p, q = x.sigmoid(), (-x).sigmoid()
            wrong = torch.lerp(p, q, t)  # the probability of what the label is not
            slope = torch.lerp(p, -q, t)  # of the cross entropy; p - t, but exact where p is close to 1
            # Not 0, where this power is infinite for gamma < 1. Its product with p * q, which is 0 there, is to be 0.
            wrong.clamp_min_(torch.finfo(wrong.dtype).tiny)
            part = wrong.pow(ctx.gamma - 1)
            slope.mul_(wrong).mul_(part)
            part.mul_(p.mul_(q)).mul_(_cross_entropy(x, t)).mul_(1 - 2 * t)
            part.mul_(ctx.gamma).add_(slope).mul_(_class_weight(t, ctx.alpha))
            if weight is not None:
                part.mul_(weight[rows])
            grad[rows] = part.mul_(grad_output[rows] if grad_output.dim() else grad_output)
        return grad, None, None, None, None, None


def _logits_and_labels(pred: Tensor, target: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Rows of the logits and of the (one-hot) labels, (n, C) each."""
    x = pred[rows].to(calculation_dtype(pred))
    t = target[rows]
    if t.dim() == 1:
        background = pred.shape[1]
        is_object = (t < background).to(x.dtype)
        return x, torch.zeros_like(x).scatter_(1, t.clamp(max=background - 1)[:, None], is_object[:, None])
    return x, t.to(x.dtype)


def _cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    # -t log(sigmoid(x)) - (1 - t) log(sigmoid(-x)). The small term comes last: the large ones would swallow it.
    return x.clamp_min(0).sub_(x * t).add_(x.abs().neg_().exp_().log1p_())


def _class_weight(t: Tensor, alpha: float) -> Tensor:
    return (t * (2 * alpha - 1)).add_(1 - alpha)


def _as_matrix(weight: Tensor, pred: Tensor) -> Tensor:
    """Give the weight the shape (N, 1) or (N, C)."""
    num, classes = pred.shape
    if weight.shape == pred.shape:
        return weight
    if weight.shape in ((num,), (num, 1)):
        return weight.reshape(num, 1)
    if weight.shape == (num * classes,):
        return weight.reshape(num, classes)
    raise ValueError(
        f'LeanFocalLoss: for logits {tuple(pred.shape)} weight must be (N,), (N, 1), (N, C) or (N * C,), '
        f'got {tuple(weight.shape)}'
    )


def _check_target(pred: Tensor, target: Tensor) -> None:
    if pred.dim() != 2 or target.shape not in (pred.shape, pred.shape[:1]):
        raise ValueError(
            f'LeanFocalLoss takes logits (N, C) and a target (N,) or (N, C), '
            f'got {tuple(pred.shape)} and {tuple(target.shape)}'
        )
    if target.dim() == 2:
        return
    if target.is_floating_point():
        raise ValueError(f'LeanFocalLoss: a target (N,) holds class indices, integers, got {target.dtype}')
    if target.device.type == 'cpu' and target.numel():
        lowest, highest = (int(value) for value in target.aminmax())
        if lowest < 0 or highest > pred.shape[1]:
            raise ValueError(
                f'LeanFocalLoss: class indices must lie in [0, {pred.shape[1]}] (the last is the background), '
                f'got {lowest} to {highest}'
            )
