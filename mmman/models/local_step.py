"""One training step as the backbone sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmman.partition import State

LABELLED = 'sup'  # mmdet's name for the branch of the images with labels, in semi-supervised detectors


@dataclass
class LocalStep:
    """What the local losses of one training step need, and what becomes of them.

    Args:
        update (Callable): Given a block's index, its losses and a function, runs the losses' backward and sees to the
            block's optimizer step, before the next block's own; calls the function after the step (not so amid gradient
            accumulation).
        data_samples (list): The batch's targets; set when the model is called.
        mean (Tensor | float): What was subtracted from the images, (C, 1, 1) or (N, C, 1, 1).
        std (Tensor | float): What they were divided by, of the same shape.
        raw (Tensor | Sequence[Tensor], optional): The images as the dataloader gave them, or, where the data
            preprocessor may do more than it says, as it gave them on. None: not seen.
        again (bool): Whether the backbone may run again in this step, on images from which blocks 1..K-1 do not learn:
            a semi-supervised detector's without labels, the reference frames of a tracker.
        done (bool): Whether the backbone has already run in this step.
        received (tuple, optional): Output of block K-1 and the features so far (by their index in the backbone's
            ``out_indices``), where blocks 1..K-1 run elsewhere.
    """

    update: Callable[[int, dict[str, Tensor], Callable[[], None]], None]
    data_samples: list[Any] | None = None
    mean: Tensor | float = 0.0
    std: Tensor | float = 1.0
    raw: Tensor | Sequence[Tensor] | None = None
    again: bool = False
    done: bool = False
    received: tuple[State, dict[int, State]] | None = None

    def take_targets(self, data_samples: Any) -> None:
        """Take a batch's targets.

        Args:
            data_samples (list | dict): What the model is given; of a semi-supervised detector the targets by branch, of
                which those of the labelled images count.
        """
        branches = isinstance(data_samples, Mapping) and LABELLED in data_samples
        self.data_samples = data_samples[LABELLED] if branches else data_samples
        videos = isinstance(data_samples, Sequence) and any(hasattr(s, 'video_data_samples') for s in data_samples)
        self.again = branches or videos


def normalisation_of(model: nn.Module) -> tuple[Tensor | float, Tensor | float]:
    """What a model's data preprocessor subtracts from images and divides them by: (C, 1, 1) each, or 0 and 1."""
    preprocessor = model.data_preprocessor
    preprocessor = getattr(preprocessor, 'data_preprocessor', preprocessor)  # of several branches
    if getattr(preprocessor, '_enable_normalize', False):
        return preprocessor.mean, preprocessor.std
    return 0.0, 1.0
