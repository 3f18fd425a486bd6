"""Contracts 1 to 4 on every backbone family with every host method and task.

The other files of this folder look closer, at one tiny detector.
"""

import copy

import pytest
import torch
from scenarios.contracts import StepAtTheEnd, auxiliaries, gradients_of_each_loss, move_ema_away
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, predictions, train

from mmman.models import find_local_backbone
from mmman.partition import tensors
from mmman.testing import CASES, FAMILY_CASES

PREFIX = 'backbone.local.'
SGD = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
ADAMW = dict(type='AdamW', lr=3e-3, weight_decay=0.05)

ALL = CASES | FAMILY_CASES
every_case = pytest.mark.parametrize('case', ALL.values(), ids=ALL)


def local_model(case, seed=0):
    model = build_model(case.model(case.num_blocks), seed)
    for name, param in model.named_parameters():
        if '.bn' in name and name.endswith('weight') and not param.any():  # Conformer's, which let nothing through
            torch.nn.init.ones_(param)
    return model


def trained(case, model, optim_wrapper, steps):
    """The log of a few steps; dropout draws the same for the same number of steps."""
    torch.manual_seed(0)
    return train(model, optim_wrapper, [case.batch(seed) for seed in range(steps)])


# ------------------------------------------------------------------------------------------------ contract 1: isolation


@every_case
def test_a_loss_reaches_exactly_its_own_block(case, monkeypatch):
    model = local_model(case)
    move_ema_away(model)
    handed_on = []
    local = find_local_backbone(model).local
    run = local.run

    def watched(block, x):
        if block.index > 1:
            handed_on.append(any(tensor.requires_grad for tensor in tensors(x)))
        return run(block, x)

    monkeypatch.setattr(local, 'run', watched)
    owners = find_local_backbone(model).block_of_parameters()
    reached, outputs = gradients_of_each_loss(model, case.batch(0))

    assert set(reached) == set(range(1, case.num_blocks + 1))
    for index, names in reached.items():
        own = {n for n, p in model.named_parameters() if p.requires_grad and owners.get(p, case.num_blocks) == index}
        assert names <= own
        # A bias before a norm has no gradient but rounding, nor a box predictor's in a level without a match.
        assert not {name for name in own - names if not name.endswith('bias')}
    assert not any('.ema.' in name for names in reached.values() for name in names)
    assert handed_on == [False] * (case.num_blocks - 1)
    detached = find_local_backbone(model).detached_outputs
    # What is made of a detached feature behind all blocks (ICNet's convolutions) has a gradient, too.
    outputs = [any(x.requires_grad for x in tensors(output)) for output in outputs]
    assert all(requires or is_detached for requires, is_detached in zip(outputs, detached, strict=True))
    if case in CASES.values():
        assert outputs == [not is_detached for is_detached in detached]
    assert outputs[-1]


@every_case
def test_every_trainable_parameter_has_exactly_one_optimizer(case):
    model = local_model(case)
    optim_wrapper = optim_wrapper_for(model)
    assert list(optim_wrapper.keys()) == [f'block{i}' for i in range(1, case.num_blocks + 1)]
    seen = [p for w in optim_wrapper.values() for group in w.optimizer.param_groups for p in group['params']]
    assert len(seen) == len(set(seen))
    assert set(seen) == {p for p in model.parameters() if p.requires_grad}


# ------------------------------------------------------------------------------------------------ contract 2: exactness


@every_case
def test_one_block_equals_the_plain_toolbox_bit_for_bit(case):
    plain, local = (build_model(case.model(k)) for k in (None, 1))
    assert_same_state(local, plain)
    logs = [trained(case, m, optim_wrapper_for(m, local=m is local, optimizer=SGD), 3) for m in (plain, local)]
    assert_same_state(local, plain)
    assert logs[0] == logs[1]


@every_case
def test_stepping_each_block_at_once_equals_one_step_of_all_at_the_end(case):
    at_once, at_end = (local_model(case) for _ in range(2))
    logs = [
        trained(case, at_once, optim_wrapper_for(at_once), 3),
        trained(case, at_end, StepAtTheEnd(**dict(optim_wrapper_for(at_end).items())), 3),
    ]
    assert_same_state(at_once, at_end)
    assert logs[0] == logs[1]


# ------------------------------------------------------------------------------------------------- contract 3: momentum


def assert_copies_equal_their_sources(model):
    for auxiliary, sources in auxiliaries(model):
        assert_same_state(auxiliary.ema, sources[0])
        assert_same_state(auxiliary.learnable_bias, sources[0])
        for copied, source in zip(auxiliary.further, sources[1:], strict=False):
            assert_same_state(copied, source)
        assert auxiliary.scale.item() == 1


@every_case
def test_copies_equal_their_sources_at_the_start_and_after_plain_weights_were_loaded(case):
    model = local_model(case)
    assert_copies_equal_their_sources(model)
    plain = build_model(case.model(None), seed=1)
    with torch.no_grad():  # weights and buffers, none as at the start
        for value in plain.state_dict().values():
            value.add_(1)
        auxiliaries(model)[0][0].scale.fill_(0.5)
    model.load_state_dict(copy.deepcopy(plain.state_dict()), strict=False)
    assert_copies_equal_their_sources(model)
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@every_case
def test_ema_moves_by_the_formula_and_nothing_else_follows_the_source(case):
    model = local_model(case)
    move_ema_away(model)
    before = copy.deepcopy([(aux.ema, sources[0]) for aux, sources in auxiliaries(model)])
    trained(case, model, optim_wrapper_for(model, optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1)), 1)
    for (auxiliary, sources), (old_ema, old_source) in zip(auxiliaries(model), before, strict=True):
        pairs = zip(sources[0].parameters(), old_source.parameters(), strict=True)
        assert any(not torch.equal(p, old) for p, old in pairs)
        triples = zip(auxiliary.ema.parameters(), old_ema.parameters(), old_source.parameters(), strict=True)
        for p, ema, source in triples:
            torch.testing.assert_close(p, 0.995 * ema + 0.005 * source)
            assert p.grad is None and not p.requires_grad
        # The trainable copies learned, by a gradient of their own.
        for copied, source in [(auxiliary.learnable_bias, sources[0]), *zip(auxiliary.further, sources[1:])]:
            pairs = list(zip(copied.parameters(), source.parameters(), strict=True))
            assert all(p.requires_grad for p, _ in pairs)
            assert not any(torch.equal(p, q) for p, q in pairs if p.ndim > 1)


@every_case
def test_the_scale_takes_no_weight_decay(case):
    model = local_model(case)
    optim_wrapper = optim_wrapper_for(model, optimizer=dict(type='SGD', lr=0.1, weight_decay=10.0))
    scales = {auxiliary.scale for auxiliary, _ in auxiliaries(model)}
    groups = [g for w in optim_wrapper.values() for g in w.optimizer.param_groups if scales & set(g['params'])]
    assert len(groups) == case.num_blocks - 1
    assert all(g['weight_decay'] == 0 and set(g['params']) <= scales for g in groups)


# ----------------------------------------------------------------------------------------- contract 4: plain checkpoint


@every_case
def test_plain_keys_are_those_of_the_unwrapped_model(case):
    plain, local = build_model(case.model(None)), local_model(case)
    assert [key for key in local.state_dict() if not key.startswith(PREFIX)] == list(plain.state_dict())
    names = [name for name, _ in local.named_parameters() if not name.startswith(PREFIX)]
    assert names == [name for name, _ in plain.named_parameters()]


@every_case
def test_a_stock_model_opens_the_checkpoint_and_predicts_the_same(case):
    local, plain = local_model(case), build_model(case.model(None), seed=1)
    trained(case, local, optim_wrapper_for(local), 2)
    keys = plain.load_state_dict(local.state_dict(), strict=False)
    assert not keys.missing_keys
    assert keys.unexpected_keys and all(key.startswith(PREFIX) for key in keys.unexpected_keys)
    expected, got = predictions(local, case.batch(7)), predictions(plain, case.batch(7))
    assert expected[0].numel() > 0
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


@every_case
def test_a_plain_checkpoint_initialises_the_wrapped_model(case):
    plain, local = build_model(case.model(None), seed=3), local_model(case)
    keys = local.load_state_dict(plain.state_dict(), strict=False)
    assert not keys.unexpected_keys
    # Only what a plain model knows nothing of starts by itself: the local heads.
    assert all(key.startswith(PREFIX) and '.head.' in key for key in keys.missing_keys)
    expected, got = predictions(plain, case.batch(7)), predictions(local, case.batch(7))
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


# -------------------------------------------------------------------------------------------------------- it does learn


# One family for each host.
# ------------------------------------------------------------------------------------------------ contract 7: resume


@pytest.mark.parametrize('case', FAMILY_CASES.values(), ids=FAMILY_CASES)
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(case, tmp_path):
    whole, resumed = local_model(case), local_model(case, seed=1)
    wrappers = [optim_wrapper_for(model, optimizer=ADAMW) for model in (whole, resumed)]
    trained(case, whole, wrappers[0], 2)
    torch.save([whole.state_dict(), wrappers[0].state_dict()], tmp_path / 'checkpoint.pth')
    model_state, optimizer_state = torch.load(tmp_path / 'checkpoint.pth', weights_only=False)
    resumed.load_state_dict(model_state)
    wrappers[1].load_state_dict(optimizer_state)
    logs = [trained(case, model, wrapper, 2) for model, wrapper in zip((whole, resumed), wrappers, strict=True)]
    assert logs[0] == logs[1]
    assert_same_state(resumed, whole)


@pytest.mark.parametrize('name', [name for name in CASES if not name.startswith('vgg')])
def test_every_loss_falls(name):
    case = CASES[name]
    model = local_model(case)
    optim_wrapper = optim_wrapper_for(model, optimizer=ADAMW)
    losses = []
    for _ in range(10):
        main = trained(case, model, optim_wrapper, 1)[0]['loss']
        local = [optim_wrapper.local_log_vars[f'local{i}.loss'] for i in range(1, case.num_blocks)]
        losses.append(torch.stack([*local, main]))
    assert (losses[-1] < 0.95 * losses[0]).all(), (losses[0], losses[-1])
