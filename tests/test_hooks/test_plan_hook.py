"""PlanHook, with a GPU that is made up."""

from types import SimpleNamespace

import pytest
import torch

from mmman import PlanHook
from mmman.apis import launch

GB = 10**9


class Runner:
    """What the hook sees of a runner, and a training that runs out of memory."""

    def __init__(self, *hooks):
        self.hooks, self.lines = list(hooks), []
        self.logger = SimpleNamespace(info=self.lines.append, error=self.lines.append)
        self.cfg = SimpleNamespace(filename='planned_before.py')

    def train(self):
        raise torch.OutOfMemoryError('CUDA out of memory')


@pytest.fixture
def peaks(monkeypatch):
    """What the allocator says, call by call."""
    peaks = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: peaks.pop(0))
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (GB, 8 * GB))
    return peaks


def test_ten_iterations_are_compared_with_the_plan_once(peaks):
    hook, runner = PlanHook(peak=4 * GB), Runner()
    peaks += [1 * GB, 3 * GB, *[2 * GB] * 8]
    for i in range(12):
        hook.after_train_iter(runner, i)
    assert len(runner.lines) == 1
    assert '10 iterations took at most 3000 MB' in runner.lines[0] and '0.75 of the 4000 MB' in runner.lines[0]


def test_there_is_nothing_to_compare_on_a_cpu():
    runner = Runner()
    for i in range(12):
        PlanHook(peak=GB).after_train_iter(runner, i)
    assert not runner.lines


@pytest.mark.parametrize(
    ('hooks', 'advice'),
    [
        (
            [PlanHook(peak=4 * GB, smaller=3 * GB)],
            'the next smaller one 3000 MB: python tools/plan.py planned_before.py --memory 3000MB --out planned.py',
        ),
        ([PlanHook(peak=4 * GB)], 'The plan is the smallest: take fewer or smaller images, or --amp'),
        ([], 'plan the training for less: python tools/plan.py planned_before.py --memory 6400MB --out planned.py'),
    ],
)
def test_out_of_memory_names_the_next_smaller_plan(peaks, hooks, advice):
    peaks.append(5 * GB)
    runner = Runner(*hooks)
    with pytest.raises(torch.OutOfMemoryError):  # nothing is hidden
        launch.train(runner)
    assert runner.lines[0].startswith('out of memory: 5000 MB of its 8000 MB held tensors, 1000 MB are free')
    assert runner.lines[0].endswith(advice)
