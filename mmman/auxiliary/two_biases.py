"""The control that the paper's ablation lacks: as many parameters as MAN++, but no EMA."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import initialize
from torch import Tensor, nn

from mmman.registry import MODELS

from .balanced import RANDOM_INIT, BalancedAuxiliary


@MODELS.register_module()
class TwoBiasesAuxiliary(BalancedAuxiliary):
    """MAN++ with a second learnable copy in the place of EMA: ``y = s * LB(x) + (2 - s) * LB'(x)``.

    Both learn from the local loss, and nothing comes from the next block once training has started. What MAN++ gains
    over it is owed to EMA and not to the size of the auxiliary network. LB' starts at random: two equal copies would
    receive equal gradients and stay equal.

    Args:
        sources (Sequence[nn.Module]): Segments of the next block, in order.
        momentum (float): Without effect, as nothing is averaged. It is taken so that a config can put this type in the
            place of :class:`MomentumAuxiliary` and change nothing else.
        scale (bool): Whether s balances the two. Defaults to True.
        num_layers (int): See :class:`MomentumAuxiliary`.
        init (str): How LB starts; see :class:`MomentumAuxiliary`.
        with_cp (bool | str): See :class:`MomentumAuxiliary`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        sources: Sequence[nn.Module],
        momentum: float = 0.995,
        scale: bool = True,
        num_layers: int = 1,
        init: str = 'copy',
        with_cp: bool | str = False,
    ) -> None:
        super().__init__(sources, dict(learnable_bias=True, second_bias=True), scale, num_layers, init, with_cp)
        initialize(self.second_bias, RANDOM_INIT)

    @torch.no_grad()
    def start_from(self, sources: Sequence[nn.Module]) -> None:
        """See :class:`AuxiliaryNetwork`; LB' is drawn at random."""
        super().start_from(sources)
        initialize(self.second_bias, RANDOM_INIT)

    def start_state(self, source_states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """See :class:`AuxiliaryNetwork`; LB' stays as it was drawn."""
        state = super().start_state(source_states)
        return {key: value for key, value in state.items() if not key.startswith('second_bias.')}

    def upgrade_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        """See :class:`AuxiliaryNetwork`; up to version 0.1 LB' was saved under EMA's name."""
        super().upgrade_state(state_dict, prefix)
        for key in [key for key in state_dict if key.startswith(f'{prefix}ema.')]:
            state_dict[f'{prefix}second_bias.{key.removeprefix(f"{prefix}ema.")}'] = state_dict.pop(key)
