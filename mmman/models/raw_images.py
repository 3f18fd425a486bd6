"""What the images of a batch were before the data preprocessor, for local heads that reconstruct them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.utils import is_seq_of
from torch import Tensor, nn

from .local_step import LocalStep

TOOLBOXES = frozenset({'mmengine', 'mmdet', 'mmseg', 'mmpretrain'})
RGB = 3  # images of other numbers of channels are not swapped


@contextmanager
def see_raw_images(model: nn.Module, step: LocalStep) -> Iterator[None]:
    """Inside, a step learns of the batch that the model's data preprocessor is given, and how it was normalised.

    Args:
        model (nn.Module): The plain model.
        step (LocalStep): The step.
    """
    preprocessor, normalisation = model.data_preprocessor, (step.mean, step.std)
    # One of somebody else's may scale the images as well: what they were before tells nothing then.
    known = type(preprocessor).forward.__module__.partition('.')[0] in TOOLBOXES

    def before(preprocessor: nn.Module, args: tuple[Any, ...]) -> None:
        batch = args[0] if args else None
        step.raw = _images(batch) if known else None
        configs = [getattr(sample, 'img_norm_cfg', None) for sample in _entry(batch, 'data_samples') or ()]
        if configs and all(configs):
            device = next(model.parameters()).device
            mean, std = (_values(configs, key, swaps_channels(preprocessor)).to(device) for key in ('mean', 'std'))
            own_mean, own_std = normalisation
            # inputs = ((image - mean) / std - own_mean) / own_std
            step.mean, step.std = own_mean * std + mean, own_std * std

    def after(preprocessor: nn.Module, args: tuple[Any, ...], batch: Any) -> None:
        if not known:
            step.raw = _images(batch)

    handles = [preprocessor.register_forward_pre_hook(before), preprocessor.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entry(batch: Any, key: str) -> Any:
    return batch.get(key) if isinstance(batch, dict) else None


def _images(batch: Any) -> Tensor | list[Tensor] | None:
    images = _entry(batch, 'inputs')
    if not (isinstance(images, Tensor) or is_seq_of(images, Tensor)):
        return None
    several = [images] if isinstance(images, Tensor) else images
    if {image.dtype for image in several} == {torch.uint8}:
        return several[0].new_empty(0)  # their type tells all: the batch need not stay alive for the step
    return images


def _values(configs: list[dict[str, Any]], key: str, swapped: bool) -> Tensor:
    """The means (or stds) of a ``Normalize`` in the pipeline, for each image, (N, C, 1, 1)."""
    values = torch.stack([torch.as_tensor(config[key], dtype=torch.float32).flatten() for config in configs])
    return (values.flip(1) if swapped and values.shape[1] == RGB else values)[..., None, None]


def swaps_channels(preprocessor: nn.Module) -> bool:
    """Whether a data preprocessor swaps red and blue."""
    # mmpretrain's has a name of its own for it.
    return bool(getattr(preprocessor, 'to_rgb', False) or getattr(preprocessor, '_channel_conversion', False))
