import pytest
import torch
from mmdet.models import FCOSHead, RetinaHead
from mmdet.models.task_modules import AnchorGenerator
from mmdet.registry import MODELS
from mmengine.registry import TASK_UTILS

from mmman.local_heads.levels import HeadLevels

STRIDES = [8, 16, 32, 64, 128]


@MODELS.register_module()
class HeadOfOurOwn(FCOSHead):
    """A head with settings that mmdet does not know, one of them by level."""

    def __init__(self, *args, weights=(1.0, 2.0, 3.0, 4.0, 5.0), means=(0.1, 0.1, 0.2, 0.2), **kwargs):
        super().__init__(*args, **kwargs)


def generator(**settings):
    return {**dict(type='AnchorGenerator', ratios=[1.0], scales=[4], strides=STRIDES), **settings}


# What the class's signature alone says, and what the config says; middle is what the level of stride 16 is to have.
@pytest.mark.parametrize(
    ('head', 'middle'),
    [
        (dict(type='FCOSHead', strides=STRIDES), dict(strides=[16], regress_ranges=[(64, 128)])),
        (dict(type='FCOSHead'), dict(strides=[8], regress_ranges=[(64, 128)])),  # strides 4 to 64 by default
        (dict(type=FCOSHead, strides=STRIDES), dict(strides=[16], regress_ranges=[(64, 128)])),
        (dict(type='mmdet.NASFCOSHead', strides=STRIDES), dict(regress_ranges=[(64, 128)])),  # by **kwargs of its base
        (dict(type='CondInstBboxHead', strides=STRIDES), dict(regress_ranges=[(64, 128)])),
        (dict(type='AutoAssignHead', strides=STRIDES), dict(regress_ranges=[(64, 128)])),
        (dict(type='VFNetHead', strides=STRIDES), dict(strides=[16], regress_ranges=[(64, 128)])),
        (dict(type='CenterNetUpdateHead', strides=STRIDES), dict(regress_ranges=[(64, 160)])),
        (dict(type='FoveaHead', strides=STRIDES), dict(base_edge_list=[32], scale_ranges=[(16, 64)])),
        (dict(type='RepPointsHead', point_strides=STRIDES), dict(point_strides=[16])),
        (dict(type='RetinaSepBNHead', num_ins=5, anchor_generator=generator()), dict(num_ins=1)),
        (dict(type='SSDHead', anchor_generator=generator()), dict(in_channels=[7])),
        (dict(type='HeadOfOurOwn', strides=STRIDES), dict(weights=[2.0])),
        (dict(type='HeadOfOurOwn', strides=STRIDES, weights=[[1, 2]] * 4 + [[3, 4]]), dict(weights=[[1, 2]])),
    ],
)
def test_one_entry_per_level(head, middle):
    config = HeadLevels(dict(num_classes=3, **head)).config_at([1], channels=7)
    assert {key: config[key] for key in middle} == middle
    assert 'means' not in config
    assert set(config) >= {*head, 'in_channels'} and config['in_channels'] in (7, [7])


@pytest.mark.parametrize('kind', ['SABLRetinaHead', 'GARetinaHead'])
def test_every_generator_is_cut(kind):
    head = dict(
        type=kind, approx_anchor_generator=generator(), square_anchor_generator=generator(scales=[2, 3, 4, 5, 6])
    )
    config = HeadLevels(head).config_at([1, 2], channels=7)
    assert config['approx_anchor_generator'] == generator(strides=[16, 32])
    assert config['square_anchor_generator'] == generator(scales=[2, 3, 4, 5, 6], strides=[16, 32])


# Lists that only happen to be as long as the pyramid.
@pytest.mark.parametrize(
    ('strides', 'kept'),
    [
        ([8, 16, 32], dict(ratios=[0.5, 1.0, 2.0])),
        ([8, 16, 32, 64], dict(scales=[1, 2, 3, 4])),
        (STRIDES, dict(ratios=[0.2, 0.5, 1.0, 2.0, 5.0], scales=[1, 2, 3, 4, 5])),
    ],
)
def test_what_each_level_has_is_not_cut(strides, kept):
    coder = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1] * 4)
    head = dict(
        type=RetinaHead,
        anchor_generator=generator(type=AnchorGenerator, **kept, strides=strides),
        bbox_coder=coder,
        loss_cls=dict(type='CrossEntropyLoss', class_weight=[1.0] * len(strides)),
        init_cfg=[dict(type='Normal', layer='Conv2d')] * len(strides),
    )
    config = HeadLevels(head).config_at([1], channels=7)
    assert config == {**head, 'in_channels': 7, 'anchor_generator': {**head['anchor_generator'], 'strides': [16]}}


def test_a_default_of_another_length_is_no_setting_of_levels():
    head = dict(type='HeadOfOurOwn', strides=[8, 16, 32, 64], means=[1, 2, 3, 4], weights=[1, 2, 3, 4])
    config = HeadLevels(head).config_at([1], channels=7)
    assert config['means'] == [1, 2, 3, 4] and config['weights'] == [2]


def test_anchors_stay_those_of_the_level():
    settings = dict(base_sizes=[30, 60, 130], centers=[(1, 1), (2, 2), (3, 3)], strides=[(8, 8), (16, 16), (32, 32)])
    head = dict(type='RetinaHead', anchor_generator=generator(**settings))
    config = HeadLevels(head).config_at([1, 2], channels=7)
    whole, part = (TASK_UTILS.build(c['anchor_generator']).base_anchors for c in (head, config))
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], part, strict=True))


def test_all_levels_leave_the_config_as_it_is():
    head = dict(type='FoveaHead', num_classes=3, strides=STRIDES)
    assert HeadLevels(head).config_at(range(5), channels=7) == dict(head, in_channels=7)


@pytest.mark.parametrize(
    ('head', 'text'),
    [
        (None, 'must be the config of a dense head'),
        (dict(num_classes=3), 'must be the config of a dense head'),
        (dict(type='CenterNetHead'), 'CenterNetHead names no strides'),
        (dict(type='DeformableDETRHead'), 'DeformableDETRHead names no strides'),
        (
            dict(type='RetinaHead', anchor_generator=generator(strides=[(8, 4), (16, 8)])),
            'RetinaHead has cells that are',
        ),
        (dict(type='SOLOHead', strides=[8, 8, 16, 32, 32]), 'SOLOHead resizes the levels'),
        (dict(type='SOLOV2Head'), 'SOLOV2Head resizes the levels'),
        (
            dict(type='VFNetHead', strides=[8, 16, 32], anchor_generator=generator(strides=[4, 8, 16])),
            r'VFNetHead names different pyramids \(strides=\[8, 16, 32\], anchor_generator.strides=\[4, 8, 16\]\)',
        ),
    ],
)
def test_heads_without_a_pyramid_are_refused(head, text):
    with pytest.raises(ValueError, match=text) as error:
        HeadLevels(head)
    assert '\n' not in str(error.value)


def test_priors_that_follow_from_the_number_of_levels_are_refused():
    anchors = dict(
        type='SSDAnchorGenerator',
        input_size=300,
        basesize_ratio_range=(0.15, 0.9),
        strides=[8, 16, 32, 64, 100, 300],
        ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
    )
    with pytest.raises(ValueError, match=r'SSDHead \(SSDAnchorGenerator\) has other priors.*min_sizes and max_sizes'):
        HeadLevels(dict(type='SSDHead', anchor_generator=anchors)).config_at([1], channels=7)
    sizes = dict(min_sizes=[21, 45, 99, 153, 207, 261], max_sizes=[45, 99, 153, 207, 261, 315])
    config = HeadLevels(dict(type='SSDHead', anchor_generator={**anchors, **sizes})).config_at([1], channels=7)
    assert config['anchor_generator'] == {
        **anchors,
        'strides': [16],
        'ratios': [[2, 3]],
        'min_sizes': [45],
        'max_sizes': [99],
    }
