"""A segmentor of mmseg of a few thousand parameters, plain or in blocks, and batches for it."""

from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict

NUM_CLASSES = 3
IGNORED = 255


def _fcn_head(**options: Any) -> dict:
    return dict(
        type='mmseg.FCNHead',
        channels=8,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=NUM_CLASSES,
        norm_cfg=dict(type='BN'),
        **options,
    )


def tiny_segmentor(num_blocks: int | None = 4, decode_head: str = 'FCNHead', **local: Any) -> ConfigDict:
    """Config of a segmentor: a dilated ResNetV1c-18 with 8 base channels, a decode head and an auxiliary one on layer3.

    Args:
        num_blocks (int, optional): K, by stage; None gives the plain mmseg model. Defaults to 4.
        decode_head (str): ``'FCNHead'`` or ``'ASPPHead'`` (DeepLabV3). Defaults to ``'FCNHead'``.
        **local: Further arguments of ``LocalBackbone``, or replacements of the default ones. The local heads are
            FCNHeads by default.

    Returns:
        ConfigDict: The model's config.
    """
    last = _fcn_head(in_channels=64, in_index=3)
    if decode_head == 'ASPPHead':
        for key in ('num_convs', 'concat_input'):
            last.pop(key)
        last.update(type='mmseg.ASPPHead', dilations=(1, 2, 4))
    backbone = dict(
        type='mmseg.ResNetV1c',
        depth=18,
        base_channels=8,
        stem_channels=8,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=dict(type='BN'),
        contract_dilation=True,
        # The residuals' last norms would start at 0, and half of the weights without a gradient.
        zero_init_residual=False,
    )
    if num_blocks is not None:
        backbone = dict(
            type='mmman.LocalBackbone',
            backbone=backbone,
            partition=dict(num_blocks=num_blocks),
            local_head=dict(type='mmman.SegmentationLocalHead', head=_fcn_head()),
        )
        backbone.update(local)
    return ConfigDict(
        type='mmseg.EncoderDecoder',
        _scope_='mmseg',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_val=0,
            seg_pad_val=IGNORED,
            size=(64, 64),
        ),
        backbone=backbone,
        decode_head=last,
        auxiliary_head=_fcn_head(
            in_channels=32, in_index=2, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4)
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


def tiny_seg_batch(seed: int = 0, size: int = 2) -> dict:
    """Images of 64 x 64 pixels with a random rectangle of each class and an ignored rim, as a dataloader gives them.

    Args:
        seed (int): Seed of images and label maps. Defaults to 0.
        size (int): Batch size. Defaults to 2.

    Returns:
        dict: ``inputs`` and ``data_samples``.
    """
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    rng = np.random.RandomState(seed)
    inputs, data_samples = [], []
    for _ in range(size):
        image = rng.randint(0, 255, size=(3, 64, 64), dtype=np.uint8)
        labels = np.zeros((1, 64, 64), dtype=np.int64)
        for label in range(1, NUM_CLASSES):
            top, left = rng.randint(4, 36, size=2)
            labels[:, top : top + 24, left : left + 24] = label
        labels[:, :2] = labels[:, :, -2:] = IGNORED
        image[labels.repeat(3, axis=0) == 2] //= 4  # something to learn
        inputs.append(torch.from_numpy(image))
        sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64)))
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels))
        data_samples.append(sample)
    return dict(inputs=inputs, data_samples=data_samples)
