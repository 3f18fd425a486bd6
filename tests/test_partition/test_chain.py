"""What a chain may have beside its links: a stem with statistics, constants, sizes that the forward pass asks for."""

import copy

import pytest
import torch
from torch import nn

from mmman.partition import family_of
from mmman.partition.families import ChainFamily


class Layer(nn.Module):
    """A unit on tokens, which takes more than them."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x, mask=None, flag=None):
        return x + torch.tanh(self.linear(x))


class StemWithStatistics(nn.Module):
    """Tokens are made of what a convolution and a BatchNorm give, as in LeViT; the output is a map again."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8))
        self.stages = nn.ModuleList(nn.Sequential(Layer(), Layer()) for _ in range(3))

    def forward(self, x):
        x = self.patch_embed(x)
        size, x = x.shape, x.flatten(2).transpose(1, 2)
        for stage in self.stages:
            x = stage(x)
        return (x.transpose(1, 2).reshape(size),)


class LinksWithConstants(StemWithStatistics):
    """Every layer is told something that is the same for all images, as in MixMIM and HiViT."""

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        for stage in self.stages:
            for layer in stage:
                x = layer(x, None, flag=True)
        return (x,)


class AsksForSizes(nn.Module):
    """Before the last unit the size of the map is asked for, as in EfficientFormer."""

    def __init__(self):
        super().__init__()
        self.units = nn.ModuleList(nn.Sequential(nn.Conv2d(c, 8, 3, stride=2, padding=1), nn.ReLU()) for c in (3, 8, 8))
        self.last = nn.Sequential(nn.Flatten(2), nn.LayerNorm(16 * 16 // 4))

    def forward(self, x):
        for unit in self.units:
            x = unit(x)
        _, _, height, width = x.shape
        return (self.last(x).reshape(-1, 8, height, width),)


class TakesSizes(StemWithStatistics):
    """A number may follow from the size of the images: it is no constant."""

    def forward(self, x):
        x = self.patch_embed(x)
        side, x = x.shape[-1], x.flatten(2).transpose(1, 2)
        for stage in self.stages:
            for layer in stage:
                x = layer(x, side)
        return (x,)


@pytest.mark.parametrize('kind', [StemWithStatistics, LinksWithConstants, AsksForSizes])
def test_is_cut(kind):
    torch.manual_seed(0)
    backbone = kind()
    family = family_of(backbone)
    assert type(family) is ChainFamily and len(family.segments(backbone)) >= 3


def test_the_stem_counts_its_statistics_once():
    backbone = StemWithStatistics().train()
    family = family_of(backbone)
    plain = copy.deepcopy(backbone)
    images = torch.rand(2, 3, 64, 64)
    x, features = images, {}
    for segment in family.segments(backbone):
        x = family.run(backbone, segment, x)
        if segment.closes is not None:
            features[segment.closes] = x
    outputs = family.outputs(backbone, features, x, images)
    assert torch.equal(outputs[0], plain(images)[0])
    assert backbone.patch_embed[1].num_batches_tracked == plain.patch_embed[1].num_batches_tracked == 1
    assert torch.equal(backbone.patch_embed[1].running_mean, plain.patch_embed[1].running_mean)
    assert backbone.patch_embed.training and backbone.patch_embed[1].training


def test_an_argument_that_may_follow_from_the_images_is_refused():
    with pytest.raises(TypeError, match='TakesSizes cannot be cut into blocks'):
        family_of(TakesSizes())


def test_a_chain_that_leaves_nearly_all_to_the_last_block_is_refused():
    backbone = StemWithStatistics()
    backbone.behind = nn.Linear(8, 5000)
    backbone.forward = lambda x: (backbone.behind(StemWithStatistics.forward(backbone, x)[0].mean((2, 3))),)
    with pytest.raises(TypeError, match='cannot be cut into blocks'):
        family_of(backbone)
