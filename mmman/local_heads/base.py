"""The interface of a local head."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from .image_range import Images, unit_images


@dataclass
class BlockOutput:
    """What one block hands to its local head, or the shapes of it.

    Args:
        x (Tensor): Output of the block with its graph: a feature map (N, C, H, W), or tokens (N, L, C).
        y (Tensor): Output of the block's auxiliary network, with its graph; (N, C', H', W') or (N, L, C).
        inputs (Tensor): The image batch the model was given, normalised, (N, C, H0, W0).
        mean (Tensor | float): What was subtracted from the images, (C, 1, 1) or (N, C, 1, 1).
        std (Tensor | float): What they were divided by, of the same shape.
        raw (Tensor | Sequence[Tensor], optional): The batch as the dataloader gave it, whose type tells the images'
            range. None: not seen.
        image_range (tuple[float, float], optional): The values of black and white before normalisation. None: found out
            by :func:`mmman.local_heads.image_range.find_range`.
    """

    x: Tensor
    y: Tensor
    inputs: Tensor
    mean: Tensor | float = 0.0
    std: Tensor | float = 1.0
    raw: Images | None = None
    image_range: tuple[float, float] | None = None

    def stride(self, feature: Tensor) -> int:
        """Stride of a feature map with respect to the images, in pixels (rounded: maps may be padded)."""
        return round(self.inputs.shape[-1] / feature.shape[-1])

    @property
    def images(self) -> Tensor:
        """The images as they were before normalisation, in [0, 1], (N, C, H0, W0).

        Raises:
            ValueError: If it cannot be known which of their values are black and white.
        """
        return unit_images(self.inputs, self.mean, self.std, self.raw, self.image_range)


@dataclass(frozen=True)
class Position:
    """Where in the network a local head stands.

    Args:
        index (int): Number of its block, 1 to K-1.
        num_blocks (int): K.
        layer (int): Number of the block's last segment in the backbone, from 0.
        later (tuple[torch.Size, ...]): Output shapes of all segments behind it, for the example.
        extra_tokens (int): Of tokens, how many stand before those of the patches; the first of them is the class token.
            Defaults to 1.
    """

    index: int
    num_blocks: int
    layer: int = 0
    later: tuple[torch.Size, ...] = ()
    extra_tokens: int = 1

    @property
    def is_last(self) -> bool:
        """Whether this is the last local head, of block K-1."""
        return self.index == self.num_blocks - 1

    @property
    def depth(self) -> float:
        """How deep the head stands among the local heads: 0 for the first, 1 for the last (0 where there is one)."""
        return (self.index - 1) / max(self.num_blocks - 2, 1)


class LocalHead(BaseModule):
    """Base class of the local heads.

    Args:
        example (BlockOutput): The outputs of the block for one small image: a head builds its layers for these channels
            and strides, so that no config has to name them.
        position (Position): Where the block stands.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self, example: BlockOutput, position: Position, init_cfg: dict | None = None) -> None:
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

    def adapt_to(self, model: nn.Module) -> None:  # noqa: B027 (most heads have nothing to adapt)
        """Take over what the model's own heads say of all heads; called once, before training.

        Args:
            model (nn.Module): The whole model.

        Raises:
            ValueError: If this head does not fit the model.
        """

    def predict(self, output: BlockOutput, data_samples: list[Any], test_cfg: dict | None = None) -> Any:
        """Predict the task's result from this block alone: to see what a block knows. Training never calls it.

        Args:
            output (BlockOutput): What the block and its auxiliary made of a batch, in evaluation mode.
            data_samples (list): The toolbox's data samples of the batch.
            test_cfg (dict, optional): What the model's own head is given of its ``test_cfg``.

        Returns:
            What the toolbox's head returns from its own ``predict``.

        Raises:
            ValueError: If this head predicts nothing of the kind.
        """
        raise ValueError(f'{type(self).__name__} predicts nothing: it has no predict()')


Loss = Tensor | list[Tensor]  # mmdet's heads give one for each level


def weighted(losses: dict[str, Loss], weight: float, alone: str) -> dict[str, Loss]:
    """Weigh the losses that a head returned, for a local head that adds another.

    Args:
        losses (dict[str, Tensor | list[Tensor]]): What the head returned, metrics among them.
        weight (float): Factor of the losses; metrics stay.
        alone (str): New name of an entry called ``'loss'``, which in logs is the name of the sum.

    Returns:
        dict[str, Tensor | list[Tensor]]: The same entries, weighed.
    """
    weighed = {}
    for name, value in losses.items():
        if 'loss' in name:
            value = [part * weight for part in value] if isinstance(value, (list, tuple)) else value * weight
        weighed[alone if name == 'loss' else name] = value
    return weighed


def require_map(head: LocalHead, example: BlockOutput) -> None:
    """Refuse tokens, for a head that convolves.

    Raises:
        ValueError: If y is no feature map.
    """
    if example.y.ndim != 4:
        raise ValueError(
            f'{type(head).__name__} needs feature maps (N, C, H, W), but y are tokens of shape '
            f'{tuple(example.y.shape)}: take ClassificationLocalHead, without pool and convs'
        )
