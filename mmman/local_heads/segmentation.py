"""The segmentation local head: any decode head of mmseg on one block's output."""

from typing import Any

import torch
from torch import Tensor, nn

from mmman.registry import MODELS

from .base import BlockOutput, LocalHead, Position, require_map
from .toolbox_head import Losses, Trial, build_head

TAKERS = 'FCNHead, ASPPHead, PSPHead, UPerHead or another that needs no second map'
SIDE = 8  # of the map that a head is tried on


@MODELS.register_module()
class SegmentationLocalHead(LocalHead):
    """A decode head of mmseg (``FCNHead``, ``ASPPHead``, ...) as the local head of one block.

    Of heads for several feature maps (``UPerHead``, ``FPNHead``, ``SegformerHead``, ...) it is the form for one, y;
    ``DepthwiseSeparableASPPHead`` goes without its low-level branch. Heads that need several (``ANNHead``), the output
    of another head (``OCRHead``, ``PointHead``) or queries (``Mask2FormerHead``) are refused.

    Args:
        head (dict): Config of the decode head; ``in_channels`` and ``in_index`` are filled in.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If y are tokens, or the head cannot learn from y alone.
    """

    def __init__(self, head: dict, example: BlockOutput, position: Position, init_cfg: dict | None = None) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        require_map(self, example)
        self.head = _build(type(self).__name__, head, example.y)

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the decode head's losses; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[SegDataSample]): The label maps.

        Returns:
            dict[str, Tensor]: The decode head's losses, ``loss_ce`` for most, and its accuracy ``acc_seg``.
        """
        return _loss(self.head, output.y, data_samples)

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


def _build(owner: str, head: dict, y: Tensor) -> nn.Module:
    """The head for one map, or for a list of one map where it takes lists."""
    trial = Trial(y[:1, :, :SIDE, :SIDE], _loss, _samples, 'one feature map', TAKERS)
    ways = [dict(in_channels=y.shape[1], in_index=0), dict(in_channels=[y.shape[1]], in_index=[0])]
    if isinstance(head, dict) and isinstance(head.get('in_channels'), (list, tuple)):
        ways.reverse()
    errors = []
    for inputs in ways:
        try:
            return build_head(owner, head, _fill(head, inputs), trial)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _fill(head: dict, inputs: dict[str, Any]) -> dict[str, Any]:
    """What is to be changed in a head's config for one map."""
    if not isinstance(head, dict):
        return {}
    filled = dict(inputs)
    if head.get('kernel_generate_head'):  # K-Net's first stage is what sees the map
        filled = {'kernel_generate_head': {**head['kernel_generate_head'], **inputs}}
    if head.get('feature_strides'):  # one for each map
        filled['feature_strides'] = head['feature_strides'][:1]
    if head.get('c1_in_channels'):  # of the low-level branch
        filled.update(c1_in_channels=0, c1_channels=0)
    return filled


def _loss(head: nn.Module, y: Tensor, data_samples: list[Any]) -> Losses:
    return head.loss([y], data_samples, {})


def _samples(head: nn.Module, device: torch.device) -> list[Any]:
    """A data sample with all targets that mmseg knows."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    size = (1, 4 * SIDE, 4 * SIDE)
    sample = SegDataSample(metainfo=dict(img_shape=size[1:], ori_shape=size[1:], pad_shape=size[1:]))
    labels = torch.zeros(size, dtype=torch.long, device=device)
    sample.gt_sem_seg = PixelData(data=labels)
    sample.gt_edge_map = PixelData(data=labels)
    sample.gt_depth_map = PixelData(data=labels + 1.0)
    return [sample]
