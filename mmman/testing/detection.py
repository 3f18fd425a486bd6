"""A RetinaNet-R18 of a few thousand parameters, plain or in blocks, and batches for it."""

import copy
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.structures import InstanceData

NUM_CLASSES = 3


def tiny_retinanet(num_blocks: int | None = 4, backbone: dict | None = None, **local: Any) -> ConfigDict:
    """Config of mmdet's RetinaNet-R18 with 8 channels in the stem and 16 in neck and heads.

    Args:
        num_blocks (int, optional): K, by stage; None gives the plain mmdet model. Defaults to 4.
        backbone (dict, optional): What to change in the ResNet's config. Nothing is frozen by default.
        **local: Further arguments of ``LocalBackbone``, or replacements of the default ones.

    Returns:
        ConfigDict: The model's config.
    """
    model = get_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py').model
    plain = model.backbone
    # With mmdet's zero-initialised residuals half of the weights have no gradient in the first step.
    small = dict(base_channels=8, frozen_stages=-1, norm_eval=False, zero_init_residual=False, init_cfg=None)
    plain.update({**small, **(backbone or {})})
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.test_cfg.score_thr = 0.0  # an untrained head scores everything near 0.01
    model.bbox_head.update(num_classes=NUM_CLASSES, in_channels=16, feat_channels=16)
    if num_blocks is None:
        return model

    head = copy.deepcopy(model.bbox_head)
    head.stacked_convs = 1
    model.backbone = ConfigDict(
        type='mmman.LocalBackbone',
        backbone=plain,
        partition=dict(num_blocks=num_blocks),
        local_head=dict(type='mmman.DetectionLocalHead', channels=16, head=head, train_cfg=model.train_cfg),
    )
    model.backbone.update(local)
    return model


def tiny_batch(seed: int = 0, num_items: tuple[int, ...] = (3, 2)) -> dict:
    """Random images of different widths with random boxes, as a dataloader of mmdet gives them.

    Args:
        seed (int): Seed of images and boxes. Defaults to 0.
        num_items (tuple[int, ...]): Boxes of each image; its length is the batch size. Defaults to (3, 2).

    Returns:
        dict: ``inputs`` and ``data_samples``.
    """
    rng = np.random.RandomState(seed)
    inputs, data_samples = [], []
    for i, count in enumerate(num_items):
        height, width = 96, 64 + 32 * (i % 2)
        inputs.append(torch.from_numpy(rng.randint(0, 255, size=(3, height, width), dtype=np.uint8)))
        centre = rng.rand(count, 2) * (width, height)
        size = 12 + 30 * rng.rand(count, 2)
        boxes = np.hstack([centre - size / 2, centre + size / 2]).clip(0, (width, height, width, height))
        sample = DetDataSample(
            metainfo=dict(
                img_id=i,
                img_shape=(height, width),
                ori_shape=(height, width),
                pad_shape=(height, width),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=HorizontalBoxes(boxes, dtype=torch.float32),
            labels=torch.from_numpy(rng.randint(0, NUM_CLASSES, count)),
        )
        sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(np.zeros((0, 4)), dtype=torch.float32))
        data_samples.append(sample)
    return dict(inputs=inputs, data_samples=data_samples)
