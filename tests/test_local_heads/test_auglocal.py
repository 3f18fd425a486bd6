import itertools

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn
from torchvision.models.resnet import BasicBlock

from mmman.local_heads import AugLocalHead, BlockOutput, Position
from mmman.local_heads.auglocal import pick

HEAD = dict(type='mmpretrain.LinearClsHead', num_classes=3)
# ResNet-32: the stem and 15 units.
WIDTHS = 6 * [16] + 5 * [32] + 5 * [64]


def example(channels):
    return BlockOutput(x=torch.rand(4, channels, 8, 8), y=torch.rand(4, channels, 8, 8), inputs=torch.rand(4, 3, 8, 8))


def position(layer, index=1, num_blocks=16, widths=WIDTHS):
    """Of a block whose last layer is number ``layer``."""
    return Position(index, num_blocks, layer, tuple(torch.Size((1, width, 8, 8)) for width in widths[layer + 1 :]))


def units(head):
    return [m for m in head.layers if isinstance(m, BasicBlock)]


def by_the_formula(num_layers, layer, count):
    """The method digest, section 4: numbers of the layers, of the whole network."""
    if count >= num_layers - 1 - layer:
        return list(range(layer + 1, num_layers))
    return [round(layer + (num_layers - layer - 1) / count * i) for i in range(1, count + 1)]


def position_of(layer, num_layers):
    return Position(1, 4, layer, tuple(torch.Size([n]) for n in range(layer + 1, num_layers)))


def picked(num_layers, layer, count):
    return [number for (number,) in pick(position_of(layer, num_layers), count)]


def test_layers_are_picked_by_the_formula():
    for num_layers, layer, count in itertools.product((5, 10, 16, 55), range(54), (1, 2, 3, 4, 5)):
        if layer < num_layers - 1:
            assert picked(num_layers, layer, count) == by_the_formula(num_layers, layer, count)


@pytest.mark.parametrize(
    ('num_layers', 'layer', 'count', 'expected'),
    [
        (16, 0, 1, [15]),
        (16, 0, 3, [5, 10, 15]),
        (16, 0, 5, [3, 6, 9, 12, 15]),
        (16, 6, 3, [9, 12, 15]),
        (16, 12, 3, [13, 14, 15]),
        (16, 13, 3, [14, 15]),
    ],
)
def test_known_picks(num_layers, layer, count, expected):
    assert picked(num_layers, layer, count) == expected


def test_units_have_the_widths_of_the_picked_layers_and_shrink_where_they_grow():
    head = AugLocalHead(HEAD, 3, example(16), position(0))  # layers 5, 10, 15
    assert [u.conv2.out_channels for u in units(head)] == [16, 32, 64]
    assert [u.stride for u in units(head)] == [1, 2, 2]
    assert [u.downsample is not None for u in units(head)] == [False, True, True]
    assert head.head.fc.in_features == 64


@pytest.mark.parametrize('depth', [1, 2, 3, 5, 9])
@pytest.mark.parametrize('decay', [0.5, 0.2, 0.0])
def test_the_depth_shrinks_as_the_method_has_it(depth, decay):
    num_blocks = 12
    for index in range(1, num_blocks):
        q = decay * (index - 1) / (num_blocks - 2)
        expected = max(1, round(depth * (1 - q) + q))
        head = AugLocalHead(HEAD, depth, example(16), position(0, index, num_blocks), decay=decay)
        assert len(units(head)) == expected


def test_the_last_local_head_has_about_half_the_depth():
    depths = [len(units(AugLocalHead(HEAD, 5, example(16), position(0, i, 8)))) for i in range(1, 8)]
    assert depths == [5, 5, 4, 4, 4, 3, 3]


@pytest.mark.parametrize(('depth', 'normed'), [(1, True), (2, False)])
def test_one_unit_alone_is_followed_by_a_norm(depth, normed):
    head = AugLocalHead(HEAD, depth, example(16), position(0))
    assert any(isinstance(m, nn.BatchNorm1d) for m in head.layers) == normed
    losses = head.loss(example(16), [DataSample().set_gt_label(i % 3) for i in range(4)])
    assert losses['loss'].isfinite()


def test_units_are_fresh_and_their_own():
    heads = [AugLocalHead(HEAD, 3, example(16), position(0)) for _ in range(2)]
    a, b = (units(head)[0].conv1.weight for head in heads)
    assert a is not b and not torch.equal(a, b)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match='depth must be at least 1, got 0'):
        AugLocalHead(HEAD, 0, example(16), position(0))
    tokens = BlockOutput(x=torch.rand(1, 17, 8), y=torch.rand(1, 17, 8), inputs=torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r'needs feature maps .*, but y are tokens of shape \(1, 17, 8\)'):
        AugLocalHead(HEAD, 2, tokens, position(0))
