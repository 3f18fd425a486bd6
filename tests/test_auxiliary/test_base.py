"""A new auxiliary network in ten lines, and what follows from its base class."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from scenarios.contracts import auxiliaries, gradients_of_each_loss
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train
from torch import nn

from mmman.auxiliary import AuxiliaryNetwork, MomentumAuxiliary
from mmman.testing import tiny_batch, tiny_retinanet


@MODELS.register_module()
class TenLineCopy(AuxiliaryNetwork):
    def __init__(self, sources):
        super().__init__()
        self.layer = copy.deepcopy(sources[0])

    def forward(self, x):
        return self.layer(x)

    def copies(self):
        return dict(layer=0)


@MODELS.register_module()
class TenLineConv(AuxiliaryNetwork):
    """Pointwise convolutions, with a weight that is logged; and an average of the source that it does not use."""

    def __init__(self, sources, momentum=0.5, init_cfg=dict(type='Constant', layer='Conv2d', val=0.01)):  # noqa: B006
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(sources[0].conv1.in_channels, sources[0].conv1.in_channels, 1)
        self.average = copy.deepcopy(sources[0]).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(1))
        self.momentum = momentum

    def forward(self, x):
        return x + self.scale.squeeze() * self.conv(x)

    def copies(self):
        return dict(average=0)

    def averaged_parameters(self):
        return self.average.parameters()

    @torch.no_grad()
    def update(self, sources):
        for p, source in zip(self.average.parameters(), sources[0].parameters(), strict=True):
            p.lerp_(source, 1 - self.momentum)


NEW = ['TenLineCopy', 'TenLineConv']


def model_with(kind, seed=0, **local):
    return build_model(tiny_retinanet(4, auxiliary=dict(type=kind), **local), seed)


@pytest.mark.parametrize('kind', NEW)
def test_a_new_network_is_isolated(kind):
    model = model_with(kind)
    reached, features = gradients_of_each_loss(model, tiny_batch())
    assert [feature.requires_grad for feature in features] == [False, False, False, True]
    local = model.backbone.local
    owners = {name: local.block_of_parameters().get(p, 4) for name, p in model.named_parameters()}
    for index, names in reached.items():
        assert names and {owners[name] for name in names} == {index}
    for block in local.blocks[:-1]:
        own = f'backbone.local.{block.place}.auxiliary.'
        learn = {f'{own}{n}' for n, p in local.branch(block).auxiliary.named_parameters() if p.requires_grad}
        assert learn and learn <= reached[block.index]


@pytest.mark.parametrize('kind', NEW)
def test_a_new_network_trains_and_is_followed(kind):
    model = model_with(kind)
    before = copy.deepcopy(auxiliaries(model))
    optim_wrapper = optim_wrapper_for(model)
    train(model, optim_wrapper, [tiny_batch(seed) for seed in range(2)])
    in_optimizers = {p for w in optim_wrapper.values() for g in w.optimizer.param_groups for p in g['params']}
    for (auxiliary, _), (old, _) in zip(auxiliaries(model), before, strict=True):
        averaged = set(auxiliary.averaged_parameters())
        for (name, p), old_p in zip(auxiliary.named_parameters(), old.parameters(), strict=True):
            assert (p in in_optimizers) is (p not in averaged), name
            assert p.ndim < 2 or not torch.equal(p, old_p), name
    assert ('local1.scale' in optim_wrapper.local_log_vars) is (kind == 'TenLineConv')


@pytest.mark.parametrize('kind', NEW)
def test_copies_start_from_their_sources_and_from_a_plain_checkpoint(kind):
    model, plain = model_with(kind), build_model(tiny_retinanet(None), seed=1)

    def check():
        for auxiliary, sources in auxiliaries(model):
            for name, i in auxiliary.copies().items():
                assert_same_state(auxiliary.get_submodule(name), sources[i])
            if kind == 'TenLineConv':
                assert (auxiliary.conv.weight == 0.01).all() and auxiliary.scale.item() == 1

    check()
    keys = model.load_state_dict(plain.state_dict(), strict=False)
    assert not keys.unexpected_keys
    assert all('.head.' in key or '.auxiliary.conv.' in key for key in keys.missing_keys)
    assert torch.equal(model.backbone.layer2[0].conv1.weight, plain.backbone.layer2[0].conv1.weight)
    check()


@pytest.mark.parametrize('kind', NEW)
def test_a_new_network_is_recomputed_with_its_block(kind):
    kept, recomputed = (model_with(kind, with_cp=with_cp) for with_cp in (False, True))
    assert all(auxiliary.with_cp for auxiliary, _ in auxiliaries(recomputed))
    logs = [train(model, optim_wrapper_for(model), [tiny_batch()]) for model in (kept, recomputed)]
    assert logs[0] == logs[1]
    assert_same_state(recomputed, kept)
    runs = []
    auxiliary = auxiliaries(recomputed)[0][0]
    auxiliary.register_forward_pre_hook(lambda *args: runs.append(1))
    train(recomputed, optim_wrapper_for(recomputed), [tiny_batch()])
    assert len(runs) == 2


def test_a_network_that_copies_nothing_and_follows_nothing_needs_no_more_than_a_forward():
    class Identity(AuxiliaryNetwork):
        def forward(self, x):
            return x

    network = Identity()
    network.start_from([nn.Conv2d(1, 1, 1)])
    network.update([nn.Conv2d(1, 1, 1)])
    assert network.scale is None and not network.follows_source and network.copies() == {}
    assert network.start_state([{}]) == {} and not list(network.averaged_parameters())
    with pytest.raises(TypeError, match='abstract'):
        AuxiliaryNetwork()


def test_what_is_no_auxiliary_network_is_refused_in_one_line():
    MODELS.register_module('PlainConv', module=lambda sources: nn.Conv2d(8, 8, 1), force=True)
    model = tiny_retinanet(4, auxiliary=dict(type='PlainConv'))
    with pytest.raises(TypeError) as error:
        build_model(model)
    assert str(error.value) == (
        "LocalBackbone: auxiliary='PlainConv' builds a Conv2d, which is no mmman.AuxiliaryNetwork: derive it from that "
        'class'
    )


@pytest.mark.parametrize('value', [0.25, 1.0])
def test_a_scale_without_dimension_of_version_0_1_is_loaded(value):
    source = nn.Conv2d(4, 4, 3)
    auxiliary = MomentumAuxiliary([source])
    state = {**auxiliary.state_dict(), 'scale': torch.tensor(value)}
    auxiliary.load_state_dict(state)
    assert auxiliary.scale.shape == (1,) and auxiliary.scale.item() == value


def test_y_stays_in_half_precision():
    source = nn.Conv2d(4, 4, 3)
    auxiliary = MomentumAuxiliary([source])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert auxiliary(torch.rand(1, 4, 5, 5)).dtype is torch.bfloat16
