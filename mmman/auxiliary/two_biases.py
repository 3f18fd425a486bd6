"""The control that the paper's ablation lacks: as many parameters as MAN++, but no EMA."""

from collections.abc import Sequence

import torch
from mmengine.model import initialize
from torch import nn

from mmman.registry import MODELS

from .momentum import RANDOM_INIT, MomentumAuxiliary


@MODELS.register_module()
class TwoBiasesAuxiliary(MomentumAuxiliary):
    """MAN++ with a second learnable copy in the place of EMA: ``y = s * LB(x) + (2 - s) * LB'(x)``.

    Both learn from the local loss, and nothing comes from the next block once training has started. What MAN++ gains
    over it is owed to EMA and not to the size of the auxiliary network. LB' starts at random: two equal copies would
    receive equal gradients and stay equal.

    Args:
        sources (Sequence[nn.Module]): Segments of the next block, in order.
        momentum (float): Not used; it is taken so that a config can put this type in the place of the other.
        scale (bool): Whether s balances the two. Defaults to True.
        num_layers (int): See :class:`MomentumAuxiliary`.
        init (str): How LB starts; see :class:`MomentumAuxiliary`.
        with_cp (bool): See :class:`MomentumAuxiliary`.
    """

    def __init__(
        self,
        sources: Sequence[nn.Module],
        momentum: float = 0.995,
        scale: bool = True,
        num_layers: int = 1,
        init: str = 'copy',
        with_cp: bool = False,
    ) -> None:
        super().__init__(sources, momentum, scale=scale, num_layers=num_layers, init=init, with_cp=with_cp)
        self.ema.requires_grad_(True)
        initialize(self.ema, RANDOM_INIT)

    @torch.no_grad()
    def start_from(self, sources: Sequence[nn.Module]) -> None:
        """See :class:`MomentumAuxiliary`."""
        super().start_from(sources)
        initialize(self.ema, RANDOM_INIT)

    def start_state(self, source_states: Sequence[dict]) -> dict:
        """See :class:`MomentumAuxiliary`."""
        state = super().start_state(source_states)
        return {key: value for key, value in state.items() if not key.startswith('ema.')}

    @property
    def follows_source(self) -> bool:
        """Nothing follows the next block."""
        return False
