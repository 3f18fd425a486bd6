"""What local learning adds to one block: a branch of the network, from the block's output to a loss of its own."""

from collections.abc import Callable, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmman.auxiliary import AuxiliaryNetwork
from mmman.local_heads import BlockOutput, Position
from mmman.partition import State
from mmman.registry import MODELS

from .local_step import LocalStep


class LocalBranch(BaseModule):
    """The auxiliary network and the local head of one block.

    Args:
        auxiliary (dict, optional): Config of the auxiliary network; None: the local head sees x in the place of y.
        sources (Sequence[nn.Module]): The segments of the next block, in order.
        head (dict): Config of the local head.
        x (State): Example of the block's output, for one image.
        inputs (Tensor): Example image batch, (1, C0, H0, W0).
        position (Position): Where the block stands.
        feature (Callable): What the local head sees of an output; see :meth:`mmman.partition.BackboneFamily.feature`.
        with_cp (bool | str): Whether and how the auxiliary network's activations are recomputed, unless its config says
            so itself; see :class:`mmman.auxiliary.AuxiliaryNetwork`.

    Raises:
        TypeError: If the auxiliary network is no :class:`mmman.auxiliary.AuxiliaryNetwork`.
    """

    def __init__(
        self,
        auxiliary: dict | None,
        sources: Sequence[nn.Module],
        head: dict,
        x: State,
        inputs: Tensor,
        position: Position,
        feature: Callable[[State], Tensor],
        with_cp: bool | str = False,
    ) -> None:
        super().__init__()
        self.feature = feature
        self.auxiliary = _build_auxiliary(auxiliary, sources) if auxiliary else None
        if with_cp and self.auxiliary is not None and 'with_cp' not in auxiliary:
            self.auxiliary.with_cp = with_cp
        self.eval()
        self.head = MODELS.build(head, default_args=dict(example=self.output(x, inputs), position=position))

    def forward(self, x: State, inputs: Tensor, step: LocalStep) -> dict[str, Tensor]:
        """Compute the local losses.

        Args:
            x (State): The block's output with its graph.
            inputs (Tensor): The image batch, (N, C0, H0, W0).
            step (LocalStep): The step, with the batch's targets.

        Returns:
            dict[str, Tensor]: The local head's losses; and, to be logged, the auxiliary network's scale s.
        """
        output = self.output(x, inputs, step.mean, step.std, step.raw)
        losses = self.head.loss(output, step.data_samples)
        if self.auxiliary is not None and self.auxiliary.scale is not None:
            losses['scale'] = self.auxiliary.scale.detach()
        return losses

    def output(
        self,
        x: State,
        inputs: Tensor,
        mean: Tensor | float = 0.0,
        std: Tensor | float = 1.0,
        raw: Tensor | Sequence[Tensor] | None = None,
    ) -> BlockOutput:
        """What the local head is given; see :class:`mmman.local_heads.BlockOutput` for the arguments."""
        x, y = (self.feature(state) for state in (x, self._y(x)))
        return BlockOutput(x=x, y=y, inputs=inputs, mean=mean, std=std, raw=raw)

    def _y(self, x: State) -> State:
        if self.auxiliary is None:
            return x
        return self.auxiliary.recomputed(x) if self.auxiliary.with_cp and torch.is_grad_enabled() else self.auxiliary(x)

    def start_from(self, sources: Sequence[nn.Module]) -> None:
        """Initialise: the auxiliary network from its sources, the local head by its own ``init_cfg``."""
        if self.auxiliary is not None:
            self.auxiliary.start_from(sources)
        self.head.init_weights()

    def start_state(self, source_states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Entries of this branch's state that follow from the sources' states in a plain checkpoint."""
        if self.auxiliary is None:
            return {}
        return {f'auxiliary.{key}': value for key, value in self.auxiliary.start_state(source_states).items()}

    def update_auxiliary(self, sources: Sequence[nn.Module]) -> None:
        """Let the auxiliary network follow its sources by one step."""
        if self.auxiliary is not None:
            self.auxiliary.update(sources)


def _build_auxiliary(cfg: dict, sources: Sequence[nn.Module]) -> AuxiliaryNetwork:
    auxiliary = MODELS.build(cfg, default_args=dict(sources=sources))
    if not isinstance(auxiliary, AuxiliaryNetwork):
        raise TypeError(
            f'LocalBackbone: auxiliary={cfg.get("type")!r} builds a {type(auxiliary).__name__}, which is no '
            'mmman.AuxiliaryNetwork: derive it from that class'
        )
    return auxiliary
