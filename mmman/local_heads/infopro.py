"""The local head of InfoPro (Wang et al., 2021): a task head beside a decoder that has to reconstruct the image."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mmman.registry import MODELS

from .base import BlockOutput, LocalHead, Position, require_map, weighted
from .decoder import ImageDecoder


@MODELS.register_module()
class InfoProLocalHead(LocalHead):
    """``loss = w_r * reconstruction + w_t * task``, both from y.

    The reconstruction loss is the binary cross-entropy of every pixel against the image before normalisation, in
    [0, 1] (padding is of the mean colour). The task is any other local head: a classifier ("InfoPro softmax"), one with
    ``ContrastiveHead`` ("InfoPro contrast"), a segmentation or a detection head. The weights go linearly from the first
    local head to the last by the number of the block.

    Args:
        task (dict): Config of the local head that learns the task.
        decoder (dict): Arguments of :class:`ImageDecoder`.
        reconstruction_weight (float | Sequence[float]): w_r, or those of the first and the last local head.
        task_weight (float | Sequence[float]): w_t, or those of the first and the last local head.
        image_range (Sequence[float], optional): The values of black and white in the images that the model's data
            preprocessor is given. None: found out from their type, the preprocessor's ``mean`` and ``std``, and their
            values. Has to be named for images of 12 bits, and for those that the pipeline normalises (unless the data
            samples carry ``img_norm_cfg``). Defaults to None.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If y are tokens, both weights are 0 for this block, which would learn nothing, or ``image_range`` is
            none.
    """

    def __init__(
        self,
        task: dict,
        decoder: dict,
        reconstruction_weight: float | Sequence[float],
        task_weight: float | Sequence[float],
        example: BlockOutput,
        position: Position,
        image_range: Sequence[float] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        require_map(self, example)
        if image_range is not None and (len(image_range) != 2 or image_range[0] >= image_range[1]):
            raise ValueError(
                f'InfoProLocalHead.image_range takes two values, those of black and of white, got {image_range!r}'
            )
        self.image_range = None if image_range is None else tuple(image_range)
        self.reconstruction_weight = _between(reconstruction_weight, position.depth)
        self.task_weight = _between(task_weight, position.depth)
        if self.reconstruction_weight == self.task_weight == 0:
            raise ValueError(
                f'InfoProLocalHead: reconstruction_weight={reconstruction_weight} and task_weight={task_weight} leave '
                f'block {position.index} of {position.num_blocks} without a loss: let one of them end above 0'
            )
        self.decoder = ImageDecoder(example.y.shape[1], out_channels=example.inputs.shape[1], **decoder)
        self.task = MODELS.build(task, default_args=dict(example=example, position=position))

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute both losses, weighted; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list): What the task head takes.

        Returns:
            dict[str, Tensor]: ``loss_reconstruction`` and the task head's own (``loss_task`` where it has one alone).

        Raises:
            ValueError: If it cannot be known which values of the images are black and white.
        """
        images = (replace(output, image_range=self.image_range) if self.image_range else output).images
        decoded = self.decoder(output.y, images.shape[-2:])
        losses = weighted(self.task.loss(output, data_samples), self.task_weight, alone='loss_task')
        # With logits, which is what a sigmoid and then the cross-entropy would be, but stays finite in half precision.
        losses['loss_reconstruction'] = self.reconstruction_weight * F.binary_cross_entropy_with_logits(decoded, images)
        return losses

    def predict(self, output: BlockOutput, data_samples: list[Any], test_cfg: dict | None = None) -> Any:
        """What the task head predicts; see :meth:`LocalHead.predict`."""
        return self.task.predict(output, data_samples, test_cfg)


def _between(weight: float | Sequence[float], depth: float) -> float:
    first, last = weight if isinstance(weight, Sequence) else (weight, weight)
    return first + (last - first) * depth
