"""Faults of an installed toolbox that stop a model end to end as well, mended to try what lies behind them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmman.toolboxes import type_name

# By type, what a config of mmdet still says to it, or says too early, and it does not take.
UNKNOWN = dict(StageCascadeRPNHead='sampling', FPN='force_grad_on_level')


def mended(config: Any) -> Any:
    """The config of a model, or a part of it, without what keeps it from being built end to end as well.

    Args:
        config (Any): A dict of settings, a list of such or a value. It stays as it is.
    """
    if isinstance(config, (list, tuple)):
        return type(config)(map(mended, config))
    if not isinstance(config, Mapping):
        return config
    kind = type_name(config.get('type'))
    settings = ConfigDict({key: mended(value) for key, value in config.items() if key != UNKNOWN.get(kind)})
    if kind == 'CascadeRPNHead':  # a two-stage detector tells its head that regions have one class; RPN does not
        settings.setdefault('num_classes', 1)
    return settings


def mend(model: nn.Module) -> None:
    """Mend what is known to be wrong.

    Args:
        model (nn.Module): A model that a toolbox has built.
    """
    decoder = getattr(model, 'decoder', None)
    if type(decoder).__name__ == 'GroundingDinoTransformerDecoder':
        _widen_box_encoding(decoder)
    for module in model.modules():
        # In onedl-mmdetection 3.5.1 every dense head's prediction asks for loss_cls, which SSD's has not.
        if type(module).__name__.endswith('SSDHead') and not hasattr(module, 'loss_cls'):
            module.loss_cls = None
        # mmdet leaves these weights to a checkpoint: without one they are whatever the memory held.
        if type(module).__name__ == 'TridentConv':
            nn.init.kaiming_uniform_(module.weight)
        if type(module).__name__ == 'DynamicMaskHead':
            module._predict_by_feat_single = partial(_inside, module._predict_by_feat_single)


def _inside(predict: Callable, mask_preds: Tensor, bboxes: Tensor, *args: Any, img_meta: Mapping, **kwargs: Any) -> Any:
    """Predict masks of boxes cut to the image.

    On a CPU mmdet cannot paste a mask whose box is right of the image or below it; QueryInst's are where it has not
    learned.
    """
    height, width = img_meta['img_shape'][:2]
    boxes = bboxes.clamp(min=0)
    boxes = boxes.minimum(boxes.new_tensor([width, height, width, height]))
    return predict(mask_preds, boxes, *args, img_meta=img_meta, **kwargs)


def _widen_box_encoding(decoder: nn.Module) -> None:
    """Give the decoder a first layer as wide as its input.

    In onedl-mmdetection 3.5.1, DINO's decoder encodes boxes in twice as many channels as upstream's does; the decoder
    of Grounding DINO inherits the encoding, but builds its own first layer for upstream's.
    """
    from mmdet.models.layers import DinoTransformerDecoder

    right = DinoTransformerDecoder(
        num_layers=1, layer_cfg={}, return_intermediate=True, post_norm_cfg=None
    ).ref_point_head.layers[0]
    wrong = decoder.ref_point_head.layers[0]
    if right.in_features > wrong.in_features:
        decoder.ref_point_head.layers[0] = right
