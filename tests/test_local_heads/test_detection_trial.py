import copy
import pickle
import random

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmdet.models import FCOSHead, RetinaHead
from mmdet.registry import MODELS
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from torch import nn

from mmman.local_heads import BlockOutput, DetectionLocalHead, Position
from mmman.testing import tiny_retinanet

RETINA = tiny_retinanet(4).backbone.local_head
FCOS = dict(
    type='FCOSHead', num_classes=3, feat_channels=16, stacked_convs=1, norm_cfg=None, strides=[8, 16, 32, 64, 128]
)
BATCH_NORM = ('RTMDetInsSepBNHead', 'YOLOFHead', 'YOLOV3Head', 'YOLOXHead')


@MODELS.register_module()
class IdleTower(FCOSHead):
    """Has parameters that its loss does not reach."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tower = nn.Linear(2, 2)


@MODELS.register_module()
class ConvolutionForNobody(FCOSHead):
    """Computes something that its loss does not need, by a convolution that changes sizes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.shrink = nn.Conv2d(16, 4, 3, stride=2)

    def forward_single(self, x, scale, stride):
        self.shrink(x)
        return super().forward_single(x, scale, stride)


@MODELS.register_module()
class Halves(RetinaHead):
    """Predicts on maps that are half as large as its pyramid."""

    def forward(self, x):
        return super().forward([F.max_pool2d(level, 2) for level in x])


@MODELS.register_module()
class Curious(FCOSHead):
    """Draws all kinds of random numbers, and remembers that it ran."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer('steps', torch.zeros(1))
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x):
        assert torch.is_grad_enabled() and self.training
        self.steps += 1
        noise = random.random() + np.random.rand() + torch.rand(1)
        return super().forward([self.norm(level) + noise for level in x])


def build(block=2, num_blocks=4, **kwargs):
    side = 128 // 2 ** (block + 1)
    x, y = torch.rand(1, 8, side, side), torch.rand(1, 16, side // 2, side // 2)
    example = BlockOutput(x=x, y=y, inputs=torch.rand(1, 3, 128, 128))
    return DetectionLocalHead(example=example, position=Position(block, num_blocks), channels=16, **kwargs)


@pytest.mark.parametrize(
    ('config', 'strides'),
    [
        ('vfnet/vfnet_r50_fpn_1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('foveabox/fovea_r50_fpn_4xb4-1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('reppoints/reppoints-moment_r50_fpn_1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('sabl/sabl-retinanet_r50_fpn_1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('paa/paa_r50_fpn_1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('tood/tood_r50_fpn_1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('autoassign/autoassign_r50-caffe_fpn_1x_coco.py', [[8], [16], [32, 64, 128]]),
        ('yolof/yolof_r50-c5_8xb8-1x_coco.py', [[32], [32], [32]]),
        ('yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py', [[8], [16], [32]]),
        ('yolox/yolox_tiny_8xb8-300e_coco.py', [[8], [16], [32]]),
        ('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', [[8], [16], [32]]),
        ('condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py', [[8], [16], [32, 64, 128]]),
        ('yolact/yolact_r50_1xb8-55e_coco.py', [[550 / 69], [550 / 35], [550 / 18, 550 / 9, 550 / 5]]),
    ],
)
def test_heads_of_the_toolbox_learn_from_their_own_levels(config, strides):
    model = get_config(f'mmdet::{config}').model
    head = copy.deepcopy(model.bbox_head)
    head.num_classes = 3
    if head.type != 'YOLOV3Head':
        head.feat_channels = 16
    if head.type not in BATCH_NORM:
        head.norm_cfg = dict(type='GN', num_groups=4)
    if head.type == 'RepPointsHead':
        head.point_feat_channels = 16
    train_cfg = model.get('train_cfg')
    heads = [build(block, head=head, train_cfg=train_cfg) for block in (1, 2, 3)]
    assert [head.strides for head in heads] == strides
    for local in heads:
        assert all(p.grad is None for p in local.parameters())


@pytest.mark.parametrize(
    ('kwargs', 'text'),
    [
        (
            dict(head=dict(FCOS, type='IdleTower')),
            r'IdleTower .* \[16\] alone: .* no gradient \(head.tower.weight, head.tower',
        ),
        (dict(head=dict(FCOS, type='ConvolutionForNobody')), r'no gradient \(head.shrink.weight, head.shrink.bias\)'),
        (
            dict(head=dict(RETINA.head, type='Halves'), train_cfg=RETINA.train_cfg, num_levels=2),
            r'Halves .* alone: it is given levels of \[\(8, 8\), .* cells and predicts for \[\(4, 4\), \(2, 2\)\]',
        ),
        (
            dict(head=dict(FCOS, strides=[8, 16, 32, 64])),
            r'AssertionError \(fcos_head.py.*the pyramid has 4 strides, but regress_ranges 5',
        ),
    ],
)
def test_heads_that_cannot_learn_are_refused_in_one_line(kwargs, text):
    with pytest.raises(ValueError, match=text) as error:
        build(**kwargs)
    assert '\n' not in str(error.value) and 'Take another dense head' in str(error.value)


def test_a_head_without_train_cfg_is_refused_when_it_is_to_be_trained():
    """A model for inference has none: it loads, predicts and is pickled."""
    local = build(head=RETINA.head)
    again = pickle.loads(pickle.dumps(local))
    for head in (local, again):
        with pytest.raises(
            ValueError, match=r'loss fails with TypeError \(anchor_head.*\(it has no train_cfg\)'
        ) as error:
            head.adapt_to(nn.Module())
        assert '\n' not in str(error.value)


def test_a_head_that_gives_no_maps_is_refused():
    model = get_config('mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py').model
    with pytest.raises(ValueError, match='MaskFormerHead cannot'):
        build(head=model.panoptic_head, train_cfg=model.train_cfg)


def test_a_convolution_for_other_heads_is_left_out():
    head = dict(FCOS, type='CondInstBboxHead')
    local = build(head=head)
    assert not [name for name, _ in local.named_parameters() if 'controller' in name]
    feature = torch.rand(2, 16, 4, 4)
    assert torch.equal(local.head.controller(feature), torch.zeros(2, 169, 4, 4))


def test_the_trial_changes_nothing():
    def numbers():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    def built():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        return build(head=dict(FCOS, type='Curious'))

    # One that no runner has written to.
    hub = MessageHub.get_instance('of the trial')
    with torch.no_grad():
        local = built()
        after = numbers()
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        torch.rand(1, 8, 16, 16), torch.rand(1, 16, 8, 8), torch.rand(1, 3, 128, 128)  # as `build` draws them
        assert random.getstate() == after[0] and np.random.get_state()[1].tolist() == after[1]
        again = built()
        assert numbers() == after
    assert local.head.steps == 0 and local.head.norm.num_batches_tracked == 0
    assert all(p.grad is None for p in local.parameters())
    assert all(torch.equal(a, b) for a, b in zip(local.state_dict().values(), again.state_dict().values(), strict=True))
    assert MessageHub.get_current_instance() is hub and not hub.runtime_info


def test_the_trial_is_not_seen_by_other_processes(tmp_path, monkeypatch):
    def no_collective(*args, **kwargs):
        raise AssertionError('the trial calls for other processes')

    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        monkeypatch.setattr(dist, 'all_reduce', no_collective)
        build(head=FCOS)
        assert dist.is_initialized() and dist.get_rank() == 0
    finally:
        dist.destroy_process_group()
