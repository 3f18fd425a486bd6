"""Light local heads for whatever a model learns: detection, segmentation, classification."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmman.registry import MODELS
from mmman.toolboxes import TOOLBOXES, class_of, type_name

CHANNELS = 128
MANY_CLASSES = 300  # from here on nine anchors of a position, each with all classes, are no light head


def toolbox_of_model(model: Mapping[str, Any]) -> str | None:
    """The toolbox whose kind of model a config builds; None for another's.

    A model of mmdet that inherits one of mmpretrain, as for re-identification, is of mmpretrain's kind.

    Args:
        model (Mapping): The model's config; the modules of its toolbox are registered.
    """
    kind = class_of(model.get('type'), MODELS)
    roots = [base.__module__.partition('.')[0] for base in inspect.getmro(kind)] if kind is not None else []
    return next((root for root in reversed(roots) if root in TOOLBOXES), None)


def light_heads(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Local heads for a model, the one to be preferred first; not all of them need fit its backbone.

    A detector has its own dense head with narrow, short towers, or RetinaNet's, or ATSS's, which has one anchor for a
    position in the place of nine, where there are many classes; a segmentor an FCN head; a classifier
    its own head, or a linear one with its own loss.

    Args:
        model (Mapping): The model's config; the modules of its toolbox are registered.

    Returns:
        list[dict]: Configs of local heads.

    Raises:
        ValueError: If it is no detector, segmentor or classifier whose classes are known.
    """
    toolbox = toolbox_of_model(model)
    make = {'mmdet': _detection, 'mmseg': _segmentation, 'mmpretrain': _classification}.get(toolbox)
    if make is None:
        raise ValueError(
            f'{type_name(model.get("type"))} is no model of {", ".join(TOOLBOXES)}: say what its blocks learn, '
            'local_head=dict(...)'
        )
    return list(make(model))


def classes_of(model: Mapping[str, Any]) -> int | None:
    """How many classes a model learns; None if its config does not say.

    Args:
        model (Mapping): The model's config.
    """
    decode = model.get('decode_head')
    decode = [decode] if isinstance(decode, Mapping) else decode or []
    # A classifier may have its last layer in the backbone, as VGG.
    backbone = model.get('backbone') or {}
    backbone = backbone.get('backbone', backbone) if isinstance(backbone, Mapping) else {}  # a local one's own
    for heads in ([*decode, model.get('head')], [backbone]):
        named = [part['num_classes'] for part in heads if isinstance(part, Mapping) and 'num_classes' in part]
        if named := [n for n in named if isinstance(n, int) and n > 0]:
            return max(named)
    return max(_numbers_of_classes(model), default=None)


def _detection(model: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    classes = classes_of(model)
    if classes is None and isinstance(model.get('rpn_head'), Mapping):
        classes = 1  # a network that proposes regions knows objects only
    if classes is None:
        raise ValueError(f'{type_name(model.get("type"))} names no num_classes: set local_head=dict(...)')
    own = model.get('bbox_head')
    if isinstance(own, Mapping) and own.get('type') is not None:
        kind = class_of(own['type'], MODELS)
        light = {'stacked_convs': 1, 'feat_channels': CHANNELS}
        takes = inspect.signature(kind.__init__).parameters if kind is not None else {}
        narrow = {key: value for key, value in light.items() if key in own or key in takes}
        yield dict(
            type='mmman.DetectionLocalHead',
            channels=CHANNELS,
            head={**own, **narrow},
            train_cfg=model.get('train_cfg'),
        )
    head, train_cfg = (_retina_head, _retina_train_cfg) if classes < MANY_CLASSES else (_atss_head, _atss_train_cfg)
    yield dict(type='mmman.DetectionLocalHead', channels=CHANNELS, head=head(classes), train_cfg=train_cfg())


def _numbers_of_classes(config: Any, name: str = '') -> Iterator[int]:
    """What a detector's heads say: of panoptic ones the number of things, else ``num_classes``."""
    if isinstance(config, (list, tuple)):
        for entry in config:
            yield from _numbers_of_classes(entry, name)
    elif isinstance(config, Mapping):
        if isinstance(config.get('num_things_classes'), int):
            yield config['num_things_classes']
        elif isinstance(config.get('num_classes'), int) and name != 'semantic_head':
            yield config['num_classes']
        for key, value in config.items():
            if key.endswith('head') or key in ('detector', 'model', 'mask_rcnn'):
                yield from _numbers_of_classes(value, key)


def _retina_head(num_classes: int) -> dict[str, Any]:
    return dict(
        type='mmdet.RetinaHead',
        num_classes=num_classes,
        stacked_convs=1,
        feat_channels=CHANNELS,
        anchor_generator=dict(
            type='mmdet.AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='mmdet.L1Loss', loss_weight=1.0),
    )


def _retina_train_cfg() -> dict[str, Any]:
    return dict(
        assigner=dict(type='mmdet.MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type='mmdet.PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    )


def _atss_head(num_classes: int) -> dict[str, Any]:
    return dict(
        type='mmdet.ATSSHead',
        num_classes=num_classes,
        stacked_convs=1,
        feat_channels=CHANNELS,
        anchor_generator=dict(
            type='mmdet.AnchorGenerator',
            octave_base_scale=8,
            scales_per_octave=1,
            ratios=[1.0],
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='mmdet.GIoULoss', loss_weight=2.0),
        loss_centerness=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    )


def _atss_train_cfg() -> dict[str, Any]:
    return dict(
        assigner=dict(type='mmdet.ATSSAssigner', topk=9),
        sampler=dict(type='mmdet.PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    )


def _segmentation(model: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    heads = model.get('decode_head')
    head = (heads if isinstance(heads, Mapping) else heads[-1]) if heads else {}
    classes = classes_of(model)
    if classes is None:
        raise ValueError(f'{type_name(model.get("type"))} names no num_classes: set local_head=dict(...)')
    # Where queries are classified, out_channels are theirs.
    kept = {key: head[key] for key in ('threshold', 'ignore_index') if key in head}
    kept |= {'out_channels': 1} if head.get('out_channels') == 1 else {}
    yield dict(
        type='mmman.SegmentationLocalHead',
        head=dict(
            type='mmseg.FCNHead',
            num_classes=classes,
            channels=CHANNELS,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0.1,
            norm_cfg=head.get('norm_cfg') or dict(type='SyncBN', requires_grad=True),
            align_corners=head.get('align_corners', False),
            loss_decode=dict(type='mmseg.CrossEntropyLoss', use_sigmoid=head.get('out_channels') == 1, loss_weight=1.0),
            **kept,
        ),
    )


def _classification(model: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    head = model.get('head') or {}
    kind = class_of(model.get('type'), MODELS)
    if kind is not None and '.selfsup.' in kind.__module__:
        raise ValueError(
            f'{kind.__name__} learns without labels, which no local head does: pretrain it end to end, and train in '
            'blocks what is fine-tuned from it; or say what its blocks learn, local_head=dict(...)'
        )
    classes = classes_of(model)
    if classes is None:
        raise ValueError(f'{type_name(model.get("type"))} names no num_classes: set local_head=dict(...)')
    loss = {'loss': head['loss']} if head.get('loss') else {}
    kind = class_of(head.get('type'), MODELS)
    several = any(base.__name__ == 'MultiLabelClsHead' for base in inspect.getmro(kind or object))
    linear = f'mmpretrain.{"MultiLabel" if several else ""}LinearClsHead'
    linear = dict(type=linear, num_classes=classes, **loss)
    own = {key: value for key, value in head.items() if key != 'topk'}
    for convs in ([(CHANNELS, 3, 1)], []):  # tokens are not convolved
        for one in (own, linear) if 'num_classes' in head else (linear,):
            yield dict(type='mmman.ClassificationLocalHead', head=one, convs=convs)
