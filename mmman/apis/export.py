"""ONNX of the plain model: backbone, neck and head; no auxiliary networks, no pre- and post-processing."""

from __future__ import annotations

import copy
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmman.models import LocalBackbone
from mmman.models.raw_images import swaps_channels
from mmman.partition import image_channels
from mmman.toolboxes import is_type, register_toolbox, toolbox_of

from .publish import load_checkpoint, plain_state_dict

TOLERANCE = 1e-4
CHECKED_BATCHES = (1, 3)
PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')


class Export(NamedTuple):
    """What was written, and how far onnxruntime's outputs are from torch's."""

    path: Path
    outputs: dict[str, tuple[int, ...]]
    difference: float


class RawOutputs(nn.Module):
    """A model of mmdet, mmseg or mmpretrain as a function of images alone, its outputs in one flat tuple.

    Args:
        model (nn.Module): The model; its ``forward(images, mode='tensor')`` is what is computed.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Give the raw outputs for images of shape (N, C, H, W), normalised as the data preprocessor does it."""
        return tuple(output for _, output in self.named_outputs(images))

    def named_outputs(self, images: Tensor) -> list[tuple[str, Tensor]]:
        """Give the raw outputs with their names.

        A single map or vector is ``logits``. A detection head returns several lists with a tensor for each level:
        these are ``output<i>_level<j>``, in the order of the head's own ``forward``.
        """
        outputs = self.model(images, mode='tensor')
        while isinstance(outputs, Sequence) and len(outputs) == 1:
            (outputs,) = outputs
        if isinstance(outputs, Tensor):
            return [('logits', outputs)]
        lists = [[part] if isinstance(part, Tensor) else part for part in outputs]
        return [(f'output{i}_level{j}', level) for i, levels in enumerate(lists) for j, level in enumerate(levels)]


def plain_model(config: str | Path | Config, checkpoint: str | Path) -> nn.Module:
    """Build a config's model without local learning and load the plain part of a checkpoint, every key of it.

    Args:
        config (str | Path | Config): Stock or wrapped config of mmdet, mmseg or mmpretrain.
        checkpoint (str | Path): A checkpoint of a training run of either, or a published one.

    Returns:
        nn.Module: The model, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If the checkpoint is of another model.
    """
    cfg = config if isinstance(config, Config) else Config.fromfile(config)
    scope = toolbox_of(cfg)
    register_toolbox(scope)
    model = copy.deepcopy(cfg.model)
    if is_type(model.backbone.type, LocalBackbone):
        model.backbone = model.backbone.backbone
    with DefaultScope.overwrite_default_scope(scope):
        built = revert_sync_batchnorm(MODELS.build(model))
    state = plain_state_dict(load_checkpoint(Path(checkpoint))['state_dict'])
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"'{checkpoint}' is of another model: {' '.join(str(error).split())[:300]}") from error
    return built.eval()


def export_onnx(model: nn.Module, path: str | Path, shape: tuple[int, int]) -> Export:
    """Write a model's raw outputs as ONNX, for any batch size, and compare onnxruntime's with torch's.

    Input is ``images``: float32, (N, C, H, W), already normalised; mean, standard deviation and whether red and blue
    are swapped stand in the file's metadata. Output names are those of :meth:`RawOutputs.named_outputs`. Decoding of
    boxes, NMS, and resizing of the segmentation map to the image are not in the file.

    Args:
        model (nn.Module): A model, from :func:`plain_model`; it is put into evaluation mode.
        path (str | Path): The file to write.
        shape (tuple[int, int]): Height and width of the images in pixels.

    Returns:
        Export: The file, its outputs with their shapes for one image, and the largest difference that was found.

    Raises:
        ImportError: If one of onnx, onnxruntime and onnxscript is missing.
        ValueError: If the model has no outputs that depend on images alone (two-stage detectors), or if onnxruntime's
            outputs differ from torch's by more than ``TOLERANCE`` of the largest value of the output (at least 1).
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"{', '.join(missing)} not installed: pip install 'mmman[export]'")
    if hasattr(model, 'roi_head'):
        raise ValueError(
            f'{type(model).__name__} is a two-stage detector, whose heads work on proposals: its raw outputs are not a '
            'function of images alone; one-stage detectors, segmentors and classifiers can be exported'
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = RawOutputs(model).eval()
    shape = (_image_channels(model), *shape)
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        names = {name: (1, *output.shape[1:]) for name, output in raw.named_outputs(images[:1])}
        program = torch.onnx.export(
            raw,
            (images,),
            dynamo=True,
            input_names=['images'],
            output_names=list(names),
            dynamic_shapes={'images': {0: torch.export.Dim('batch')}},
            verbose=False,
        )
    program.model.metadata_props.update(_metadata(model))
    program.save(path)
    return Export(path, names, _compare(raw, path, shape))


def _image_channels(model: nn.Module) -> int:
    mean = getattr(model.data_preprocessor, 'mean', None)
    if mean is not None and mean.numel() > 1:  # one number serves any number of channels
        return mean.numel()
    return image_channels(model.backbone)


def _metadata(model: nn.Module) -> dict[str, str]:
    """What the data preprocessor does with an image before the model sees it, as text."""
    preprocessor = model.data_preprocessor
    swaps = swaps_channels(preprocessor)
    metadata = {'producer': 'mmman.apis.export', 'swaps_red_and_blue': str(swaps).lower()}
    for name in ('mean', 'std'):
        value = getattr(preprocessor, name, None)
        if value is not None:
            metadata[name] = ' '.join(f'{number:g}' for number in value.flatten().tolist())
    return metadata


def _compare(raw: RawOutputs, path: Path, shape: tuple[int, int, int]) -> float:
    """Run the file on random images, in batches of several sizes; the largest difference, relative to each output."""
    session = importlib.import_module('onnxruntime').InferenceSession(path, providers=['CPUExecutionProvider'])
    worst = 0.0
    for batch in CHECKED_BATCHES:
        images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = raw.named_outputs(images)
        outputs = session.run([name for name, _ in expected], {'images': images.numpy()})
        for (name, tensor), output in zip(expected, outputs, strict=True):
            if output.shape != tuple(tensor.shape):
                raise ValueError(
                    f"'{path}': {name} has shape {output.shape} in onnxruntime, {tuple(tensor.shape)} in torch"
                )
            difference = np.abs(output - tensor.numpy()).max() / max(1.0, np.abs(tensor.numpy()).max())
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"'{path}': {name} differs by {difference:.1e} of its largest value between onnxruntime and torch; "
                    f'{TOLERANCE:g} is allowed'
                )
            worst = max(worst, float(difference))
    return worst
