"""The interface of a local head."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor


@dataclass
class BlockOutput:
    """What one block hands to its local head, or the shapes of it.

    Args:
        x (Tensor): Output of the block, (N, C, H, W), with its graph.
        y (Tensor): Output of the block's auxiliary network, (N, C', H', W'), with its graph.
        inputs (Tensor): The image batch the model was given, normalised, (N, 3, H0, W0).
    """

    x: Tensor
    y: Tensor
    inputs: Tensor

    def stride(self, feature: Tensor) -> int:
        """Stride of a feature map with respect to the images, in pixels (rounded: maps may be padded)."""
        return round(self.inputs.shape[-1] / feature.shape[-1])


class LocalHead(BaseModule):
    """Base class of the local heads.

    Args:
        example (BlockOutput): The outputs of the block for one small image: a head builds its layers for these channels
            and strides, so that no config has to name them.
        is_last (bool): Whether this is the last local head, of block K-1.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self, example: BlockOutput, is_last: bool, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)

    @abstractmethod
    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the local losses of one batch.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list): The toolbox's data samples (targets) of the batch.

        Returns:
            dict[str, Tensor]: Losses as an mmengine model returns them: those with 'loss' in their name are summed.
        """
