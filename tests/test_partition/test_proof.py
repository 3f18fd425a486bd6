"""Contract 11: a backbone is accepted if its segments, one after the other, are its forward pass. Else one line."""

import copy
import inspect
import random

import numpy as np
import pytest
import torch
from mmdet.models.backbones import RegNet, ResNet
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmman.costs import DryRun
from mmman.models import LocalBackbone
from mmman.partition import family_of
from mmman.partition.families import FAMILIES, ChainFamily, PoolFreeResNetFamily, ResNetFamily
from mmman.testing.backbones import BACKBONES, HRNET, SAC, SMALL_VIT, SWIN, TWINS

R18 = dict(depth=18, base_channels=8)
R50 = dict(depth=50, base_channels=8)
WIDE = dict(depth=50, groups=4, base_width=4, base_channels=8)
REGNET = dict(arch=dict(w0=8, wa=8.0, wm=2.0, group_w=4, depth=6, bot_mul=1.0))
VIT = dict(arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32), img_size=32, patch_size=16)
TRIDENT = dict(num_branch=3, trident_dilations=(1, 2, 3), num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
DIFFERS = 'in evaluation mode its forward pass is not its segments one after the other'
TRANSFORMERS = (
    'mmdet.SwinTransformer',
    'mmpretrain.SwinTransformer',
    'mmpretrain.SwinTransformerV2',
    'mmpretrain.DaViT',
    'mmdet.PyramidVisionTransformer',
    'mmdet.PyramidVisionTransformerV2',
    'mmseg.MixVisionTransformer',
    'mmseg.PCPVT',
    'mmpretrain.PCPVT',
    'mmseg.MSCAN',
    'mmpretrain.VAN',
    'mmpretrain.MViT',
    'mmseg.VisionTransformer',
    'mmseg.BEiT',
    'mmseg.MAE',
    'mmpretrain.BEiTViT',
    'mmpretrain.XCiT',
    'mmpretrain.Conformer',
    'mmpretrain.TNT',
)
# What the toolboxes register and a family claims: what it is built with, and why it is refused, if it is.
REGISTERED = {
    'mmdet.ResNet': (R18, None),
    'mmdet.ResNetV1d': (R18, None),
    'mmdet.ResNeXt': (WIDE, None),
    'mmdet.RegNet': (REGNET, None),
    'mmdet.Res2Net': (dict(depth=50, scales=4, base_width=4, base_channels=8), None),
    'mmdet.ResNeSt': (R50, None),
    'mmdet.DetectoRS_ResNet': (dict(R50, **SAC), None),
    'mmdet.DetectoRS_ResNeXt': (dict(WIDE, **SAC), None),
    'mmdet.TridentResNet': (dict(R50, **TRIDENT, test_branch_idx=1, out_indices=(2,)), None),
    'mmseg.ResNet': (R18, None),
    'mmseg.ResNetV1c': (R18, None),
    'mmseg.ResNetV1d': (R18, None),
    'mmseg.ResNeXt': (WIDE, None),
    'mmseg.ResNeSt': (R50, None),
    'mmpretrain.ResNet': (R18, None),
    'mmpretrain.ResNetV1c': (R18, None),
    'mmpretrain.ResNetV1d': (R18, None),
    'mmpretrain.ResNeXt': (dict(depth=50, groups=4, width_per_group=4), None),
    'mmpretrain.RegNet': (REGNET, None),
    'mmpretrain.Res2Net': (dict(depth=50, scales=4, base_width=4, base_channels=8), None),
    'mmpretrain.ResNeSt': (dict(depth=50), None),
    'mmpretrain.ResNet_CIFAR': (R18, None),
    'mmpretrain.SEResNet': (dict(depth=50), None),
    'mmpretrain.SEResNeXt': (dict(depth=50, groups=4, width_per_group=4), None),
    'mmpretrain.SparseResNet': (dict(depth=50), 'run on images alone ('),
    'mmpretrain.VGG': (dict(depth=11, num_stages=2, dilations=(1, 1), out_indices=(1,)), None),
    'mmpretrain.VisionTransformer': (VIT, None),
    'mmpretrain.MoCoV3ViT': (VIT, None),
    'mmpretrain.DistilledVisionTransformer': (VIT, None),
    'mmpretrain.DeiT3': (VIT, None),
    'mmpretrain.ViTEVA02': (dict(VIT, sub_ln=True), None),
    'mmpretrain.MAEViT': (VIT, DIFFERS),
    'mmpretrain.MFFViT': (dict(VIT, out_indices=[0, 1]), DIFFERS),
    'mmpretrain.MaskFeatViT': (VIT, "missing 1 required positional argument: 'mask'"),
    'mmpretrain.MILANViT': (VIT, "missing 1 required positional argument: 'importance'"),
    'mmman.SmallResNet': (dict(depth=20, base_channels=8), None),
    'mmpretrain.SimMIMSwinTransformer': (dict(arch=SWIN, pad_small_map=True), "argument: 'mask'"),
    'mmpretrain.BEiTPretrainViT': (
        dict(SMALL_VIT, use_shared_rel_pos_bias=False, use_rel_pos_bias=True),
        "argument: 'mask'",
    ),
    'mmpretrain.CAEPretrainViT': (dict(SMALL_VIT, layer_scale_init_value=0.1), "argument: 'mask'"),
    'mmseg.SwinTransformer': (SWIN, None),
    'mmseg.SVT': (dict(TWINS, windiow_sizes=[7, 7, 7, 7]), None),
    'mmpretrain.SVT': (dict(arch=dict(TWINS, window_sizes=[7, 7, 7, 7])), None),
    **{
        name: (BACKBONES[name], None)
        for name in TRANSFORMERS + ('mmdet.HRNet', 'mmdet.HourglassNet', 'mmseg.UNet', 'mmseg.ICNet')
    },
    **dict.fromkeys(('mmseg.HRNet', 'mmpretrain.HRNet'), (dict(extra=HRNET), None)),
}


@pytest.fixture(scope='module', autouse=True)
def _toolboxes():
    import mmpretrain.models  # noqa: F401
    import mmseg.models  # noqa: F401

    import mmman.classification  # noqa: F401


def registries(registry=MODELS):
    yield registry
    for child in registry.children.values():
        yield from registries(child)


def test_the_table_has_every_class_that_a_family_claims():
    claimed = {
        f'{registry.scope}.{name}'
        for registry in registries()
        for name, kind in registry.module_dict.items()
        if inspect.isclass(kind)
        for base in kind.__mro__
        if any(f'{base.__module__}.{base.__qualname__}' in family.CLASSES for family in FAMILIES)
        if not kind.__module__.startswith('test')
    }
    assert claimed == set(REGISTERED)


@pytest.mark.parametrize('name', REGISTERED)
def test_every_registered_class_is_proven_or_refused_in_one_line(name):
    arguments, reason = REGISTERED[name]
    scope = name.split('.')[0].replace('mmman', 'mmpretrain')
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MODELS.build(dict(type=name, **arguments))
    if reason is None:
        family_of(backbone)
        return
    with pytest.raises(TypeError) as error:
        family_of(backbone)
    text = str(error.value)
    assert f'{type(backbone).__module__}.{type(backbone).__name__} cannot be cut into blocks: ' in text
    assert reason in text and '\n' not in text and 'Train it end to end, or write a family for it' in text


class Derived(ResNet):
    pass


class EqualForward(ResNet):
    def forward(self, x):
        x = self.maxpool(self.relu(self.norm1(self.conv1(x))))
        return tuple(x := getattr(self, name)(x) for name in self.res_layers)


class UnitsOfDropout(ResNet):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        for i in range(2):
            self.layer4[i].register_forward_hook(lambda module, args, x: nn.functional.dropout(x, 0.5, module.training))


class PooledRegNet(RegNet):
    """Claimed by the family of those without pooling, too, for which it is not."""

    def forward(self, x):
        return ResNet.forward(self, x)


class Doubled(ResNet):
    def forward(self, x):
        return tuple(2 * feature for feature in super().forward(x))


class DoubledInTraining(ResNet):
    def forward(self, x):
        features = super().forward(x)
        return tuple(2 * feature for feature in features) if self.training else features


class Noisy(ResNet):
    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x) if self.training else x)


class NoisyByNumpy(ResNet):
    def forward(self, x):
        return super().forward(x + np.random.rand() if self.training else x)


class NoisyByPython(ResNet):
    def forward(self, x):
        return super().forward(x + random.random() if self.training else x)


class GatedFromZero(ResNet):
    """Equal until its gate has learned to open."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return tuple(feature + self.gate * feature.mean() for feature in super().forward(x))


class CountsImages(ResNet):
    """Its outputs are equal, a buffer is not."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.register_buffer('images', torch.zeros(()))

    def forward(self, x):
        self.images += len(x)
        return super().forward(x)


class Listed(ResNet):
    def forward(self, x):
        return list(super().forward(x))


class Named(ResNet):
    def forward(self, x):
        return dict(enumerate(super().forward(x)))


class LastAlone(ResNet):
    def forward(self, x):
        return super().forward(x)[-1]


class Nested(ResNet):
    def forward(self, x):
        return tuple([feature] for feature in super().forward(x))


class BetweenStages(ResNet):
    """Neither its family's segments nor a chain: the stages take what is made outside of them."""

    def forward(self, x):
        x, features = self.maxpool(self.relu(self.norm1(self.conv1(x)))), []
        for name in self.res_layers:
            x = 2 * getattr(self, name)(x)
            features.append(x)
        return tuple(features)


class WithMask(ResNet):
    def forward(self, x, mask):
        return super().forward(x * mask)


class TwoLineError(ResNet):
    def forward(self, x):
        raise RuntimeError('first\nsecond')


@pytest.mark.parametrize(
    ('kind', 'arguments', 'family'),
    [
        (Derived, R18, ResNetFamily),
        (EqualForward, R18, ResNetFamily),
        (UnitsOfDropout, R18, ResNetFamily),
        (PooledRegNet, REGNET, ResNetFamily),
        (RegNet, REGNET, PoolFreeResNetFamily),
    ],
)
def test_a_subclass_that_is_equal_is_accepted_by_the_first_family_that_proves_it(kind, arguments, family):
    if kind is PooledRegNet:
        backbone = kind(**arguments)
        backbone.maxpool = nn.MaxPool2d(3, 2, 1)
    else:
        backbone = kind(**arguments)
    assert type(family_of(backbone)) is family


@pytest.mark.parametrize(
    'kind', [Doubled, GatedFromZero, CountsImages, Listed, Named, LastAlone, Nested, DoubledInTraining]
)
def test_a_subclass_that_makes_something_else_of_the_same_features_is_a_chain(kind):
    backbone = kind(**R18)
    family = family_of(backbone)
    assert type(family) is ChainFamily and len(family.segments(backbone)) > len(backbone.res_layers)


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        *((kind, DIFFERS.replace('evaluation', 'training')) for kind in (Noisy, NoisyByNumpy, NoisyByPython)),
        (BetweenStages, DIFFERS),
        (WithMask, "missing 1 required positional argument: 'mask'"),
        (TwoLineError, 'RuntimeError: first second'),
    ],
)
def test_a_subclass_that_differs_is_refused_in_one_line(kind, reason):
    with pytest.raises(TypeError) as error:
        family_of(kind(**R18))
    assert str(error.value).startswith(f'{__name__}.{kind.__name__} cannot be cut into blocks: ')
    assert reason in str(error.value) and '\n' not in str(error.value)
    assert 'supported' not in str(error.value)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(in_channels=4),
        dict(in_channels=1),
        dict(norm_cfg=dict(type='SyncBN')),
        dict(norm_eval=True, frozen_stages=2),
        dict(norm_eval=False, frozen_stages=-1),
        dict(with_cp=True),
        dict(out_indices=(3, 1)),
        dict(out_indices=(0,)),
        dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
        dict(zero_init_residual=True),
    ],
    ids=str,
)
def test_what_a_resnet_can_be_told_is_proven_too(arguments):
    backbone = ResNet(**R18, **arguments)
    backbone.init_weights()
    family_of(backbone)


@pytest.mark.parametrize('rates', [dict(drop_path_rate=0.5), dict(drop_rate=0.5)], ids=str)
def test_what_is_dropped_at_random_is_the_same_in_both(rates):
    family_of(MODELS.build(dict(type='mmpretrain.VisionTransformer', **VIT, **rates)))
    if 'drop_path_rate' in rates:
        family_of(MODELS.build(dict(type='mmpretrain.ResNet', depth=18, **rates)))


def test_a_vgg_with_its_classifier_is_shown_images_of_the_size_that_it_takes():
    backbone = MODELS.build(dict(type='mmpretrain.VGG', depth=11, num_stages=2, dilations=(1, 1), out_indices=(0, 2)))
    backbone.num_classes, backbone.classifier = 3, nn.Sequential(nn.Linear(128 * 7 * 7, 3))
    assert family_of(backbone).example_input(backbone).shape == (1, 3, 28, 28)


def test_a_backbone_that_returns_nothing_is_refused():
    backbone = ResNet(**R18)
    backbone.out_indices = ()
    with pytest.raises(TypeError, match='its forward pass returns no tensor'):
        family_of(backbone)


def test_what_no_family_claims_gets_the_list_of_what_is_supported():
    with pytest.raises(TypeError, match=r'CGNet cannot be cut into blocks; supported: ResNet.*RegNet.*VGG.*a chain'):
        family_of(MODELS.build(dict(type='mmseg.CGNet')))


@pytest.mark.parametrize('training', [True, False])
def test_neither_the_backbone_nor_a_generator_changes(training):
    backbone = ResNet(**R18, frozen_stages=1)
    for p in backbone.parameters():  # train() would freeze some again
        p.requires_grad_(True)
    nn.Module.train(backbone, training)
    state = copy.deepcopy(backbone.state_dict())
    versions = [t._version for t in backbone.state_dict().values()]
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    family_of(backbone)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    assert [t._version for t in backbone.state_dict().values()] == versions
    assert all(p.requires_grad and p.grad is None for p in backbone.parameters())
    assert all(module.training is training for module in backbone.modules())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == generators[1:]
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == flags


def local(backbone, num_blocks=4):
    head = dict(type='mmman.ClassificationLocalHead', head=dict(type='mmpretrain.LinearClsHead', num_classes=3))
    return LocalBackbone(backbone, dict(num_blocks=num_blocks), head)


def test_a_model_can_be_built_while_steps_run_dry():
    with DryRun([]):
        assert len(local(ResNet(**R18)).local.blocks) == 4
        with pytest.raises(TypeError, match=DIFFERS):
            local(BetweenStages(**R18))


class WithNamesOfOurs(ResNet):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = nn.ModuleList([nn.Identity()])
        self.family = 'residual'


def test_a_backbone_with_blocks_and_a_family_of_its_own_keeps_them():
    backbone = local(WithNamesOfOurs(**R18))
    assert isinstance(backbone.blocks, nn.ModuleList) and backbone.family == 'residual'
    assert len(backbone.local.blocks) == 4 and type(backbone.local.family) is ResNetFamily
    assert len(copy.deepcopy(backbone).local.blocks) == 4


class WithLocal(ResNet):
    local = None


def test_a_backbone_with_a_local_of_its_own_is_refused():
    backbone = WithLocal(**R18)
    with pytest.raises(TypeError, match=r'test_proof.WithLocal has an attribute `local` of its own'):
        local(backbone)
    assert type(backbone) is WithLocal


def test_a_refused_backbone_stays_what_it_was():
    backbone = BetweenStages(**R18)
    with pytest.raises(TypeError, match=DIFFERS):
        local(backbone)
    assert type(backbone) is BetweenStages and not hasattr(backbone, 'local')
