"""Local heads that classify each image by one vector, with a head of mmpretrain."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from .base import BlockOutput, LocalHead
from .toolbox_head import Losses, Trial, build_head

TAKERS = 'LinearClsHead, StackedLinearClsHead, VisionTransformerClsHead, ArcFaceClsHead or MultiLabelLinearClsHead'


class VectorClassifier(LocalHead):
    """What local heads have in common that give each image one vector, and that to a head of mmpretrain, ``self.head``.

    Args: see :class:`LocalHead`.
    """

    @abstractmethod
    def vectors(self, output: BlockOutput) -> Tensor:
        """Make the vectors.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.

        Returns:
            Tensor: One vector for each image, (N, C).
        """

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the head's losses; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[DataSample]): The labels.

        Returns:
            dict[str, Tensor]: The head's losses, ``loss`` for most.
        """
        return self.head.loss((self.vectors(output),), data_samples)

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
        return self.head.predict((self.vectors(output),), data_samples)


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
    errors = []
    for images, samples in ((1, _samples), (1, _mixed_samples), (2, _identities)):
        trial = Trial(vector.expand(images, -1), _loss, samples, 'one vector for each image', TAKERS)
        try:
            return build_head(type(owner).__name__, head, dict(in_channels=in_channels), trial)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _loss(head: nn.Module, vectors: Tensor, data_samples: list[Any]) -> Losses:
    return head.loss((vectors,), data_samples)


def _mixed_samples(head: nn.Module, device: torch.device) -> list[Any]:
    """The same with scores, as Mixup gives them: losses with a sigmoid take no number of a class."""
    samples = _samples(head, device)
    for sample in samples:
        if 'gt_label' in sample:
            sample.set_gt_score(torch.eye(head.num_classes, device=device)[0])
    return samples


def _identities(head: nn.Module, device: torch.device) -> list[Any]:
    """Two images of two persons in one sample, as mmdet's re-identification has them."""
    from mmdet.structures import ReIDDataSample

    return [ReIDDataSample().set_gt_label(torch.arange(2, device=device))]


def _samples(head: nn.Module, device: torch.device) -> list[Any]:
    """A data sample of class 0, in each task where there are several."""
    from mmpretrain.structures import DataSample, MultiTaskDataSample

    if not hasattr(head, 'task_heads'):
        return [DataSample().set_gt_label(torch.zeros(1, dtype=torch.long, device=device))]
    sample = MultiTaskDataSample()
    for name, task_head in head.task_heads.items():
        sample.set_field(*_samples(task_head, device), name)
    return [sample]
