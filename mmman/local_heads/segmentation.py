"""The segmentation local head: any decode head of mmseg on one block's output."""

import copy
from typing import Any

from torch import Tensor

from mmman.registry import MODELS

from .base import BlockOutput, LocalHead, Position


@MODELS.register_module()
class SegmentationLocalHead(LocalHead):
    """A decode head of mmseg (``FCNHead``, ``ASPPHead``, ...) as the local head of one block.

    Args:
        head (dict): Config of the decode head; ``in_channels`` and ``in_index`` are filled in.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self, head: dict, example: BlockOutput, position: Position, init_cfg: dict | None = None) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        self.head = MODELS.build({**copy.deepcopy(head), 'in_channels': example.y.shape[1], 'in_index': 0})

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the decode head's losses; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[SegDataSample]): The label maps.

        Returns:
            dict[str, Tensor]: The decode head's losses, ``loss_ce`` for most, and its accuracy ``acc_seg``.
        """
        return self.head.loss([output.y], data_samples, {})

    def predict(self, output: BlockOutput, data_samples: list[Any], test_cfg: dict | None = None) -> Tensor:
        """Segment; see :meth:`LocalHead.predict`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[SegDataSample]): For the images' sizes.
            test_cfg (dict, optional): The segmentor's.

        Returns:
            Tensor: Logits (N, classes, H0, W0), in the size of the images that the model was given.
        """
        return self.head.predict([output.y], [sample.metainfo for sample in data_samples], test_cfg)
