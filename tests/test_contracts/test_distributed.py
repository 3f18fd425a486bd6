"""Contract 6: two processes equal one on the joint batch; no gradient stays local, and each is sent once."""

import copy
from functools import partial
from itertools import product

import pytest
import torch
from scenarios.distributed import FAMILIES, STEPS, TASKS, WORLD_SIZE, batches_of, model_of, on_processes, part_of
from scenarios.distributed_scenarios import (
    gradients_of_one_step,
    gradients_of_parts,
    gradients_of_uneven_parts,
    no_box_on_one_process,
    overflow_on_one_process,
    parameters_used_by_some,
    traffic,
    train_a_part,
    train_unfreezing,
    uneven_batch,
    unfreeze,
)
from scenarios.training import counted_optim_wrapper, train

from mmman.models import find_local_backbone

BFLOAT16 = dict(type='AmpOptimWrapper')  # what --amp writes
OPTIONS = {'every step': {}, 'accumulation': dict(accumulative_counts=2)}
TRAINED = {
    f'{task}, {"stage 1 frozen" if frozen else "nothing frozen"}, {name}': (task, frozen, OPTIONS[name])
    for task, frozen, name in product(TASKS, (False, True), OPTIONS)
} | {'classifier, clipping': ('classifier', False, dict(clip_grad=dict(max_norm=0.1)))}


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """What each of two processes returned: they are started once for all tests."""
    scenarios = {name: partial(train_a_part, *arguments) for name, arguments in TRAINED.items()}
    scenarios |= {f'gradients, {task}': partial(gradients_of_parts, task) for task in TASKS | FAMILIES}
    scenarios |= {f'bfloat16, {task}': partial(train_a_part, task, options=BFLOAT16) for task in TASKS}
    scenarios |= {f'unfreezing, {task}': partial(unfreeze, task) for task in TASKS}
    scenarios |= {f'traffic, {counts}': partial(traffic, 'classifier', counts) for counts in (1, 2)}
    scenarios |= {
        'gradients, uneven': gradients_of_uneven_parts,
        'no box': no_box_on_one_process,
        'used by some': parameters_used_by_some,
        'overflow': overflow_on_one_process,
    }
    return on_processes(scenarios, tmp_path_factory.mktemp('processes'))


def train_at_once(task, frozen, options):
    """One process on the joint batch: the state at the start and after each step."""
    model = model_of(task, frozen)
    wrapper = counted_optim_wrapper(model, options, STEPS)
    states = [copy.deepcopy(model.state_dict())]
    for batch in batches_of(task):
        train(model, wrapper, [batch])
        states.append(copy.deepcopy(model.state_dict()))
    return states


def assert_equal(state, other):
    assert list(state) == list(other)
    assert not [key for key, value in state.items() if not torch.equal(value, other[key])]


@pytest.mark.parametrize('name', TRAINED)
def test_two_processes_equal_one_on_the_joint_batch(name, results):
    task, frozen, options = TRAINED[name]
    first, second = results[name]
    start, *states = train_at_once(task, frozen, options)
    for expected, state, other in zip(states, first, second, strict=True):
        assert_equal(state, other)
        for key, value in expected.items():
            # Sums in another order: some units in the last place of single precision.
            torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-6)
    moved = {key for key, value in states[-1].items() if not torch.equal(value, start[key])}
    last = 'layer3.0' if task == 'classifier' else 'layer4'
    for part in ('.ema.', '.learnable_bias.', '.head.', 'layer2.0', last):
        assert any(part in key for key in moved), part


@pytest.mark.parametrize('task', TASKS)
def test_what_is_unfrozen_later_is_averaged_as_on_one_process(task, results):
    """Of the last block, the neck and the heads, too: torch's reducer knows what was trainable at the start only."""
    first, second = results[f'unfreezing, {task}']
    model = model_of(task)
    states = train_unfreezing(model, lambda model: model, batches_of(task))
    for expected, state, other in zip(states, first, second, strict=True):
        assert_equal(state, other)
        for key, value in expected.items():
            torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-6)
    frozen = {name for name, _ in model.named_parameters() if torch.equal(states[0][name], states[1][name])}
    moved = {name for name in frozen if not torch.equal(states[1][name], states[-1][name])}
    for block in (1, 2, 3, 4):
        assert {name for name, owner in block_of_names(model).items() if owner == block} & moved, block


@pytest.mark.parametrize('case', [*TASKS, *FAMILIES, 'uneven'])
def test_every_parameter_steps_by_the_mean_of_the_processes_gradients(case, results):
    """Of the detector's also where the processes have other numbers of boxes, images and sizes (no joint batch)."""
    task = 'detector' if case == 'uneven' else case
    batches = [uneven_batch(rank) if case == 'uneven' else part_of(batches_of(task, 1)[0], rank) for rank in (0, 1)]
    alone = [gradients_of_one_step(task, batch, wrap=lambda model: model) for batch in batches]
    first, second = results[f'gradients, {case}']
    assert_equal(first, second)
    alike = []
    for name, gradient in first.items():
        mine, other = (gradients[name] for gradients in alone)
        mean = (mine + other) / WORLD_SIZE
        largest = mean.abs().max().item()
        torch.testing.assert_close(gradient, mean, rtol=1e-3, atol=1e-3 * largest + 1e-9, msg=name)
        # Were the two equal, or nothing, a gradient that stays local would not show. A bias before a norm has none.
        if not ((mine - other).abs().max() > 0.01 * largest > 0 or name.endswith('bias')):
            alike.append(name)
    # Behind ConvNeXt's layer scale of 1e-6 gradients are too small to change a weight.
    assert len(alike) < 0.2 * len(first) if case in FAMILIES else not alike


def test_a_parameter_steps_where_some_process_used_it(results):
    """Without a gradient there is no weight decay either, as in one process: mmengine's plain wrapper does the same."""
    for values in results['used by some']:
        assert values == pytest.approx(dict(nobody=1.0, one=1 - 0.1 * (1 / WORLD_SIZE + 0.1)))


@pytest.mark.parametrize('counts', [1, 2])
def test_every_gradient_is_sent_once_in_a_window_and_nothing_else(counts, results):
    model = model_of('classifier')
    owners = find_local_backbone(model).block_of_parameters()
    sizes = [[p.numel() for p in model.parameters() if p.requires_grad and owners.get(p, 4) == i] for i in range(1, 5)]
    first, second = results[f'traffic, {counts}']
    assert first == second
    for i, events in enumerate(first, start=1):
        if i % counts:
            assert events == []
            continue
        # The gradients, and for each parameter whether it has one, with one number more: whether the loss was finite.
        sent = [number for kind, number in events if kind == 'blocks']
        assert sent == [number for size in sizes[:3] for number in (sum(size), len(size) + 1)]
        assert sum(number for kind, number in events if kind == 'reducer') == sum(sizes[3])


def test_each_block_steps_after_the_next_one_s_backward_and_before_its_step(results):
    block, reducer = ['blocks'] * 2, ['reducer']
    for events in results['traffic, 1'][0]:
        order = [number if kind == 'step' else kind for kind, number in events]
        # Block 2's gradients leave once block 1 has stepped, those of block 3 travel during block 4's backward.
        assert order == [*block, 1, *block, 2, *block, *reducer, 3, 4]


def test_a_process_without_any_box_keeps_up(results):
    first, second = results['no box']
    for state, other in zip(first, second, strict=True):
        assert_equal(state, other)
        assert all(value.isfinite().all() for value in state.values())
    assert not torch.equal(first[0]['neck.fpn_convs.0.conv.weight'], first[1]['neck.fpn_convs.0.conv.weight'])


@pytest.mark.parametrize('task', TASKS)
def test_mixed_precision_on_two_processes_is_that_of_one_on_the_joint_batch(task, results):
    """bfloat16 has eight bits: a sum in another order is off by some thousandths."""
    first, second = results[f'bfloat16, {task}']
    start, *states = train_at_once(task, False, BFLOAT16)
    single = train_at_once(task, False, {})[-1]
    for state, other in zip(first, second, strict=True):
        assert_equal(state, other)
    off, rounding = (distance(first[-1], other, start) for other in (states[-1], single))
    assert 0 < off < 0.02 and rounding > 0.002


def distance(state, other, start):
    """How far two trainings are apart, in parts of the way that one has gone."""
    state, other, start = (torch.cat([v.flatten() for v in s.values()]) for s in (state, other, start))
    return ((state - other).norm() / (state - start).norm()).item()


def test_an_overflow_on_one_process_skips_the_block_on_both(results):
    first, second = results['overflow']
    for mine, other in zip(first, second, strict=True):
        assert mine['scales'] == other['scales']
        assert_equal(mine['state'], other['state'])
    assert [step['scales'] for step in first] == [[1024] * 4, [1024, 512, 1024, 1024], [1024, 512, 1024, 1024]]
    owners = block_of_names(model_of('classifier'))
    for i, skipped in ((1, {2}), (2, set())):
        before, after = first[i - 1]['state'], first[i]['state']
        still = {owner for name, owner in owners.items() if torch.equal(before[name], after[name])}
        moved = {owner for name, owner in owners.items() if not torch.equal(before[name], after[name])}
        assert moved == {1, 2, 3, 4} - skipped and still >= skipped


def block_of_names(model):
    """The block of every trainable parameter, by name."""
    owners = find_local_backbone(model).block_of_parameters()
    return {name: owners.get(p, 4) for name, p in model.named_parameters() if p.requires_grad}
