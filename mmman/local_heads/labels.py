"""Labels of mmpretrain's data samples as vectors: hard, soft or several for an image."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def label_vectors(data_samples: list[Any], num_classes: int) -> Tensor:
    """The labels of a batch as vectors over the classes.

    Args:
        data_samples (list[DataSample]): With ``gt_score``, which mixed images have, or ``gt_label``.
        num_classes (int): Number of classes.

    Returns:
        Tensor: The scores where there are any; else a 1 for each of an image's labels; (N, num_classes).
    """
    if 'gt_score' in data_samples[0]:
        return torch.stack([sample.gt_score for sample in data_samples]).float()
    rows = [F.one_hot(sample.gt_label.flatten(), num_classes).sum(dim=0) for sample in data_samples]
    return torch.stack(rows).clamp(max=1).float()


def label_similarity(data_samples: list[Any]) -> Tensor:
    """How alike the labels of each two images are: the cosine of their vectors, in [0, 1].

    Args:
        data_samples (list[DataSample]): As in :func:`label_vectors`; the number of classes need not be known.

    Returns:
        Tensor: (N, N). Of single labels 1 where they are the same, 0 elsewhere.
    """
    if 'gt_score' in data_samples[0]:
        vectors = F.normalize(label_vectors(data_samples, 0), dim=1)
        with torch.autocast(vectors.device.type, enabled=False):
            return vectors @ vectors.T
    labels = torch.cat([sample.gt_label.flatten() for sample in data_samples])
    counts = [sample.gt_label.numel() for sample in data_samples]
    same = (labels[:, None] == labels[None, :]).float()
    shared = torch.stack([part.sum(dim=0) for part in same.split(counts)])
    shared = torch.stack([part.sum(dim=1) for part in shared.split(counts, dim=1)], dim=1)
    sizes = shared.diagonal()
    return shared / (sizes[:, None] * sizes[None, :]).sqrt().clamp(min=1)
