"""What local learning adds to one block."""

from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmman.local_heads import BlockOutput
from mmman.registry import MODELS


class LocalBlock(BaseModule):
    """The auxiliary network and the local head of one block.

    Args:
        auxiliary (dict, optional): Config of the auxiliary network; None: the local head sees x in the place of y.
        source (nn.Module): First segment of the next block.
        head (dict): Config of the local head.
        x (Tensor): Example of the block's output, (1, C, H, W).
        inputs (Tensor): Example image batch, (1, 3, H0, W0).
        is_last (bool): Whether this is block K-1.
    """

    def __init__(
        self, auxiliary: dict | None, source: nn.Module, head: dict, x: Tensor, inputs: Tensor, is_last: bool
    ) -> None:
        super().__init__()
        self.auxiliary = MODELS.build(auxiliary, default_args=dict(source=source)) if auxiliary else None
        self.eval()
        example = self._output(x, inputs)
        self.head = MODELS.build(head, default_args=dict(example=example, is_last=is_last))

    def forward(self, x: Tensor, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the local losses.

        Args:
            x (Tensor): The block's output, (N, C, H, W), with its graph.
            inputs (Tensor): The image batch, (N, 3, H0, W0).
            data_samples (list): The batch's targets.

        Returns:
            dict[str, Tensor]: The local head's losses.
        """
        return self.head.loss(self._output(x, inputs), data_samples)

    def _output(self, x: Tensor, inputs: Tensor) -> BlockOutput:
        return BlockOutput(x=x, y=x if self.auxiliary is None else self.auxiliary(x), inputs=inputs)

    def start_from(self, source: nn.Module) -> None:
        """Initialise: the auxiliary network from its source, the local head by its own ``init_cfg``."""
        if self.auxiliary is not None:
            self.auxiliary.start_from(source)
        self.head.init_weights()

    def start_state(self, source_state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Entries of this block's state that follow from the source's state in a plain checkpoint."""
        if self.auxiliary is None:
            return {}
        return {f'auxiliary.{key}': value for key, value in self.auxiliary.start_state(source_state).items()}

    def update_auxiliary(self, source: nn.Module) -> None:
        """Let the auxiliary network follow its source by one step."""
        if self.auxiliary is not None:
            self.auxiliary.update(source)
