import pytest
import torch
from mmengine.registry import MODELS

from mmman.partition import family_of

R18 = dict(depth=18, base_channels=8)
BACKBONES = {
    'mmdet.ResNet': dict(R18, out_indices=(0, 1, 2, 3)),
    'mmdet.ResNet, two outputs': dict(R18, out_indices=(1, 3)),
    'mmdet.ResNetV1d': dict(R18, stem_channels=16),
    'mmdet.ResNeXt': dict(depth=50, groups=4, base_width=4, base_channels=8),
    'mmdet.ResNet, three stages': dict(R18, num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), out_indices=(0, 2)),
    'mmdet.Res2Net': dict(depth=50, scales=4, base_width=4, base_channels=8),
    'mmdet.RegNet': dict(arch='regnetx_400mf'),
    'mmseg.ResNet': R18,
    'mmseg.ResNetV1c': dict(
        depth=50,
        base_channels=8,
        stem_channels=16,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        contract_dilation=True,
    ),
    'mmpretrain.ResNet': dict(depth=18),
    'mmpretrain.SEResNet': dict(depth=50, se_ratio=16),
    'mmpretrain.ResNet_CIFAR': dict(depth=18, base_channels=8, stem_channels=8),
}


@pytest.fixture(scope='module', autouse=True)
def _toolboxes():
    import mmpretrain.models  # noqa: F401
    import mmseg.models  # noqa: F401


@pytest.mark.parametrize('name', BACKBONES)
def test_running_all_segments_equals_the_backbones_forward(name):
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type=name.split(',')[0], **BACKBONES[name]))
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
    got = family.outputs(backbone, features, x)
    assert len(got) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))

    owned = [p for segment in segments for p in family.parameters(backbone, segment)]
    assert len(owned) == len(set(owned))
    assert set(owned) == set(backbone.parameters())


def test_every_unit_can_be_copied_and_the_stem_cannot():
    backbone = MODELS.build(dict(type='mmdet.ResNet', **R18))
    family = family_of(backbone)
    stem, *units = family.segments(backbone)
    assert [family.module(backbone, unit) for unit in units] == [
        unit for stage in backbone.res_layers for unit in getattr(backbone, stage)
    ]
    with pytest.raises(ValueError, match='no auxiliary network copies it'):
        family.module(backbone, stem)
