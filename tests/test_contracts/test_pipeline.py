"""A pipeline computes what one process computes, with the same delays: to the last bit."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scenarios.distributed import batches_of, model_of, on_processes
from scenarios.pipeline import (
    compare_with_one_process,
    means_inside_the_same_stage,
    run_and_resume,
    send_and_receive,
    train_replicas,
    train_with_delay,
    unusual_batches,
    wrong_arguments,
)
from scenarios.runner import run, tiny_run_cfg

DATA = Path(__file__).parents[2] / 'demo' / 'data' / 'bccd_coco'
CLASSES = ('WBC', 'RBC', 'Platelets')
ACCUMULATION = dict(accumulative_counts=2)  # 5 batches: the last window is a partial one

# Four processes: four stages, or two pipelines of two stages that see the same data.
EQUAL = {
    'detector': partial(compare_with_one_process, 'retinanet-retina'),
    'detector, delayed': partial(compare_with_one_process, 'retinanet-retina', (1, 2, 3), delay=1, ema_interval=2),
    'detector, accumulation': partial(compare_with_one_process, 'retinanet-retina', options=ACCUMULATION),
    'detector, bf16': partial(compare_with_one_process, 'retinanet-retina', options=dict(type='AmpOptimWrapper')),
    'detector, two stages': partial(compare_with_one_process, 'retinanet-retina', num_stages=2),
    'detector, two stages, delayed': partial(
        compare_with_one_process, 'retinanet-retina', (1,), num_stages=2, blocks_per_stage=[1, 3], delay=2
    ),
    'segmentor': partial(compare_with_one_process, 'segmentor-infopro'),
    'segmentor, SyncBN': partial(compare_with_one_process, 'segmentor-fcn', sync_bn=True),
    'segmentor, two stages': partial(compare_with_one_process, 'segmentor-fcn', num_stages=2),
    'classifier': partial(compare_with_one_process, 'resnet-infopro_softmax'),
    'transformer, two stages': partial(compare_with_one_process, 'vit-greedy', num_stages=2),
    'tokens and their grid': partial(compare_with_one_process, 'mmseg.MixVisionTransformer', num_blocks=3),
    'skip connections, two stages': partial(compare_with_one_process, 'mmseg.UNet', num_blocks=3, num_stages=2),
    'more processes than blocks': partial(compare_with_one_process, 'resnet-dgl', num_blocks=2),
    'no box, one image, images of different sizes': partial(
        compare_with_one_process, 'retinanet-retina', batches=unusual_batches()
    ),
}
MESSAGE = dict(
    large=torch.randn(3, 5, 10_000),
    small=[torch.tensor(1.5), torch.zeros(0, 4), torch.ones(3, dtype=torch.bool), torch.arange(2).expand(3, 2)],
    half=torch.ones(2, 2, dtype=torch.bfloat16),
    other=('text', np.arange(3), None),
)
MESSAGE['same'] = MESSAGE['large'].detach()


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """All scenarios in one start of four processes, which takes longer than they do."""
    folder = tmp_path_factory.mktemp('pipeline')
    one_process = folder / 'one'
    run(
        tiny_run_cfg(
            4, one_process, DATA, max_iters=6, classes=CLASSES, default_hooks=dict(checkpoint=dict(interval=3))
        )
    )
    scenarios = dict(
        EQUAL,
        replicas=partial(
            train_replicas, partial(model_of, 'segmentor'), batches_of('segmentor'), ACCUMULATION, stages=2
        ),
        runs=partial(run_and_resume, folder, DATA, one_process, CLASSES),
        message=partial(send_and_receive, MESSAGE),
        means=partial(means_inside_the_same_stage, stages=2),
        errors=wrong_arguments,
    )
    return dict(on_processes(scenarios, folder, world_size=4), folder=folder)


@pytest.mark.parametrize('scenario', EQUAL)
def test_a_pipeline_equals_one_process_with_the_same_delays(results, scenario):
    first = results[scenario][0]
    assert first['different'] == set()
    # Without delay that is ordinary local learning; with one it must not be, or this test could not fail.
    assert bool(first['delayed']) == ('delayed' in scenario)
    # Losses are known on the last stage at once.
    last = results[scenario][-1]['logs']
    expected = first['expected_logs']
    for log, expected_log in zip(last, expected, strict=True):
        assert log and all(torch.equal(value, expected_log[name]) for name, value in log.items())
    # On the first, the others' arrive one batch later for each stage in between (and delay).
    late = [log for log in first['logs'] if 'loss' in log]
    assert late or 'delayed' in scenario
    assert [log['loss'] for log in late] == [log['loss'].float() for log in expected[: len(late)]]


def test_a_process_holds_its_own_stage_only(results):
    """And what the EMA of its last block follows."""
    held = [result['held'] for result in results['detector']]
    whole = sum(p.numel() for p in model_of('detector').parameters())
    momenta = sum(p.numel() for p in model_of('detector').parameters() if p.requires_grad)
    assert max(held) < 0.5 * (whole + momenta)
    assert whole + momenta <= sum(held) < 1.2 * (whole + momenta)


def test_replicas_of_a_pipeline_equal_one_process_on_the_joint_batch(results):
    states = results['replicas']
    one = model_of('segmentor')
    train_with_delay(one, batches_of('segmentor'), ACCUMULATION)
    for key, value in one.state_dict().items():
        assert all(torch.equal(state[key], states[0][key]) for state in states), key
        # Sums in another order: some units in the last place of single precision.
        torch.testing.assert_close(states[0][key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['whole', 'resumed', 'taken_over'])
def test_a_run_writes_the_checkpoint_of_one_process(results, name):
    saved = torch.load(results['folder'] / name / 'iter_6.pth', weights_only=False)
    expected = torch.load(results['folder'] / 'one' / 'iter_6.pth', weights_only=False)
    assert list(saved['state_dict']) == list(expected['state_dict'])
    assert all(torch.equal(saved['state_dict'][key], value) for key, value in expected['state_dict'].items())
    assert list(saved['optimizer']) == ['block1', 'block2', 'block3', 'block4']
    for block, optimizer in expected['optimizer'].items():
        assert saved['optimizer'][block]['segments'] == optimizer['segments']
        for i, state in optimizer['state'].items():
            assert torch.equal(saved['optimizer'][block]['state'][i]['momentum_buffer'], state['momentum_buffer'])


def test_a_message_arrives_as_it_was_sent(results):
    received, count = results['message'][1]
    assert count == 3
    for message in received:
        assert message['large'].data_ptr() == message['same'].data_ptr()  # sent once
        for name in ('large', 'half'):
            assert message[name].dtype == MESSAGE[name].dtype and torch.equal(message[name], MESSAGE[name])
        assert all(torch.equal(*pair) for pair in zip(message['small'], MESSAGE['small'], strict=True))
        assert message['other'][0] == 'text' and np.array_equal(message['other'][1], np.arange(3))


def test_heads_average_over_the_processes_of_the_same_stage(results):
    assert results['means'] == [(1.0, 1.5), (2.0, 1.5), (1.0, 1.5), (2.0, 1.5)]


def test_what_cannot_be_is_said_in_one_line(results):
    for errors in results['errors']:
        processes, shares, delay, plain, loop = errors
        assert '4 processes cannot be shared out among pipelines of 3 stages' in processes
        assert 'blocks_per_stage=[1, 2] must be 2 positive numbers that add up to the 4 blocks' in shares
        assert 'delay >= 0' in delay
        assert "optim_wrapper is a OptimWrapper: set optim_wrapper = dict(constructor='mmman.Local" in plain
        assert "set train_cfg.type='mmman.PipelineIterBasedTrainLoop'" in loop
