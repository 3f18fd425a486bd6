"""One training step and one prediction of any config on made-up images, in blocks or end to end."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmman.apis.any_batch import testing_batch, training_batch
from mmman.apis.config_parts import dicts_in, find_backbone, without_weights
from mmman.apis.default_heads import classes_of, toolbox_of_model
from mmman.models import find_local_backbone
from mmman.partition import family_of
from mmman.registry import MODELS
from mmman.toolboxes import type_name

from .cpu_stand_ins import stand_in
from .stand_in_text import with_small_language_model
from .toolbox_faults import mend, mended

SIDE = dict(mmdet=128, mmseg=64, mmpretrain=64)
ANY_SIDE = 128  # of the example of a backbone that takes images of any size
LEAST_SIDE = 64  # what takes smaller ones only, as LeNet, gets them
STRIDE = 32  # of the last map of a backbone
MANY_QUERIES = 300  # are taken from more positions than small images have


def train_blocks(cfg: Config, scale: int = 1) -> tuple[int, str, str]:
    """Train a step in blocks, and predict.

    Args:
        cfg (Config): A config of local learning.
        scale (int): How many times larger than usual the images are. Defaults to 1.

    Returns:
        tuple[int, str, str]: K, the family that took the backbone apart, the first local head.

    Raises:
        RuntimeError: If no gradient reaches one of the blocks.
    """
    model = _build(cfg.model)
    backbone = find_local_backbone(model)
    local = backbone.local
    if len(local.blocks) < 2:
        raise RuntimeError('there is one block, which is what end to end does')
    reached = _note_gradients(local)
    _train_and_test(model, cfg, local.family.example_input(backbone), scale)
    for block in local.blocks:
        if block.index not in reached:
            raise RuntimeError(f'no loss reaches {block}')
    head = local.branch(local.blocks[0]).head
    return len(local.blocks), type(local.family).__name__, type(getattr(head, 'head', head)).__name__


def train_whole(cfg: Config, scale: int = 1) -> None:
    """Train a step end to end, and predict; see :func:`train_blocks`."""
    holder, key = find_backbone(cfg.model)
    backbone = MODELS.build(without_weights(holder[key]))
    _train_and_test(_build(cfg.model), cfg, family_of(backbone).example_input(backbone), scale)


def _build(config: Any) -> nn.Module:
    """The model with weights as a run from scratch has them, so that signals neither die out nor grow in it."""
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(mended(with_small_language_model(without_weights(config)))))
    model.init_weights()
    # ConvAWS takes the scale of its weights from those that are loaded, which have no entry for it.
    state = model.state_dict()
    model.load_state_dict(
        {k: v for k, v in state.items() if not k.endswith(('weight_gamma', 'weight_beta'))}, strict=False
    )
    # What begins with zeros gives nothing before it a gradient in the first step: heads of ViTs, residual branches,
    # whose frozen norms would never leave zero.
    for module in model.modules():
        weight = getattr(module, 'weight', None)
        if isinstance(weight, nn.Parameter) and weight.numel() and not weight.any():
            nn.init.constant_(weight, 0.2) if weight.dim() == 1 else nn.init.normal_(weight, std=0.002)
    mend(model)
    stand_in(model)
    if getattr(model, 'use_autocast', False):
        model.use_autocast = False  # the optimizer's settings are those for single precision, see below
    return model


def _train_and_test(model: nn.Module, cfg: Config, example: torch.Tensor, scale: int) -> None:
    toolbox = toolbox_of_model(cfg.model)
    least = SIDE[toolbox] * scale * (2 if cfg.model.get('num_queries', 0) > MANY_QUERIES else 1)
    channels, *sides = example.shape[1:]
    size = _pooled_whole(cfg.model) or tuple(_side(side, least) for side in sides)
    for padding in model.data_preprocessor.modules():
        if getattr(padding, 'size', None) is not None:  # to the size of the real images
            padding.size = size
    masks = _reads_masks(cfg.get('train_dataloader'))
    kind = (toolbox, cfg.model, size, classes_of(cfg.model) or 3, masks)
    in_training, in_testing = training_batch(*kind), testing_batch(*kind)
    if channels == 1:  # grey
        for batch in (in_training, in_testing):
            batch['inputs'] = [image[:1] for image in batch['inputs']]
    hub = MessageHub.get_instance('zoo')
    for key in ('iter', 'epoch'):  # where a runner writes them
        hub.update_info(key, 0)
    optim_wrapper = build_optim_wrapper(model, _plain_settings(cfg.optim_wrapper))
    model.train()
    model.train_step(in_training, optim_wrapper)
    model.eval()
    with torch.no_grad():
        model.test_step(in_testing)


def _pooled_whole(model: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size of the images whose map a neck pools as a whole, as for re-identification."""
    window = (model.get('neck') or {}).get('kernel_size') if isinstance(model.get('neck'), Mapping) else None
    return (window[0] * STRIDE, window[1] * STRIDE) if isinstance(window, (tuple, list)) else None


def _side(of_example: int, least: int) -> int:
    """A side of the images: the example's, if the backbone takes no others."""
    if of_example == ANY_SIDE:
        return least
    return of_example if of_example < LEAST_SIDE else max(of_example, least)


def _plain_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's settings with SGD in single precision, which takes the least memory and time."""
    settings = copy.deepcopy(config)
    settings.optimizer = dict(type='SGD', lr=1e-9, weight_decay=settings.optimizer.get('weight_decay', 0.0))
    for option in ('loss_scale', 'dtype', 'accumulative_counts'):
        settings.pop(option, None)
    settings.type = 'OptimWrapper'
    return settings


def _reads_masks(part: Any) -> bool:
    """Whether a data set's pipeline loads masks."""
    return any(step.get('with_mask') or 'Panoptic' in type_name(step.get('type')) for step in dicts_in(part))


def _note_gradients(local: Any) -> set[int]:
    """A set that gets a block's index when a gradient that is not zero reaches one of its weights."""
    reached = set()
    for block in local.blocks:
        for segment in block.segments:
            for param in local.family.parameters(local.backbone, segment):
                if param.requires_grad and param.dim() > 1:
                    param.register_hook(lambda grad, index=block.index: reached.add(index) if grad.any() else None)
    return reached
