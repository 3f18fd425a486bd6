import copy

import pytest
import torch
from scenarios.contracts import auxiliaries
from scenarios.training import build_model, optim_wrapper_for, train
from torch import nn

from mmman.auxiliary import MomentumAuxiliary, TwoBiasesAuxiliary
from mmman.testing import tiny_classifier, tiny_cls_batch

AUXILIARY = dict(type='mmman.TwoBiasesAuxiliary')


def model_with_two_biases(seed=0):
    return build_model(tiny_classifier('resnet', 4, auxiliary=AUXILIARY), seed)


def weights(module):
    return [p for p in module.parameters() if p.ndim > 1]


def assert_apart(module, other):
    for a, b in zip(weights(module), weights(other), strict=True):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).abs() < 0.3


def test_the_second_branch_starts_apart_from_the_source_and_the_first_at_it():
    for auxiliary, (source, *_) in auxiliaries(model_with_two_biases()):
        assert_apart(auxiliary.second_bias, source)
        for a, b in zip(auxiliary.learnable_bias.parameters(), source.parameters(), strict=True):
            assert torch.equal(a, b)
        assert auxiliary.scale.item() == 1


def test_the_second_branch_stays_apart_when_plain_weights_are_loaded():
    plain = build_model(tiny_classifier('resnet', None), seed=1)
    model = model_with_two_biases()
    before = copy.deepcopy([auxiliary.second_bias.state_dict() for auxiliary, _ in auxiliaries(model)])
    keys = model.load_state_dict(plain.state_dict(), strict=False)
    assert all('.second_bias.' in key or '.head.' in key for key in keys.missing_keys)
    for (auxiliary, (source, *_)), old in zip(auxiliaries(model), before, strict=True):
        assert all(torch.equal(value, old[key]) for key, value in auxiliary.second_bias.state_dict().items())
        assert_apart(auxiliary.second_bias, source)
        assert torch.equal(auxiliary.learnable_bias.conv1.weight, source.conv1.weight)


def test_both_branches_learn_from_the_local_loss_alone():
    model = model_with_two_biases()
    before = copy.deepcopy([auxiliary.second_bias for auxiliary, _ in auxiliaries(model)])
    optim_wrapper = optim_wrapper_for(model)
    train(model, optim_wrapper, [tiny_cls_batch()])
    for index, ((auxiliary, _), old) in enumerate(zip(auxiliaries(model), before, strict=True), start=1):
        groups = optim_wrapper[f'block{index}'].optimizer.param_groups
        stepped = {p for group in groups for p in group['params']}
        assert stepped >= set(auxiliary.second_bias.parameters()) | set(auxiliary.learnable_bias.parameters())
        assert not any(torch.equal(a, b) for a, b in zip(weights(auxiliary.second_bias), weights(old), strict=True))


def test_without_a_learning_rate_the_second_branch_does_not_move():
    model = model_with_two_biases()
    before = copy.deepcopy([list(auxiliary.second_bias.parameters()) for auxiliary, _ in auxiliaries(model)])
    train(model, optim_wrapper_for(model, optimizer=dict(type='SGD', lr=0.0)), [tiny_cls_batch()])
    for (auxiliary, _), old in zip(auxiliaries(model), before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(auxiliary.second_bias.parameters(), old, strict=True))


def test_update_leaves_the_second_branch_alone():
    source = nn.Conv2d(4, 4, 3, padding=1)
    auxiliary = TwoBiasesAuxiliary([source], momentum=0.5)
    auxiliary.start_from([source])
    before = auxiliary.second_bias.weight.clone()
    auxiliary.update([nn.Conv2d(4, 4, 3, padding=1)])
    assert torch.equal(auxiliary.second_bias.weight, before)


def test_y_is_the_balance_of_the_two_branches():
    source = nn.Conv2d(4, 4, 3, padding=1)
    auxiliary = TwoBiasesAuxiliary([source])
    auxiliary.start_from([source])
    auxiliary.scale.data.fill_(0.25)
    x = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(auxiliary(x), 0.25 * auxiliary.learnable_bias(x) + 1.75 * auxiliary.second_bias(x))


def test_it_is_as_large_as_the_momentum_auxiliary():
    source = nn.Conv2d(4, 4, 3, padding=1)
    shapes = [
        {n.replace('second_bias', 'ema'): p.shape for n, p in cls([source]).named_parameters()}
        for cls in (MomentumAuxiliary, TwoBiasesAuxiliary)
    ]
    assert shapes[0] == shapes[1]
    assert all(p.requires_grad for p in TwoBiasesAuxiliary([source]).parameters())


@pytest.mark.parametrize('num_layers', [1, 2])
def test_further_layers_start_at_their_sources(num_layers):
    sources = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)]
    auxiliary = TwoBiasesAuxiliary(sources, num_layers=num_layers)
    auxiliary.start_from(sources)
    assert [layer.weight.equal(source.weight) for layer, source in zip(auxiliary.further, sources[1:])] == [
        True for _ in range(num_layers - 1)
    ]
