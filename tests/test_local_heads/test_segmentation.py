import copy

import mmseg.models  # noqa: F401
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmman.local_heads import BlockOutput, Position, SegmentationLocalHead

FCN = dict(
    type='FCNHead',
    num_convs=1,
    channels=8,
    concat_input=False,
    num_classes=4,
    norm_cfg=dict(type='BN'),
    loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
)
ASPP = dict(
    type='ASPPHead', channels=8, dilations=(1, 2), num_classes=4, norm_cfg=dict(type='BN'), in_channels=64, in_index=3
)
POSITION = Position(1, 2)


@pytest.fixture(autouse=True)
def _mmseg():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def output(channels=16, batch=2, size=32):
    y = torch.rand(batch, channels, size // 8, size // 8, requires_grad=True)
    return BlockOutput(x=torch.rand(batch, 8, size // 4, size // 4), y=y, inputs=torch.rand(batch, 3, size, size))


def labels(batch=2, size=32, ignored_rows=8):
    samples = []
    for _ in range(batch):
        label_map = torch.randint(4, (1, size, size))
        label_map[:, :ignored_rows] = 255
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=label_map)))
    return samples


def build(head=FCN, **kwargs):
    return SegmentationLocalHead(head=head, example=output(**kwargs), position=POSITION)


@pytest.mark.parametrize('head', [FCN, ASPP], ids=['FCN', 'ASPP'])
def test_channels_are_those_of_y(head):
    given = copy.deepcopy(head)
    built = build(head, channels=16)
    assert built.head.in_channels == 16 and built.head.in_index == 0
    assert head == given
    assert torch.isfinite(built.loss(output(channels=16), labels())['loss_ce'])


def test_the_given_config_may_be_shared():
    """The blocks of a model are given one config: what one head filled in must not reach the next."""
    assert [build(channels=channels).head.in_channels for channels in (16, 24)] == [16, 24]


def test_gradient_reaches_y_and_every_parameter():
    head, batch = build(), output()
    losses = head.loss(batch, labels())
    assert set(losses) == {'loss_ce', 'acc_seg'}
    losses['loss_ce'].backward()
    assert batch.y.grad.abs().sum() > 0
    assert batch.x.grad is None
    assert all(p.grad is not None for p in head.parameters())


def test_ignored_pixels_count_for_nothing():
    head, batch = build().eval(), output()
    samples = labels()
    loss = head.loss(batch, samples)['loss_ce']
    assert torch.isfinite(loss)
    # The mean goes over all pixels, as in mmseg: those with a label give the whole of it.
    with torch.no_grad():
        logits = nn.functional.interpolate(head.head([batch.y]), size=(32, 32), mode='bilinear')
        label_maps = torch.cat([sample.gt_sem_seg.data for sample in samples])
        known = label_maps != 255
        total = nn.functional.cross_entropy(logits.movedim(1, -1)[known], label_maps[known], reduction='sum')
    assert loss.item() == pytest.approx(total.item() / label_maps.numel(), rel=1e-5)


def test_a_batch_of_ignored_pixels_only_is_finite():
    head, batch = build(), output()
    loss = head.loss(batch, labels(ignored_rows=32))['loss_ce']
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(batch.y.grad).all()
