"""Build a dense head of mmdet for some levels of its pyramid, or say in one line why that cannot be."""

import copy
import inspect
from collections.abc import Sequence

from torch import nn

from mmman.registry import MODELS

from .levels import HeadLevels

ADVICE = 'Take another dense head, such as the RetinaHead of configs/_base_/local_learning/retina.py'


def build_dense_head(
    pyramid: HeadLevels,
    levels: Sequence[int],
    channels: int,
    train_cfg: dict | None = None,
    num_classes: int | None = None,
) -> nn.Module:
    """Build a dense head.

    Args:
        pyramid (HeadLevels): Its config, with all levels.
        levels (Sequence[int]): Indices of the levels that it is to have, in the head's order.
        channels (int): Channels of each level.
        train_cfg (dict, optional): Its ``train_cfg``, in the place of that in the config.
        num_classes (int, optional): Its number of classes, in the place of that in the config.

    Returns:
        nn.Module: The head.

    Raises:
        ValueError: If the head's loss wants more than features and targets, or the head cannot be built.
    """
    _require_loss_of_features(pyramid)
    config = pyramid.config_at(levels, channels)
    if train_cfg is not None:
        config['train_cfg'] = train_cfg
    if num_classes is not None:
        config['num_classes'] = num_classes
    _require_own_part(pyramid, config.get('train_cfg'))
    build = _build_vfnet if pyramid.inherits('VFNetHead') else _build
    try:
        return build(pyramid, levels, config)
    except Exception as error:  # whatever a toolbox's class raises that is given what does not fit
        raise ValueError(
            f'DetectionLocalHead: {pyramid.name} cannot be built for strides {[pyramid.strides[i] for i in levels]}: '
            f'{type(error).__name__}: {" ".join(str(error).split())}{pyramid.unequal}. {ADVICE}'
        ) from error


def _build(pyramid: HeadLevels, levels: Sequence[int], config: dict) -> nn.Module:
    return MODELS.build(copy.deepcopy(config))


def _build_vfnet(pyramid: HeadLevels, levels: Sequence[int], config: dict) -> nn.Module:
    """Build a VFNetHead, which divides by the ranges' ends and takes the last one from the level before it."""
    ranges = pyramid.setting('regress_ranges')
    own = [ranges[i] for i in levels]
    head = MODELS.build({**copy.deepcopy(config), 'regress_ranges': [*own, own[-1]] if len(own) == 1 else own})
    ends = [end for _, end in ranges]
    ends[-1] = 2 * ends[-2] if len(ends) > 1 else ends[-1]
    head.regress_ranges, head.reg_denoms = own, [ends[i] for i in levels]
    return head


def _require_loss_of_features(pyramid: HeadLevels) -> None:
    """Refuse heads whose ``loss`` is given more than features and data samples: a teacher's output, queries, texts.

    Raises:
        ValueError: If so, or if there is no ``loss``.
    """
    loss = getattr(pyramid.kind, 'loss', None)
    if pyramid.kind is None:
        return  # not registered, which the registry says better
    if loss is None:
        raise ValueError(f'DetectionLocalHead: {pyramid.name} is no dense head of mmdet, it has no loss(). {ADVICE}')
    signature = inspect.signature(loss)
    try:
        signature.bind('self', 'features', 'data samples')
    except TypeError as error:
        wanted = ', '.join(name for name, p in list(signature.parameters.items())[1:] if p.default is p.empty)
        raise ValueError(
            f'DetectionLocalHead: the loss of {pyramid.name} wants ({wanted}), but a block has features and data '
            f'samples only. {ADVICE}'
        ) from error


def _require_own_part(pyramid: HeadLevels, train_cfg: dict | None) -> None:
    """Refuse the ``train_cfg`` of a whole two-stage detector.

    Raises:
        ValueError: If it is one.
    """
    parts = [part for part in ('rpn', 'rpn_proposal', 'rcnn') if part in (train_cfg or {})]
    if parts:
        raise ValueError(
            f'DetectionLocalHead.train_cfg is that of a whole two-stage detector (it has {", ".join(parts)}): give '
            f'{pyramid.name} its own, for an RPNHead train_cfg={{{{_base_.model.train_cfg.rpn}}}}'
        )
