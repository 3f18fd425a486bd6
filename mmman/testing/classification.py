"""Classifiers of mmpretrain for small images, plain or in blocks, and batches for them."""

import copy
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict

NUM_CLASSES = 3

_HEAD = dict(type='mmpretrain.LinearClsHead', num_classes=NUM_CLASSES)


def with_decoder(task: dict) -> dict:
    """InfoPro's local head around another one.

    Args:
        task (dict): Config of the local head that learns the task.

    Returns:
        dict: The config.
    """
    return dict(
        type='mmman.InfoProLocalHead',
        task=task,
        decoder=dict(channels=[4], upsampling='first'),
        reconstruction_weight=[1.0, 0.5],
        task_weight=[0.5, 1.0],
    )


HOSTS = {
    'greedy': dict(type='mmman.ClassificationLocalHead', head=_HEAD),
    'dgl': dict(type='mmman.DGLLocalHead', head=_HEAD),
    'infopro_softmax': with_decoder(dict(type='mmman.InfoProClassifier', head=_HEAD)),
    'infopro_contrast': with_decoder(
        dict(type='mmman.InfoProClassifier', head=dict(type='mmman.ContrastiveHead', channels=16))
    ),
    'predsim': dict(type='mmman.PredSimLocalHead', head=_HEAD),
    'auglocal': dict(type='mmman.AugLocalHead', head=_HEAD, depth=2),
}

# Every segment of a family can end a block: blocks are shared out by unit.
BACKBONES = {
    'resnet': (dict(type='mmman.SmallResNet', depth=20, stem_channels=8, base_channels=8), 32),
    # The width of a VGG is fixed: without the last three stages it has 128 channels at most.
    'vgg': (
        dict(
            type='mmpretrain.VGG',
            depth=13,
            num_stages=2,
            dilations=(1, 1),
            out_indices=(1,),
            norm_cfg=dict(type='BN'),
        ),
        128,
    ),
    'vit': (
        dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64),
            img_size=32,
            patch_size=8,
        ),
        32,
    ),
}


def tiny_classifier(
    family: str = 'resnet', num_blocks: int | None = 4, host: str = 'greedy', **local: Any
) -> ConfigDict:
    """Config of a classifier.

    Args:
        family (str): The backbone: ``'resnet'`` (SmallResNet-20 with 8 base channels), ``'vgg'`` (VGG-13 with BN, two
            stages) or ``'vit'`` (VisionTransformer, four layers). Defaults to ``'resnet'``.
        num_blocks (int, optional): K, by unit; None gives the plain mmpretrain model. Defaults to 4.
        host (str): The host method, a key of ``HOSTS``. Defaults to ``'greedy'``.
        **local: Further arguments of ``LocalBackbone``, or replacements of the default ones.

    Returns:
        ConfigDict: The model's config.
    """
    import mmman.classification  # noqa: F401 (registers SmallResNet)

    backbone, channels = copy.deepcopy(BACKBONES[family])
    if num_blocks is not None:
        backbone = dict(
            type='mmman.LocalBackbone',
            backbone=backbone,
            partition=dict(num_blocks=num_blocks, by='unit'),
            local_head=copy.deepcopy(HOSTS[host]),
        )
        backbone.update(local)
    return ConfigDict(
        type='mmpretrain.ImageClassifier',
        _scope_='mmpretrain',
        data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], to_rgb=True),
        backbone=backbone,
        neck=None if family == 'vit' else dict(type='GlobalAveragePooling'),
        head=dict(_HEAD, in_channels=channels),
    )


def tiny_cls_batch(seed: int = 0, size: int = 8, side: int = 32) -> dict:
    """Small images whose brightness tells their class, as a dataloader of mmpretrain gives them.

    Args:
        seed (int): Seed of images and labels. Defaults to 0.
        size (int): Batch size. Defaults to 8.
        side (int): Height and width of the images. Defaults to 32.

    Returns:
        dict: ``inputs`` and ``data_samples``.
    """
    from mmpretrain.structures import DataSample

    rng = np.random.RandomState(seed)
    labels = rng.permutation(np.arange(size) % NUM_CLASSES)
    images = rng.randint(0, 128, size=(size, 3, side, side)) + 60 * labels[:, None, None, None]
    return dict(
        inputs=torch.from_numpy(images.astype(np.uint8)),
        data_samples=[DataSample(metainfo=dict(img_shape=(side, side))).set_gt_label(int(label)) for label in labels],
    )
