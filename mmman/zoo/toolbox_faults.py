"""Faults of an installed toolbox that stop a model end to end as well, mended to try what lies behind them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn


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
