import pytest
import torch
from mmengine.registry import MODELS
from torch.utils._pytree import tree_leaves

from mmman.partition import family_of, image_channels
from mmman.partition.families import ChainFamily
from mmman.testing.backbones import BACKBONES, CHAINS, R18, build_backbone

# What follows the last segment, and learns in the last block.
BEHIND = {
    'mmpretrain.VGG, classifier': 'classifier.',
    'mmpretrain.VisionTransformer, average': 'ln2.',
    'mmpretrain.BEiTViT': 'ln2.',
    'mmpretrain.ViTEVA02': 'ln2.',
    'mmseg.ICNet': ('conv_sub', 'psp_'),
    **dict.fromkeys(('mmseg.BiSeNetV2', 'mmseg.BiSeNetV2, all outputs'), ('detail.', 'bga.')),
    'mmseg.FastSCNN': ('global_feature_extractor.ppm', 'global_feature_extractor.out', 'feature_fusion'),
    # The norms of outputs.
    **dict.fromkeys((name for name in BACKBONES if 'Swin' in name or 'DaViT' in name), 'norm'),
    **dict.fromkeys((name for name in CHAINS if 'ConvNeXt' in name or 'Former' in name), 'norm'),
    'mmpretrain.ConvNeXt, maps': 'norm0',  # the last norm ends the chain
    **dict.fromkeys((name for name in BACKBONES if 'Conformer' in name), 'trans_norm.'),
    'mmpretrain.TNT': 'norm.',
}


@pytest.fixture(scope='module', autouse=True)
def _toolboxes():
    import mmpretrain.models  # noqa: F401
    import mmseg.models  # noqa: F401

    import mmman.classification  # noqa: F401


def build(name):
    backbone = build_backbone(name)
    if name == 'mmpretrain.VGG, classifier':
        # As VGG has it, without the 120 million weights.
        backbone.num_classes = 3
        backbone.classifier = torch.nn.Sequential(torch.nn.Linear(256 * 8 * 8, 8), torch.nn.Linear(8, 3))
    return backbone


@pytest.mark.parametrize('name', BACKBONES)
def test_running_all_segments_equals_the_backbones_forward(name):
    torch.manual_seed(0)
    backbone = build(name)
    backbone.init_weights()
    backbone.eval()  # mmdet's ResNet.train returns nothing
    family = family_of(backbone)
    segments = family.segments(backbone)
    x = images = torch.rand(2, 3, 64, 64)
    features = {}
    with torch.no_grad():
        for segment in segments:
            x = family.run(backbone, segment, x)
            if segment.closes is not None:
                features[segment.closes] = x
        expected = backbone(images)
    got = family.outputs(backbone, features, x, images)
    assert len(got) == len(expected)
    for a, b in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        assert torch.equal(a, b)

    owned = [p for segment in segments for p in family.parameters(backbone, segment)]
    assert len(owned) == len(set(owned))
    behind = BEHIND.get(name, 'nothing')
    assert set(owned) == {p for n, p in backbone.named_parameters() if not n.startswith(behind)}
    chains = {chain.split(',')[0] for chain in CHAINS} - {'mmpretrain.VisionTransformer'}
    assert isinstance(family, ChainFamily) == (name.split(',')[0] in chains or ', map' in name)


def test_every_unit_can_be_copied_and_the_stem_cannot():
    backbone = MODELS.build(dict(type='mmdet.ResNet', **R18))
    family = family_of(backbone)
    stem, *units = family.segments(backbone)
    assert [family.module(backbone, unit) for unit in units] == [
        unit for stage in backbone.res_layers for unit in getattr(backbone, stage)
    ]
    with pytest.raises(ValueError, match='no auxiliary network copies it'):
        family.module(backbone, stem)


@pytest.mark.parametrize('name', ['mmpretrain.VGG, norms, several outputs', 'mmpretrain.VisionTransformer'])
def test_every_segment_is_a_module_that_takes_the_output_of_the_one_before(name):
    """What an auxiliary network needs: VGG's convolutions without the pooling, layers without the final norm."""
    backbone = build(name)
    backbone.eval()
    family = family_of(backbone)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for segment in family.segments(backbone):
            if segment.name != 'stem':
                assert family.module(backbone, segment)(x).ndim == (3 if 'Vision' in name else 4)
            x = family.run(backbone, segment, x)


def test_segments_of_vgg_are_its_convolutions_by_stage():
    backbone = build('mmpretrain.VGG, norms, several outputs')
    segments = family_of(backbone).segments(backbone)
    assert [(s.name, s.stage, s.closes) for s in segments] == [
        ('features.0', 'stage1', None),
        ('features.1', 'stage1', 0),
        ('features.3', 'stage2', None),
        ('features.4', 'stage2', None),
        ('features.6', 'stage3', None),
        ('features.7', 'stage3', 2),
    ]


def test_segments_of_a_vision_transformer_are_its_stem_and_layers():
    backbone = build('mmpretrain.VisionTransformer, several outputs')
    segments = family_of(backbone).segments(backbone)
    assert [(s.name, s.stage, s.closes) for s in segments] == [
        ('stem', 'layers.0', None),
        ('layers.0', 'layers.0', 0),
        ('layers.1', 'layers.1', None),
        ('layers.2', 'layers.2', 2),
    ]


@pytest.mark.parametrize(
    ('name', 'stages'),
    [
        ('mmdet.ResNet', 4),
        ('mmpretrain.VisionTransformer', 3),
        ('mmpretrain.VGG, no last pool', 3),
    ],
)
def test_a_frozen_first_stage_is_merged_into_the_next_block(name, stages):
    backbone = dict(type=name.split(',')[0], **BACKBONES[name], frozen_stages=1)
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3)
    local = MODELS.build(
        dict(
            type='mmman.LocalBackbone',
            backbone=backbone,
            partition=dict(num_blocks=stages),
            local_head=dict(type='mmman.ClassificationLocalHead', head=head),
        )
    )
    assert len(local.blocks) == stages - 1


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_a_vision_transformer_knows_its_class_token(with_cls_token):
    vit = dict(type='mmpretrain.VisionTransformer', arch='deit-t', img_size=32, out_type='avg_featmap')
    backbone = MODELS.build(dict(vit, with_cls_token=with_cls_token))
    assert family_of(backbone).extra_tokens(backbone) == with_cls_token


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='mmdet.ResNet', depth=18),
        dict(type='mmseg.ResNetV1c', depth=18),
        dict(type='mmpretrain.VisionTransformer', arch='deit-t', img_size=32),
    ],
    ids=lambda backbone: backbone['type'],
)
def test_the_example_has_the_channels_of_the_images(backbone, channels):
    built = MODELS.build(dict(backbone, in_channels=channels))
    assert image_channels(built) == family_of(built).example_input(built).shape[1] == channels


def test_pixels_that_become_channels_are_counted_once():
    assert image_channels(MODELS.build(dict(type='mmdet.CSPDarknet', deepen_factor=0.33, widen_factor=0.125))) == 3


@pytest.mark.parametrize('channels', [1, 3])
def test_windows_of_pixels_tell_the_channels(channels):
    backbone = MODELS.build(dict(type='mmpretrain.T2T_ViT', **BACKBONES['mmpretrain.T2T_ViT'], in_channels=channels))
    assert image_channels(backbone) == family_of(backbone).example_input(backbone).shape[1] == channels


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(ValueError, match='Linear has no convolution that would tell'):
        image_channels(torch.nn.Linear(3, 4))
