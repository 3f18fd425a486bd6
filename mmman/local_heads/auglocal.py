"""The local head of AugLocal (Ma et al., 2024): a few fresh layers shaped like those that follow the block."""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, conv1x1

from mmman.registry import MODELS

from .base import BlockOutput, Position, require_map
from .batch_norm import take_one_value
from .vector_classifier import VectorClassifier, build_classifier


@MODELS.register_module()
class AugLocalHead(VectorClassifier):
    """Picks layers evenly from those behind the block, builds fresh residual units of their widths, and a classifier.

    The first block gets ``depth`` units; towards the output they become fewer, linearly, down to half ("pyramid
    depth"). In the paper the last ``depth`` + 1 layers form one block with the output: end the partition there.

    Args:
        head (dict): Config of the classifier, a head of mmpretrain; ``in_channels`` is filled in.
        depth (int): d, units of the first local head.
        decay (float): c, by which share the depth has shrunk at the last local head. Defaults to 0.5.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``depth`` is not positive, y are tokens, or the classifier cannot learn from a vector.
    """

    def __init__(
        self,
        head: dict,
        depth: int,
        example: BlockOutput,
        position: Position,
        decay: float = 0.5,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        if depth < 1:
            raise ValueError(f'AugLocalHead.depth must be at least 1, got {depth}')
        require_map(self, example)
        q = decay * position.depth
        units = max(1, round(depth * (1 - q) + q))
        channels = example.y.shape[1]
        layers: list[nn.Module] = []
        for shape in pick(position, units):
            width = shape[1]
            layers.append(residual_unit(channels, width, stride=2 if width > channels else 1))
            channels = width
        # One unit alone: the classifier is given normalised features.
        norm = [nn.BatchNorm1d(channels)] if units == 1 else []
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *norm)
        take_one_value(self)
        self.head = build_classifier(self, head, example, channels)

    def vectors(self, output: BlockOutput) -> Tensor:
        """See :meth:`VectorClassifier.vectors`."""
        return self.layers(output.y)


def pick(position: Position, count: int) -> list[torch.Size]:
    """``count`` of the layers behind a block, evenly spaced and the last one among them; all if there are fewer."""
    layer, later = position.layer, position.later
    if count >= len(later):
        return list(later)
    # Rounded as numbers of layers, as the original does: halves go to the even layer.
    return [later[round(layer + len(later) / count * i) - layer - 1] for i in range(1, count + 1)]


def residual_unit(in_channels: int, channels: int, stride: int) -> BasicBlock:
    """A residual unit of two 3x3 convolutions, with a projection where its shape changes."""
    downsample = None
    if stride != 1 or in_channels != channels:
        downsample = nn.Sequential(conv1x1(in_channels, channels, stride), nn.BatchNorm2d(channels))
    return BasicBlock(in_channels, channels, stride, downsample)
