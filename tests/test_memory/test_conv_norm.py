"""Convolution and norm in one: less is kept, results are mmengine's, to rounding; copies have weights of their own."""

import copy

import pytest
import torch
from mmdet.models.backbones import ResNet
from torch import nn

from mmman.costs import LiveBytes, tensors_of
from mmman.memory import conv_norm
from mmman.memory.conv_norm import join_conv_and_norm


def backbone(depth):
    torch.manual_seed(0)
    model = ResNet(depth, base_channels=8, norm_eval=True, frozen_stages=1)
    model.train()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight)
    return model, [unit for stage in model.res_layers for unit in getattr(model, stage)]


def gradients(model):
    model.zero_grad()
    outputs = model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    sum(x.square().mean() for x in outputs).backward()
    return [*outputs, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize('depth', [18, 50])
def test_results_are_the_same_to_rounding(depth):
    model, units = backbone(depth)
    names, before = list(model.state_dict()), gradients(model)
    assert join_conv_and_norm(units) == len(units)
    after = gradients(model)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(before, after, strict=True))
    assert list(model.state_dict()) == names


def test_less_is_kept():
    model, units = backbone(18)
    x = torch.randn(2, 3, 256, 256)

    def kept():
        with LiveBytes([x, *tensors_of(model)]) as live:
            start = live.current
            outputs = model(x)
            assert outputs[-1].requires_grad
            return live.current - start

    before = kept()
    join_conv_and_norm(units)
    assert kept() < 0.9 * before


def test_a_copy_has_its_own_weights():
    _, units = backbone(18)
    join_conv_and_norm(units)
    unit = copy.deepcopy(units[-1])
    x = torch.randn(1, 64, 4, 4)
    with torch.no_grad():
        same = torch.equal(unit(x), units[-1](x))
        unit.conv1.weight.mul_(2)
        assert same and not torch.equal(unit(x), units[-1](x))


def test_norms_in_training_mode_are_left_alone():
    model = ResNet(18, base_channels=8, norm_eval=False)
    model.train()
    assert join_conv_and_norm([model.layer1[0], model.layer2[0]]) == 0


class Untraceable(nn.Module):
    """Its way depends on values."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4).eval()

    def forward(self, x):
        return self.norm(self.conv(x)) if x.sum() > 0 else x


def test_what_cannot_be_traced_is_named(monkeypatch):
    lines = []
    monkeypatch.setattr(conv_norm, 'print_log', lambda line, **_: lines.append(line))
    assert join_conv_and_norm([Untraceable()]) == 0
    (line,) = lines
    assert line.startswith('Untraceable: convolution and norm stay apart') and 'TraceError' in line


class Unit(nn.Module):
    """Convolution and norm, and a dropout that is a function of the mode."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        return nn.functional.dropout(self.norm(self.conv(x)), 0.5, self.training)


def test_evaluation_is_the_modules_own_of_copies_too():
    unit, x = Unit(), torch.randn(1, 3, 8, 8)
    unit.norm.eval()
    plain = copy.deepcopy(unit).eval()(x)
    assert join_conv_and_norm([unit]) == 1
    dropped = unit(x)
    assert (dropped == 0).any() and not torch.equal(dropped, plain)
    assert torch.equal(copy.deepcopy(unit).eval()(x), plain)
    assert torch.equal(unit.eval()(x), plain)
