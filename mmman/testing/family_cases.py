"""A tiny model on a backbone of every family: what the contracts are tested on beside ``CASES``."""

from functools import partial
from typing import Any

from mmengine.config import ConfigDict

from .backbones import BACKBONES
from .cases import Case
from .classification import tiny_cls_batch
from .segmentation import tiny_seg_batch

NUM_CLASSES = 3
# Backbones that give maps: the channels of those that an FCN head takes.
MAPS = {
    'mmdet.SwinTransformer, last output': [64],
    'mmseg.MixVisionTransformer': [8],
    'mmseg.PCPVT': [16],
    'mmseg.MSCAN': [8],
    'mmpretrain.VAN, last output': [8],
    'mmpretrain.MViT, last output': [32],
    'mmseg.VisionTransformer, last output': [16],
    'mmseg.BEiT, last output': [16],
    'mmdet.HRNet': [4, 8, 16, 32],
    'mmdet.HourglassNet': [8],
    'mmseg.UNet': [4],
    'mmseg.ICNet': [8, 16, 16],
    'mmdet.DetectoRS_ResNet, last output': [256],
    'mmdet.TridentResNet': [128],
    'mmpretrain.TIMMBackbone': [288],
    'mmpretrain.ConvNeXt, last map': [8],
    'mmdet.CSPDarknet, last output': [128],
    'mmseg.BiSeNetV2, all outputs': [16, 8, 8, 8, 16],
}
# Those that give one vector for each image: its length; two where the model has one of each stream.
VECTORS: dict[str, int | list[int]] = {
    'mmpretrain.SwinTransformer, vector': 64,
    'mmpretrain.BEiTViT': 16,
    'mmpretrain.ViTEVA02': 16,
    'mmpretrain.XCiT': 16,
    'mmpretrain.VisionTransformer, map to vector': 16,
    'mmpretrain.T2T_ViT': 24,
    'mmpretrain.TNT': 16,
    'mmpretrain.Conformer, last output': [64, 16],
}


def _in_blocks(backbone: dict[str, Any], num_blocks: int | None, local_head: dict[str, Any]) -> dict[str, Any]:
    if num_blocks is None:
        return backbone
    partition = dict(num_blocks=num_blocks, by='unit')
    return dict(type='mmman.LocalBackbone', backbone=backbone, partition=partition, local_head=local_head)


def _backbone(name: str) -> dict[str, Any]:
    return dict(type=name.split(',')[0], **BACKBONES[name])


def _segmentor(name: str, num_blocks: int | None) -> ConfigDict:
    head = dict(
        type='mmseg.FCNHead', channels=8, num_convs=1, concat_input=False, num_classes=NUM_CLASSES, dropout_ratio=0.0
    )
    channels = MAPS[name]
    several = dict(in_channels=channels, in_index=list(range(len(channels))), input_transform='resize_concat')
    one = dict(in_channels=channels[0], in_index=-1)
    return ConfigDict(
        type='mmseg.EncoderDecoder',
        _scope_='mmseg',
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.0] * 3, std=[64.0] * 3, size=(64, 64)),
        backbone=_in_blocks(_backbone(name), num_blocks, dict(type='mmman.SegmentationLocalHead', head=head)),
        decode_head=dict(head, **(several if len(channels) > 1 else one)),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


def _classifier(name: str, num_blocks: int | None) -> ConfigDict:
    head = dict(type='mmpretrain.LinearClsHead', num_classes=NUM_CLASSES)
    neck = dict(type='GlobalAveragePooling') if 'vector' in name else None
    kind = 'mmpretrain.ConformerHead' if 'Conformer' in name else head['type']
    return ConfigDict(
        type='mmpretrain.ImageClassifier',
        _scope_='mmpretrain',
        data_preprocessor=dict(mean=[127.0] * 3, std=[64.0] * 3),
        backbone=_in_blocks(_backbone(name), num_blocks, dict(type='mmman.ClassificationLocalHead', head=head)),
        neck=neck,
        head=dict(head, type=kind, in_channels=VECTORS[name]),
    )


FAMILY_CASES: dict[str, Case] = {
    **{name: Case(partial(_segmentor, name), tiny_seg_batch, 'fcn', 3) for name in MAPS},
    **{name: Case(partial(_classifier, name), partial(tiny_cls_batch, side=64), 'greedy', 3) for name in VECTORS},
}
