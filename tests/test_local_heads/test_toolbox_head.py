"""Every decode head of mmseg and every head of mmpretrain trains a step behind one block, or is refused in one line."""

import copy

import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS as REGISTRY
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmpretrain.structures import DataSample, MultiTaskDataSample
from mmseg.registry import MODELS as MMSEG
from mmseg.structures import SegDataSample
from torch import nn

from mmman.local_heads import (
    AugLocalHead,
    BlockOutput,
    ClassificationLocalHead,
    DGLLocalHead,
    Position,
    PredSimLocalHead,
    SegmentationLocalHead,
)
from mmman.local_heads.toolbox_head import Trial, build_head

NORM = dict(norm_cfg=dict(type='BN'))
BASE = dict(channels=8, num_classes=4, **NORM)
SEVERAL = dict(in_channels=[8, 16], in_index=[0, 1], **BASE)
LINEAR = dict(type='LinearClsHead', num_classes=3)
POSITION = Position(1, 2, 0, (torch.Size((1, 16, 8, 8)),))


def k_net():
    update = dict(
        type='KernelUpdateHead',
        num_classes=4,
        num_ffn_fcs=2,
        num_heads=2,
        num_mask_fcs=1,
        feedforward_channels=8,
        in_channels=8,
        out_channels=8,
        feat_transform_cfg=dict(conv_cfg=dict(type='Conv2d'), act_cfg=None),
        kernel_updator_cfg=dict(type='KernelUpdator', in_channels=8, feat_channels=8, out_channels=8),
    )
    generate = dict(type='FCNHead', in_channels=512, in_index=3, num_convs=1, **BASE)
    return dict(num_stages=1, kernel_update_head=[update], kernel_generate_head=generate)


# What a decode head needs besides its type to be one of a model; BASE where nothing is said.
DECODE_HEADS = {
    'ANNHead': dict(project_channels=8, **SEVERAL),
    'DAHead': dict(pam_channels=4, **BASE),
    'DDRHead': dict(loss_decode=2 * [dict(type='CrossEntropyLoss')], **BASE),
    'DepthwiseSeparableASPPHead': dict(c1_in_channels=8, c1_channels=4, dilations=(1, 2), **BASE),
    'EMAHead': dict(ema_channels=8, num_bases=4, num_stages=2, **BASE),
    'EncHead': dict(num_codes=4, add_lateral=True, **SEVERAL),
    'FPNHead': dict(feature_strides=[4, 8], **SEVERAL),
    'ISAHead': dict(isa_channels=4, **BASE),
    'IterativeDecodeHead': k_net(),
    'KernelUpdateHead': dict(),
    'KernelUpdator': dict(),
    'LRASPPHead': dict(branch_channels=[4], input_transform='multiple_select', **SEVERAL),
    'LightHamHead': dict(ham_channels=8, ham_kwargs=dict(MD_R=4, train_steps=2), **SEVERAL),
    'Mask2FormerHead': dict(in_channels=[8, 16], feat_channels=8, out_channels=8, num_classes=4),
    'MaskFormerHead': dict(in_channels=[8, 16], feat_channels=8, out_channels=8, num_classes=4),
    'OCRHead': dict(ocr_channels=4, **BASE),
    'PIDHead': dict(loss_decode=4 * [dict(type='CrossEntropyLoss')], **BASE),
    'PSAHead': dict(mask_size=(8, 8), **BASE),
    'PointHead': dict(SEVERAL),
    'SegformerHead': dict(SEVERAL),
    'SegmenterMaskTransformerHead': dict(num_layers=1, num_heads=2, embed_dims=16, channels=16, num_classes=4),
    'SETRMLAHead': dict(mla_channels=4, **SEVERAL),
    'UPerHead': dict(pool_scales=(1, 2), **SEVERAL),
    'VPDDepthHead': dict(in_channels=[8, 16], embed_dim=4),
}
REFUSED_DECODE_HEADS = {
    'ANNHead',
    'DDRHead',
    'DPTHead',
    'KernelUpdateHead',
    'KernelUpdator',
    'LRASPPHead',
    'Mask2FormerHead',
    'MaskFormerHead',
    'OCRHead',
    'PIDHead',
    'PointHead',
    'SETRMLAHead',
    'SideAdapterCLIPHead',
    'VPDDepthHead',
}

CLASSIFIERS = {
    'CSRAClsHead': dict(num_heads=1, lam=0.1, num_classes=3),
    'ConformerHead': dict(num_classes=3, in_channels=[4, 8]),
    'ClsHead': dict(),
    'EfficientFormerClsHead': dict(num_classes=3, distillation=False),
    'LeViTClsHead': dict(num_classes=3, distillation=False),
    'MultiLabelClsHead': dict(),
    'MultiTaskHead': dict(task_heads=dict(a=LINEAR, b=dict(type='MultiTaskHead', task_heads=dict(c=LINEAR)))),
    'StackedLinearClsHead': dict(num_classes=3, mid_channels=[6], **NORM),
}
CLASSIFIERS['StackedLinearClsHead']['norm_cfg'] = dict(type='BN1d')
FITTING_CLASSIFIERS = {
    'ArcFaceClsHead',
    'EfficientFormerClsHead',
    'LeViTClsHead',
    'LinearClsHead',
    'MultiLabelLinearClsHead',
    'MultiTaskHead',
    'StackedLinearClsHead',
    'VigClsHead',
    'VisionTransformerClsHead',
}


def registered(registry, package):
    return sorted({kind.__name__ for kind in registry.module_dict.values() if kind.__module__.startswith(package)})


def maps(batch):
    y = torch.rand(batch, 16, 8, 8, requires_grad=True)
    return BlockOutput(x=torch.rand(batch, 8, 16, 16), y=y, inputs=torch.rand(batch, 3, 32, 32))


def label_maps(batch):
    def pixels(classes):
        return PixelData(data=torch.randint(classes, (1, 32, 32)))

    return [SegDataSample(gt_sem_seg=pixels(4), gt_edge_map=pixels(2)) for _ in range(batch)]


def labels(head, batch):
    def sample(head, label):
        if not hasattr(head, 'task_heads'):
            return DataSample().set_gt_label(label)
        tasks = MultiTaskDataSample()
        for name, task_head in head.task_heads.items():
            tasks.set_field(sample(task_head, label), name)
        return tasks

    return [sample(head, i % 3) for i in range(batch)]


def trains(head, samples_of):
    """Whether all of a local head, and the block, get a gradient from a batch, and from one image."""
    for batch in (3, 1):
        output = maps(batch)
        losses = head.loss(output, samples_of(batch))
        parts = [part for name, loss in losses.items() if 'loss' in name for part in torch.as_tensor(loss).reshape(-1)]
        head.zero_grad()
        sum(parts).backward()
        assert output.y.grad.isfinite().all() and output.y.grad.abs().sum() > 0
        assert not [name for name, p in head.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize('name', registered(MMSEG, 'mmseg.models.decode_heads'))
def test_every_decode_head(name):
    config = dict(type=name, **DECODE_HEADS.get(name, BASE))
    given = copy.deepcopy(config)
    with DefaultScope.overwrite_default_scope('mmseg'):
        if name in REFUSED_DECODE_HEADS:
            line = (
                f'SegmentationLocalHead gives its head one feature map, from which {name} cannot learn .*take FCNHead'
            )
            with pytest.raises(ValueError, match=line) as error:
                SegmentationLocalHead(config, maps(1), POSITION)
            assert '\n' not in str(error.value)
        else:
            trains(SegmentationLocalHead(config, maps(1), POSITION), label_maps)
    assert config == given


@pytest.mark.parametrize('named', [True, False])
def test_a_decode_head_for_several_maps_is_that_for_one(named):
    config = dict(type='UPerHead', pool_scales=(1, 2), **(SEVERAL if named else BASE))
    with DefaultScope.overwrite_default_scope('mmseg'):
        head = SegmentationLocalHead(config, maps(1), POSITION)
    assert head.head.in_channels == [16] and head.head.in_index == [0]


@pytest.mark.parametrize('name', registered(MMPRETRAIN, 'mmpretrain.models.heads'))
def test_every_head_of_mmpretrain(name):
    config = dict(type=name, **CLASSIFIERS.get(name, dict(num_classes=3)))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if name in FITTING_CLASSIFIERS:
            head = ClassificationLocalHead(config, maps(1), POSITION)
            trains(head, lambda batch: labels(head.head, batch))
        elif 'Regression' not in name:
            line = f'ClassificationLocalHead gives its head one vector for each image, from which {name} cannot learn'
            with pytest.raises(ValueError, match=line) as error:
                ClassificationLocalHead(config, maps(1), POSITION)
            assert '\n' not in str(error.value)


@pytest.mark.parametrize('kind', [ClassificationLocalHead, DGLLocalHead, AugLocalHead, PredSimLocalHead])
@pytest.mark.parametrize(
    ('head', 'reason'),
    [
        (dict(type='ClsHead'), r"unexpected keyword argument 'in_channels'"),
        (dict(type='EfficientFormerClsHead', num_classes=3), 'NotImplementedError: MMPretrain does.* support to train'),
        (dict(type='LeViTClsHead', num_classes=3), 'NotImplementedError: MMPretrain does.* support training in dist'),
        (dict(type='DeiTClsHead', num_classes=3), 'not enough values to unpack'),
    ],
)
def test_every_local_head_with_a_classifier_refuses_by_name(kind, head, reason):
    options = dict(depth=1) if kind is AugLocalHead else {}
    line = (
        f'^{kind.__name__} gives its head one vector for each image, from which {head["type"]} cannot learn .*{reason}'
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'), pytest.raises(ValueError, match=line):
        kind(head, example=maps(1), position=POSITION, **options)


@pytest.mark.parametrize(('head', 'got'), [([LINEAR, LINEAR], 'a list of 2'), (None, 'None'), ({}, '{}')])
@pytest.mark.parametrize('kind', [ClassificationLocalHead, SegmentationLocalHead])
def test_the_config_of_one_head_is_asked_for(kind, head, got):
    with pytest.raises(ValueError, match=f'{kind.__name__}.head takes the config of one head, got {got}: write one'):
        kind(head, maps(1), POSITION)


def test_heads_whose_norms_want_a_gpu_are_built_without_one():
    config = dict(type='ASPPHead', channels=8, num_classes=4, norm_cfg=dict(type='SyncBN'), dilations=(1, 2))
    with DefaultScope.overwrite_default_scope('mmseg'):
        SegmentationLocalHead(config, maps(1), POSITION)


# ----------------------------------------------------------------------------------------------------------- the trial


@REGISTRY.register_module(name='HeadOfSomebody')
class HeadOfSomebody(BaseModule):
    """A head with everything that a trial might leave changed."""

    def __init__(self, in_channels, idle=False, blind=False, target='gt_label'):
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels)
        self.drop = nn.Dropout(0.5)
        self.idle = nn.Linear(2, 2) if idle else None
        self.blind = blind
        self.target = target
        self.register_buffer('calls', torch.zeros(()))

    def loss(self, feats, data_samples):
        self.calls += 1
        assert self.training
        vectors = feats[-1].detach() if self.blind else feats[-1]
        target = torch.cat([getattr(sample, self.target) for sample in data_samples])
        return dict(loss=[self.drop(self.norm(vectors)).sum() + target.sum()])


EXAMPLE = maps(2)


def build(**options):
    return ClassificationLocalHead(dict(type='HeadOfSomebody', **options), EXAMPLE, POSITION)


def test_the_trial_changes_nothing():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    head = build().eval()
    assert torch.rand(4).equal(expected)
    assert head.head.calls == 0 and head.head.norm.num_batches_tracked == 0
    assert all(p.grad is None for p in head.parameters())
    assert build().training


def test_idle_parameters_and_heads_that_see_nothing_are_refused():
    with pytest.raises(
        ValueError, match=r'HeadOfSomebody cannot learn \(idle.weight, idle.bias would get no gradient\)'
    ):
        build(idle=True)
    with pytest.raises(ValueError, match=r'\(what the block gives it would get no gradient\)'):
        build(blind=True)


def test_a_head_with_targets_of_its_own_is_left_to_the_training():
    assert isinstance(build(target='gt_of_somebody').head, HeadOfSomebody)


def test_a_head_that_is_not_registered_is_named():
    trial = Trial(torch.zeros(1, 4), None, None, 'a vector', 'another')
    with pytest.raises(ValueError, match='NoSuchHead cannot learn .KeyError'):
        build_head('Owner', dict(type='NoSuchHead'), {}, trial)
