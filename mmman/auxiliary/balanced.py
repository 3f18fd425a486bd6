"""What MAN++ and its controls share: two branches that copy the next block's first segment, balanced by s."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import initialize
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from mmman.memory.recompute import recompute
from mmman.partition import State

from .base import AuxiliaryNetwork

INITS = ('copy', 'random')

# What init='random' draws: the usual initialisation of the backbones in question (the released code's, section 1.4 of
# the method digest), independent of the source.
RANDOM_INIT = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='TruncNormal', layer='Linear', std=0.02),
    dict(type='Constant', layer=['_BatchNorm', 'GroupNorm', 'LayerNorm'], val=1),
]


class BalancedAuxiliary(AuxiliaryNetwork):
    """``y = s * first(x) + (2 - s) * second(x)``; without s the sum, with one branch that branch, with none x.

    Args:
        sources (Sequence[nn.Module]): Segments of the next block, in order. They are copied, never changed.
        branches (dict[str, bool]): Names of the branches, in order, and whether there is such a branch.
        scale (bool): Whether s balances the branches.
        num_layers (int): How many segments of the next block y passes: trainable copies of those after the first follow
            the branches.
        init (str): How the copies start: ``'copy'``, equal to their sources, or ``'random'``.
        with_cp (bool | str): See :class:`MomentumAuxiliary`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        sources: Sequence[nn.Module],
        branches: dict[str, bool],
        scale: bool,
        num_layers: int,
        init: str,
        with_cp: bool | str,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        if init not in INITS:
            raise ValueError(f'{kind}.init must be one of {INITS}, got {init!r}')
        if not 1 <= num_layers <= len(sources):
            raise ValueError(
                f'{kind}.num_layers must lie between 1 and the {len(sources)} segment(s) of the next block, '
                f'got {num_layers}'
            )
        self.init = init
        self.with_cp = with_cp
        self._branches = [name for name, is_there in branches.items() if is_there]
        for name in branches:
            self.register_module(name, copy.deepcopy(sources[0]) if name in self._branches else None)
        self.further = nn.ModuleList(copy.deepcopy(source) for source in sources[1:num_layers])
        if scale:
            # Of one dimension: some optimizers (mmpretrain's Lamb) take no parameter without.
            self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: State) -> State:
        """Compute y.

        Args:
            x (State): Output of the block with its graph. Of a state of several tensors each is balanced.

        Returns:
            State: y, with the shapes that the sources would give to x.
        """
        y = self._balance(x)
        for layer in self.further:
            y = self._run(layer, y)
        return y

    def recomputed(self, x: State) -> State:
        """See :class:`AuxiliaryNetwork`; copy by copy, which needs less memory than all at once."""
        return self(x)

    def _balance(self, x: State) -> State:
        branches = [self.get_submodule(name) for name in self._branches]
        if self.scale is None:
            outputs = [self._run(branch, x) for branch in branches]
            return tree_map(_of_tensors(lambda *parts: sum(parts[1:], start=parts[0])), *outputs) if outputs else x
        first, second = branches
        # Without its dimension, or a half-precision y would become single precision.
        scale = self.scale.squeeze()
        balanced = _of_tensors(lambda a, b: scale * a + (2 - scale) * b)
        return tree_map(balanced, self._run(first, x), self._run(second, x))

    def _run(self, layer: nn.Module, x: State) -> State:
        if not self.with_cp or not torch.is_grad_enabled():
            return layer(x)
        return recompute(layer, x, modules=[layer], mode=self.with_cp)

    def copies(self) -> dict[str, int]:
        """See :class:`AuxiliaryNetwork`."""
        return dict.fromkeys(self._branches, 0) | {f'further.{i}': i + 1 for i in range(len(self.further))}

    @torch.no_grad()
    def start_from(self, sources: Sequence[nn.Module]) -> None:
        """Set the copies to where training starts: the sources' weights and buffers, or new random ones."""
        super().start_from(sources)
        if self.init == 'random':
            for name in self.copies():
                initialize(self.get_submodule(name), RANDOM_INIT)

    def start_state(self, source_states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """See :class:`AuxiliaryNetwork`; empty for ``init='random'``."""
        return {} if self.init == 'random' else super().start_state(source_states)


def _of_tensors(combine: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function of the branches' outputs, leaf by leaf; what is no tensor (the size of a grid) all have in common."""
    return lambda first, *others: combine(first, *others) if isinstance(first, Tensor) else first
