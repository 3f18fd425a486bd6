"""Contract 6: two processes equal one on the joint batch; no gradient stays local."""

import copy

import pytest
import torch

from mmman.testing.distributed import TASKS, batches_of, counted_optim_wrapper, model_of, train_on_processes


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('frozen', [False, True], ids=['nothing frozen', 'stage 1 frozen'])
@pytest.mark.parametrize('options', [{}, dict(accumulative_counts=2)], ids=['every step', 'accumulation'])
def test_two_processes_equal_one_on_the_joint_batch(task, frozen, options, tmp_path):
    first, second = train_on_processes(2, tmp_path, task, frozen, options)
    model = model_of(task, frozen)
    start = copy.deepcopy(model.state_dict())
    wrapper = counted_optim_wrapper(model, options)
    for batch, state, other in zip(batches_of(task), first, second, strict=True):
        model.train_step(copy.deepcopy(batch), wrapper)
        for key, value in model.state_dict().items():
            assert torch.equal(state[key], other[key]), key
            # Sums in another order: some units in the last place of single precision.
            torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-6)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, start[key])}
    for part in ('.ema.', '.learnable_bias.', '.head.', 'layer2.0', 'layer4' if task == 'segmentor' else 'layer3.0'):
        assert any(part in key for key in moved), part
