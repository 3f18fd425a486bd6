"""The last batch of an epoch may hold one image."""

import copy

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmman.local_heads import (
    AugLocalHead,
    BlockOutput,
    ClassificationLocalHead,
    DGLLocalHead,
    InfoProClassifier,
    InfoProLocalHead,
    Position,
    PredSimLocalHead,
)
from mmman.local_heads.batch_norm import BatchNorm1d, BatchNorm2d, take_one_value

HEAD = dict(type='mmpretrain.LinearClsHead', num_classes=3)
CONTRAST = dict(type='mmman.ContrastiveHead', channels=8)
POSITION = Position(1, 2, 0, (torch.Size((1, 16, 4, 4)),))
KINDS = [(nn.BatchNorm1d, BatchNorm1d, (4, 6)), (nn.BatchNorm2d, BatchNorm2d, (2, 6, 3, 3))]


def infopro(**kwargs):
    task = dict(type='mmman.InfoProClassifier', head=HEAD)
    return InfoProLocalHead(task, dict(channels=[8, 8, 8, 8, 8]), 1.0, 1.0, **kwargs)


HEADS = {
    'greedy': lambda **kwargs: ClassificationLocalHead(HEAD, **kwargs),
    'convs': lambda **kwargs: ClassificationLocalHead(HEAD, convs=[(8, 3, 2), (8, 3, 2)], **kwargs),
    'stacked': lambda **kwargs: ClassificationLocalHead(
        dict(HEAD, type='mmpretrain.StackedLinearClsHead', mid_channels=[6], norm_cfg=dict(type='BN1d')), **kwargs
    ),
    'vig': lambda **kwargs: ClassificationLocalHead(dict(HEAD, type='mmpretrain.VigClsHead', hidden_dim=8), **kwargs),
    'dgl': lambda **kwargs: DGLLocalHead(HEAD, **kwargs),
    'auglocal1': lambda **kwargs: AugLocalHead(HEAD, 1, **kwargs),
    'infopro_classifier': lambda **kwargs: InfoProClassifier(HEAD, **kwargs),
    'contrast': lambda **kwargs: InfoProClassifier(CONTRAST, **kwargs),
    'infopro': infopro,
    'predsim': lambda **kwargs: PredSimLocalHead(HEAD, **kwargs),
}


def output(batch, side):
    return BlockOutput(
        x=torch.rand(batch, 4, side, side),
        y=torch.rand(batch, 8, side, side, requires_grad=True),
        inputs=torch.rand(batch, 3, 16, 16),
    )


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('side', [1, 2, 4])
@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16])
def test_every_local_head_trains_on_one_image(name, side, precision):
    head = HEADS[name](example=output(1, side), position=POSITION)
    one = output(1, side)
    with torch.autocast('cpu', dtype=precision, enabled=precision is not torch.float32):
        losses = head.loss(one, [DataSample().set_gt_label(1)])
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert one.y.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(('plain', 'kind', 'shape'), KINDS)
def test_of_several_values_it_is_torchs_own_to_the_last_bit(plain, kind, shape):
    norms = [plain(6), kind(6)]
    x = torch.randn(shape)
    assert norms[0](x).equal(norms[1](x))
    norms[0].eval(), norms[1].eval()
    assert norms[0](x).equal(norms[1](x))
    for a, b in zip(norms[0].state_dict().items(), norms[1].state_dict().items(), strict=True):
        assert a[0] == b[0] and a[1].equal(b[1])


@pytest.mark.parametrize(('plain', 'kind', 'shape'), KINDS)
def test_one_value_is_normalised_by_the_running_statistics_and_leaves_them(plain, kind, shape):
    norm = kind(6)
    norm(3 + 2 * torch.randn(shape))
    before = copy.deepcopy(norm.state_dict())
    one = torch.randn(1, 6, *[1] * (len(shape) - 2))
    found = norm(one)
    assert found.equal(copy.deepcopy(norm).eval()(one))
    assert all(value.equal(before[key]) for key, value in norm.state_dict().items())


def test_replaced_norms_are_the_same_parameters_under_the_same_names():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=0.1, affine=False)), nn.BatchNorm2d(4)
    )
    module[2].weight.requires_grad_(False)
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    replaced = take_one_value(module.eval())
    assert replaced is module and type(module[1][0]) is type(module[2]) is BatchNorm2d
    assert module[1][0].eps == 0.1 and not module[2].training
    for old, new in ((parameters, module.named_parameters()), (buffers, module.named_buffers())):
        new = dict(new)
        assert list(old) == list(new) and all(old[name] is new[name] for name in old)


@pytest.mark.parametrize('layer', ['_BatchNorm', 'BatchNorm2d'])
def test_an_init_cfg_still_finds_them(layer):
    from mmengine.model import ConstantInit

    module = take_one_value(nn.Sequential(nn.BatchNorm2d(3)))
    ConstantInit(val=0.5, layer=layer)(module)
    assert (module[0].weight == 0.5).all()
