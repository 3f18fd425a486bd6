import pytest
from mmengine.hub import get_config

from mmman.local_heads.dense_head import build_dense_head
from mmman.local_heads.levels import HeadLevels

VFNET = dict(
    type='VFNetHead', num_classes=3, feat_channels=16, stacked_convs=1, norm_cfg=None, strides=[8, 16, 32, 64, 128]
)


@pytest.mark.parametrize('levels', [[0], [1], [4], [1, 2], [2, 3, 4], [0, 1, 2, 3, 4]])
def test_vfnet_divides_by_the_ends_of_its_own_ranges(levels):
    train_cfg = get_config('mmdet::vfnet/vfnet_r50_fpn_1x_coco.py').model.train_cfg
    head = build_dense_head(HeadLevels(VFNET), levels, channels=16, train_cfg=train_cfg)
    assert head.reg_denoms == [[64, 128, 256, 512, 1024][i] for i in levels]
    assert len(head.regress_ranges) == len(head.scales) == len(head.strides) == len(levels)


def test_number_of_classes_and_train_cfg_replace_those_of_the_config():
    head = dict(type='FCOSHead', num_classes=80, feat_channels=8, norm_cfg=None, strides=[8, 16, 32, 64, 128])
    built = build_dense_head(HeadLevels(head), [1], channels=16, num_classes=7)
    assert built.num_classes == 7 and built.conv_cls.out_channels == 7


@pytest.mark.parametrize(
    ('config', 'wanted'),
    [
        ('ld/ld_r18-gflv1-r101_fpn_1x_coco.py', 'x, out_teacher, batch_data_samples'),
        ('lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py', 'x, label_assignment_results, batch_data_samples'),
    ],
)
def test_heads_that_want_a_teacher_are_refused(config, wanted):
    model = get_config(f'mmdet::{config}').model
    pyramid = HeadLevels(model.bbox_head)
    with pytest.raises(ValueError, match=rf'the loss of {model.bbox_head.type} wants \({wanted}\), but a block has'):
        build_dense_head(pyramid, [1], 16, model.train_cfg)


@pytest.mark.parametrize(
    ('head', 'train_cfg', 'text'),
    [
        (dict(type='RPNHead'), dict(rpn=dict(), rcnn=dict()), r'whole two-stage detector \(it has rpn, rcnn\)'),
        (dict(type='GridHead', featmap_strides=[8, 16]), None, 'the loss of GridHead wants'),
        (dict(type='FPN', featmap_strides=[8, 16]), None, 'FPN is no dense head'),
        (dict(type='NoSuchHead', strides=[8, 16]), None, 'NoSuchHead cannot be built .* KeyError'),
        (
            dict(type='FCOSHead', num_classes=2, strides=[8, 16], unheard_of=1),
            None,
            r"FCOSHead cannot be built .*'unheard_of'",
        ),
        (dict(type='RetinaHead', num_classes=2), dict(assigner=dict(type='None')), 'RetinaHead cannot be built'),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(head, train_cfg, text):
    with pytest.raises(ValueError, match=text) as error:
        build_dense_head(HeadLevels(head), [1], 16, train_cfg)
    assert '\n' not in str(error.value)
