"""The classification local head: any head of mmpretrain on a few layers grown from one block's output."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmman.registry import MODELS

from .base import BlockOutput, LocalHead, Position, require_map
from .batch_norm import take_one_value
from .toolbox_head import Losses, Trial, build_head

TAKERS = 'LinearClsHead, StackedLinearClsHead, VisionTransformerClsHead, ArcFaceClsHead or MultiLabelLinearClsHead'


@MODELS.register_module()
class ClassificationLocalHead(LocalHead):
    """A head of mmpretrain (``LinearClsHead``, ...) as the local head of one block.

    y is pooled, convolved, averaged over its positions and passed through hidden layers, each step where asked for. Of
    tokens (N, L, C) it takes the class token after a layer norm; where there is none, the layer norm of the tokens'
    average, as mmpretrain's ``out_type='avg_featmap'`` does. With no step in between, this is plain greedy learning:
    the average of y, and a linear classifier.

    Args:
        head (dict): Config of the head, which takes a vector for each image; ``in_channels`` is filled in.
        pool (int, optional): Side of the map that y is average-pooled to before the convolutions. Defaults to None.
        convs (Sequence[tuple]): Channels, kernel size and stride of each convolution; norm and ReLU follow. Defaults to
            none.
        hidden (Sequence[int]): Width of each hidden layer; ReLU follows. Defaults to none.
        hidden_norm (bool): Whether the hidden layers are normalised before their ReLU. Defaults to False.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If there are convolutions for tokens, or the head cannot learn from a vector.
    """

    def __init__(
        self,
        head: dict,
        example: BlockOutput,
        position: Position,
        pool: int | None = None,
        convs: Sequence[tuple[int, int, int]] = (),
        hidden: Sequence[int] = (),
        hidden_norm: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        if example.y.ndim == 3:
            if convs or pool:
                require_map(self, example)
            channels = example.y.shape[2]
            norm = nn.LayerNorm(channels)
            self.to_vector = nn.Sequential(norm, ClassToken()) if position.extra_tokens else nn.Sequential(Mean(), norm)
        else:
            channels = example.y.shape[1]
            layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(pool)] if pool else []
            for width, kernel_size, stride in convs:
                norm_cfg = dict(type='BN')
                layers.append(
                    ConvModule(channels, width, kernel_size, stride, padding=kernel_size // 2, norm_cfg=norm_cfg)
                )
                channels = width
            self.to_vector = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.hidden = nn.Sequential()
        for width in hidden:
            self.hidden.append(nn.Linear(channels, width))
            if hidden_norm:
                self.hidden.append(nn.BatchNorm1d(width))
            self.hidden.append(nn.ReLU(inplace=True))
            channels = width
        take_one_value(self)
        self.head = build_classifier(self, head, example, channels)

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the head's losses; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[DataSample]): The labels.

        Returns:
            dict[str, Tensor]: The head's losses, ``loss`` for most.
        """
        return self.head.loss(self._feats(output), data_samples)

    def predict(self, output: BlockOutput, data_samples: list[Any], test_cfg: dict | None = None) -> list[Any]:
        """Classify; see :meth:`LocalHead.predict`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[DataSample]): Samples, to which scores and labels are added.
            test_cfg (dict, optional): Not used.

        Returns:
            list[DataSample]: The samples.

        Raises:
            ValueError: If the head learns no classes (``ContrastiveHead``).
        """
        if not hasattr(self.head, 'predict'):
            raise ValueError(f'{type(self.head).__name__} learns no classes, so this local head predicts none')
        return self.head.predict(self._feats(output), data_samples)

    def _feats(self, output: BlockOutput) -> tuple[Tensor]:
        return (self.hidden(self.to_vector(output.y)),)


def build_classifier(owner: LocalHead, head: dict, example: BlockOutput, in_channels: int) -> nn.Module:
    """Build a head of mmpretrain that takes a vector for each image.

    Args:
        owner (LocalHead): The local head that it is for.
        head (dict): Its config; ``in_channels`` is filled in.
        example (BlockOutput): See :class:`LocalHead`.
        in_channels (int): Length of the vectors.

    Returns:
        nn.Module: The head.

    Raises:
        ValueError: If it cannot learn from vectors, see :func:`build_head`.
    """
    vector = example.y.flatten()[:1].expand(1, in_channels)
    trial = Trial(vector, _loss, _samples, 'one vector for each image', TAKERS)
    return build_head(type(owner).__name__, head, dict(in_channels=in_channels), trial)


def _loss(head: nn.Module, vectors: Tensor, data_samples: list[Any]) -> Losses:
    return head.loss((vectors,), data_samples)


def _samples(head: nn.Module, device: torch.device) -> list[Any]:
    """A data sample of class 0, in each task where there are several."""
    from mmpretrain.structures import DataSample, MultiTaskDataSample

    if not hasattr(head, 'task_heads'):
        return [DataSample().set_gt_label(torch.zeros(1, dtype=torch.long, device=device))]
    sample = MultiTaskDataSample()
    for name, task_head in head.task_heads.items():
        sample.set_field(*_samples(task_head, device), name)
    return [sample]


class Mean(nn.Module):
    """The average of the tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) to (N, C)."""
        return tokens.mean(dim=1)


class ClassToken(nn.Module):
    """The first of the tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) to (N, C)."""
        return tokens[:, 0]
