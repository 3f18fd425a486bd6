"""The supervised contrastive head ("InfoPro contrast")."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmman.registry import MODELS

from .labels import label_similarity


@MODELS.register_module()
class ContrastiveHead(BaseModule):
    """Supervised contrastive learning (Khosla et al., 2020) with one view for each image, as a head of mmpretrain.

    A linear layer and normalisation give each image a unit vector; images of the same class are to be alike. An image
    whose class nobody else in the batch has adds nothing. Where images are mixed (Mixup, CutMix) or have several
    labels, each pair counts by the cosine of its labels' vectors, which of single labels is 1 or 0.

    Args:
        in_channels (int): Length of the vectors it is given.
        channels (int): Length of the unit vectors. Defaults to 128.
        temperature (float): Defaults to 0.07.
    """

    def __init__(self, in_channels: int, channels: int = 128, temperature: float = 0.07) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, channels)
        self.temperature = temperature

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            feats (tuple[Tensor]): The last entry holds the vectors, (N, in_channels).
            data_samples (list[DataSample]): The labels.

        Returns:
            dict[str, Tensor]: ``loss``.
        """
        # In single precision: a similarity over the temperature reaches 14, its exponential a million.
        vectors = F.normalize(self.fc(feats[-1]).float(), dim=1)
        others = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        weights = label_similarity(data_samples).masked_fill(~others, 0)
        with torch.autocast(vectors.device.type, enabled=False):
            similarity = vectors @ vectors.T / self.temperature
        log_prob = similarity - similarity.masked_fill(~others, -torch.inf).logsumexp(dim=1, keepdim=True)
        totals = weights.sum(dim=1)
        learning = totals > 0
        mean_log_prob = (log_prob.masked_fill(weights == 0, 0) * weights).sum(dim=1) / totals.where(learning, 1)
        return dict(loss=-mean_log_prob.sum() / learning.sum().clamp(min=1))
