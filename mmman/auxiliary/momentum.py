"""The momentum auxiliary network of MAN++: an EMA copy of the next block's first layer beside a learnable copy."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from mmman.registry import MODELS

from .balanced import BalancedAuxiliary


@MODELS.register_module()
class MomentumAuxiliary(BalancedAuxiliary):
    r"""``y = s * LB(x) + (2 - s) * EMA(x)`` (MAN++, eqs. 5-7 and the released code).

    LB (the learnable bias) and EMA both have the structure of the source, the first segment of the next block. LB and
    the scale s learn from the local loss. EMA's weights never receive a gradient, but the gradient flows through it
    into the block; they follow the source by :meth:`update`.

    The switches give MAN (``scale=False``) and every row of the paper's ablation (Table VII): with one branch alone, y
    is that branch; with neither, y is x (the plain host method).

    Buffers of EMA (BatchNorm's running statistics) are not averaged: they start as the source's and from then on are
    the EMA network's own statistics of what it sees. Where the backbone keeps its norm layers in eval mode
    (``norm_eval``), LB's and EMA's stay as they were copied.

    Args:
        sources (Sequence[nn.Module]): Segments of the next block, in order. They are copied, never changed.
        momentum (float): m of ``EMA <- m * EMA + (1 - m) * source``, in [0, 1]. Defaults to 0.995, the paper's value.
            (mmengine's ``ExponentialMovingAverage`` calls ``1 - m`` momentum.)
        ema (bool): Whether there is an EMA branch. Defaults to True.
        learnable_bias (bool): Whether there is an LB branch. Defaults to True.
        scale (bool): Whether s, of shape (1,), balances the two branches; without it y is their sum (MAN), which is
            also where s = 1 starts. Needs both branches. Defaults to True where both are there, else False.
        num_layers (int): How many segments of the next block y passes: trainable copies of those after the first follow
            the two branches (the released ViT code has 2; not in the paper). Defaults to 1.
        init (str): How the copies start: ``'copy'``, equal to their sources, or ``'random'``, each drawn anew (what the
            released code amounts to). Defaults to ``'copy'``.
        with_cp (bool | str): Whether each copy's activations are computed again in the backward instead of being kept:
            ``'full'`` (or True) keeps its input only, ``'selective'`` the results of convolutions and matrix products,
            too. Defaults to False.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        sources: Sequence[nn.Module],
        momentum: float = 0.995,
        ema: bool = True,
        learnable_bias: bool = True,
        scale: bool | None = None,
        num_layers: int = 1,
        init: str = 'copy',
        with_cp: bool | str = False,
    ) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f'MomentumAuxiliary.momentum must lie in [0, 1], got {momentum}')
        if scale is None:
            scale = ema and learnable_bias
        if scale and not (ema and learnable_bias):
            raise ValueError(
                f'MomentumAuxiliary.scale balances two branches, got ema={ema} and learnable_bias={learnable_bias}: '
                'set scale=False'
            )
        branches = dict(learnable_bias=learnable_bias, ema=ema)
        super().__init__(sources, branches, scale, num_layers, init, with_cp)
        self.momentum = momentum
        if ema:
            self.ema.requires_grad_(False)

    def averaged_parameters(self) -> Iterator[nn.Parameter]:
        """EMA's parameters."""
        return self.ema.parameters() if self.ema is not None else iter(())

    @torch.no_grad()
    def update(self, sources: Sequence[nn.Module]) -> None:
        """Move EMA's parameters towards the first source's by one step (eq. 5). Buffers are left alone.

        Args:
            sources (Sequence[nn.Module]): Segments of the next block.
        """
        if self.ema is not None:
            torch._foreach_lerp_(list(self.ema.parameters()), list(sources[0].parameters()), 1 - self.momentum)
