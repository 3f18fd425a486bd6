"""The momentum auxiliary network of MAN++: an EMA copy of the next block's first layer beside a learnable copy."""

import copy
from collections.abc import Iterator, Sequence

import torch
from mmengine.model import BaseModule, initialize
from torch import Tensor, nn

from mmman.memory.recompute import recompute
from mmman.registry import MODELS

INITS = ('copy', 'random')

# What init='random' draws: the usual initialisation of the backbones in question (the released code's, section 1.4 of
# the method digest), independent of the source.
RANDOM_INIT = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='TruncNormal', layer='Linear', std=0.02),
    dict(type='Constant', layer=['_BatchNorm', 'GroupNorm', 'LayerNorm'], val=1),
]


@MODELS.register_module()
class MomentumAuxiliary(BaseModule):
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
        scale (bool): Whether s balances the two branches; without it y is their sum (MAN), which is also where s = 1
            starts. Needs both branches. Defaults to True where both are there, else False.
        num_layers (int): How many segments of the next block y passes: trainable copies of those after the first follow
            the two branches (the released ViT code has 2; not in the paper). Defaults to 1.
        init (str): How the copies start: ``'copy'``, equal to their sources, or ``'random'``, each drawn anew (what the
            released code amounts to). Defaults to ``'copy'``.
        with_cp (bool): Whether each copy's activations are computed again in the backward instead of being kept.
            Defaults to False.

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
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f'MomentumAuxiliary.momentum must lie in [0, 1], got {momentum}')
        if init not in INITS:
            raise ValueError(f'MomentumAuxiliary.init must be one of {INITS}, got {init!r}')
        if not 1 <= num_layers <= len(sources):
            raise ValueError(
                f'MomentumAuxiliary.num_layers must lie between 1 and the {len(sources)} segment(s) of the next block, '
                f'got {num_layers}'
            )
        if scale is None:
            scale = ema and learnable_bias
        if scale and not (ema and learnable_bias):
            raise ValueError(
                f'MomentumAuxiliary.scale balances two branches, got ema={ema} and learnable_bias={learnable_bias}: '
                'set scale=False'
            )
        self.momentum = momentum
        self.init = init
        self.with_cp = with_cp
        self.learnable_bias = copy.deepcopy(sources[0]) if learnable_bias else None
        self.ema = copy.deepcopy(sources[0]).requires_grad_(False) if ema else None
        self.scale = nn.Parameter(torch.ones(())) if scale else None
        self.further = nn.ModuleList(copy.deepcopy(source) for source in sources[1:num_layers])

    def forward(self, x: Tensor) -> Tensor:
        """Compute y.

        Args:
            x (Tensor): Output of the block with its graph, (N, C, H, W) or (N, L, C).

        Returns:
            Tensor: y, with the shape that the sources would give to x.
        """
        y = self._balance(x)
        for layer in self.further:
            y = self._run(layer, y)
        return y

    def _balance(self, x: Tensor) -> Tensor:
        if self.scale is not None:
            return self.scale * self._run(self.learnable_bias, x) + (2 - self.scale) * self._run(self.ema, x)
        branches = [self._run(branch, x) for branch in (self.learnable_bias, self.ema) if branch is not None]
        return sum(branches[1:], start=branches[0]) if branches else x

    def _run(self, layer: nn.Module, x: Tensor) -> Tensor:
        return recompute(layer, x, modules=[layer]) if self.with_cp and torch.is_grad_enabled() else layer(x)

    def copies(self) -> dict[str, int]:
        """Names of the copies, and the number of the segment that each is a copy of."""
        branches = [name for name in ('learnable_bias', 'ema') if getattr(self, name) is not None]
        return dict.fromkeys(branches, 0) | {f'further.{i}': i + 1 for i in range(len(self.further))}

    @torch.no_grad()
    def start_from(self, sources: Sequence[nn.Module]) -> None:
        """Set the copies to where training starts: the sources' weights and buffers, or new random ones."""
        for name, i in self.copies().items():
            self.get_submodule(name).load_state_dict(sources[i].state_dict())
            if self.init == 'random':
                initialize(self.get_submodule(name), RANDOM_INIT)

    def start_state(self, source_states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """What a checkpoint that knows nothing of this network makes it start from.

        Args:
            source_states (Sequence[dict[str, Tensor]]): States of the sources in that checkpoint.

        Returns:
            dict[str, Tensor]: Entries of this network's state dict; empty for ``init='random'``.
        """
        if self.init == 'random':
            return {}
        state = {f'{name}.{key}': value for name, i in self.copies().items() for key, value in source_states[i].items()}
        if self.scale is not None:
            state['scale'] = torch.ones_like(self.scale)
        return state

    def averaged_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that follow the source, and that no optimizer may have."""
        return self.ema.parameters() if self.follows_source else iter(())

    @property
    def follows_source(self) -> bool:
        """Whether :meth:`update` reads the first source's weights."""
        return self.ema is not None

    @torch.no_grad()
    def update(self, sources: Sequence[nn.Module]) -> None:
        """Move EMA's parameters towards the first source's by one step (eq. 5). Buffers are left alone.

        Args:
            sources (Sequence[nn.Module]): Segments of the next block.
        """
        if self.follows_source:
            torch._foreach_lerp_(list(self.ema.parameters()), list(sources[0].parameters()), 1 - self.momentum)
