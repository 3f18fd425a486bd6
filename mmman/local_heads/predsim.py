"""The local head of PredSim (Nokland and Eidnes, 2019)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmman.registry import MODELS
from mmman.toolboxes import type_name

from .base import BlockOutput, Position, require_map, weighted
from .labels import label_vectors
from .vector_classifier import VectorClassifier, build_classifier


@MODELS.register_module()
class PredSimLocalHead(VectorClassifier):
    """``loss = (1 - beta) * prediction + beta * similarity``.

    Prediction: a linear classifier on y, average-pooled to about ``pooled_size`` numbers. Similarity: the squared
    difference between the batch's similarity matrix after a 3x3 convolution of y and that of the labels' vectors:
    one-hot, the scores of mixed images (Mixup, CutMix), or with a 1 for each of several labels. The matrix holds the
    cosines between centred vectors; of a map, the vector is each channel's standard deviation over the positions.

    Args:
        head (dict): Config of the classifier, a head of mmpretrain with ``num_classes``; ``in_channels`` is filled in.
        beta (float): Share of the similarity loss, in [0, 1]. Defaults to 0.99.
        pooled_size (int): How many numbers the classifier sees at most, at least one for each channel. Defaults to 512
            (AugLocal's code; the original has 4096).
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If y are tokens, ``beta`` is out of its range, or the classifier names no ``num_classes`` or cannot
            learn from a vector.
    """

    def __init__(
        self,
        head: dict,
        example: BlockOutput,
        position: Position,
        beta: float = 0.99,
        pooled_size: int = 512,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        require_map(self, example)
        if not 0 <= beta <= 1:
            raise ValueError(f'PredSimLocalHead.beta must lie in [0, 1], got {beta}')
        channels = example.y.shape[1]
        side = max(1, math.isqrt(pooled_size // channels))
        self.beta = beta
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten())
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.head = build_classifier(self, head, example, channels * side**2)
        if not head.get('num_classes'):
            raise ValueError(
                f'PredSimLocalHead compares labels of num_classes classes, but the config of {type_name(head["type"])} '
                'names none: set head=dict(..., num_classes=...)'
            )
        self.num_classes = head['num_classes']

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute both losses, weighted; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[DataSample]): The labels.

        Returns:
            dict[str, Tensor]: ``loss_similarity`` and ``loss_prediction``.
        """
        losses = weighted(super().loss(output, data_samples), 1 - self.beta, alone='loss_prediction')
        variance = self.conv(output.y).float().flatten(2).var(dim=2, unbiased=False)
        # A channel that is the same everywhere has variance 0, where the root has no gradient.
        similarity = _similarity((variance + 1e-8).sqrt())
        target = _similarity(label_vectors(data_samples, self.num_classes))
        losses['loss_similarity'] = self.beta * F.mse_loss(similarity, target)
        return losses

    def vectors(self, output: BlockOutput) -> Tensor:
        """See :meth:`VectorClassifier.vectors`."""
        return self.pool(output.y)


def _similarity(vectors: Tensor) -> Tensor:
    """Cosines between the rows, each centred, in single precision: (N, C) to (N, N)."""
    vectors = F.normalize(vectors - vectors.mean(dim=1, keepdim=True), dim=1)
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors @ vectors.T
