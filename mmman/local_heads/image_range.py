"""From the model's inputs back to images in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor

UINT8, UINT16, UNIT = (0.0, 255.0), (0.0, 65535.0), (0.0, 1.0)
TWELVE_BITS = 4096
# Interpolation, and jitter of brightness, leave the range by these factors at most.
SLIGHTLY, BRIGHTER = 1.25, 2.0
# Mean or standard deviation of images from 0 to 255, whichever is larger: at least, and at most.
DARK, BRIGHT = 16, 255 * SLIGHTLY

Images = Tensor | Sequence[Tensor]


def unit_images(
    inputs: Tensor,
    mean: Tensor | float = 0.0,
    std: Tensor | float = 1.0,
    raw: Images | None = None,
    image_range: tuple[float, float] | None = None,
) -> Tensor:
    """Undo the normalisation, and bring the images to [0, 1].

    Args:
        inputs (Tensor): What the model was given, (N, C, H, W).
        mean (Tensor | float): What was subtracted from the images, (C, 1, 1) or (N, C, 1, 1).
        std (Tensor | float): What they were divided by then, of the same shape.
        raw (Tensor | Sequence[Tensor], optional): The images before normalisation, see :func:`find_range`.
        image_range (tuple[float, float], optional): The values of black and white before normalisation. None: what
            :func:`find_range` says.

    Returns:
        Tensor: The images, (N, C, H, W).

    Raises:
        ValueError: If the range is not given and cannot be known.
    """
    images = inputs * std + mean
    black, white = image_range or find_range(mean, std, raw)
    return ((images - black) / (white - black)).clamp(0, 1)


def find_range(mean: Tensor | float, std: Tensor | float, raw: Images | None) -> tuple[float, float]:
    """The values of black and white, from the first of these that tells: type, normalisation, values.

    Only where the type does not tell, that is for all but uint8, numbers are read from the tensors.

    Args:
        mean (Tensor | float): What was subtracted from the images.
        std (Tensor | float): What they were divided by.
        raw (Tensor | Sequence[Tensor], optional): The batch as the dataloader gave it, before the data preprocessor.
            None: not seen; where nothing was subtracted either, they are taken for uint8.

    Returns:
        tuple[float, float]: (0, 255), (0, 65535) or (0, 1).

    Raises:
        ValueError: If none of them tells.
    """
    raw = [raw] if isinstance(raw, Tensor) else list(raw or [])
    types = {tensor.dtype for tensor in raw}
    if types == {torch.uint8}:
        return UINT8
    scale = _scale(mean, std)
    if types == {torch.uint16}:
        # Sensors of 12 bits write into 16: of 65535 that would be an almost black image.
        highest = max(_bounds(raw)[1], scale or 0)
        if 0 < highest < TWELVE_BITS:
            raise _unknown(f'they are uint16, but no value is above {highest:g}')
        return UINT16
    if scale is None:
        return _range_of_values(*_bounds(raw)) if raw else UINT8
    if scale <= SLIGHTLY:
        return UNIT
    if not DARK <= scale <= BRIGHT:
        raise _unknown(f'they are normalised by mean and std of at most {scale:g}')
    return UINT8


def _scale(mean: Tensor | float, std: Tensor | float) -> float | None:
    """The largest of mean and std; None where they leave the images as they are."""
    means, stds = torch.as_tensor(mean), torch.as_tensor(std)
    lowest, highest = float(means.min()), float(means.max())
    if lowest < 0:
        raise _unknown(f'they are normalised by a mean of {lowest:g}')
    largest = float(stds.max())
    if highest == 0 and largest == 1:
        return None
    return max(highest, largest)


def _bounds(tensors: Sequence[Tensor]) -> tuple[float, float]:
    """The lowest and the highest value."""
    # torch compares no uint16.
    tensors = [tensor.int() if tensor.dtype is torch.uint16 else tensor for tensor in tensors]
    return min(float(tensor.min()) for tensor in tensors), max(float(tensor.max()) for tensor in tensors)


def _range_of_values(lowest: float, highest: float) -> tuple[float, float]:
    # Interpolation may go a tenth of the range below black.
    if lowest >= -0.1 and highest <= SLIGHTLY:
        return UNIT
    # Between 1 and 16 lies what the pipeline has normalised.
    if -highest / 8 <= lowest and DARK <= highest <= BRIGHTER * UINT8[1]:
        return UINT8
    raise _unknown(f'they go from {lowest:g} to {highest:g}')


def _unknown(why: str) -> ValueError:
    return ValueError(
        f'which values of the images are black and white cannot be known: {why}. Normalise in model.data_preprocessor '
        '(mean, std) and not in the pipeline, or name the two values before data_preprocessor in the local head: '
        'InfoProLocalHead(image_range=(black, white))'
    )
