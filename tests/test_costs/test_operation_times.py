"""Operations are timed one by one; no clock is asked here."""

import pytest
import torch
from scenarios.runner import tiny_run_cfg
from torch.utils.flop_counter import flop_registry

from mmman.apis.localization import localize
from mmman.apis.plan_costs import measure_here
from mmman.apis.planned_batch import planned_batch
from mmman.costs import TrainingStep, operation_times
from mmman.costs.operation_times import OperationTimes
from mmman.costs.timeline import Timeline
from mmman.planning import Planner
from mmman.planning.plan_settings import settings_of


@pytest.fixture
def timed(monkeypatch):
    """The operations that have been timed, each of which takes a second, with their arguments."""
    found = []
    monkeypatch.setattr(operation_times, '_time', lambda func, args, _: found.append((func, args)) or 1.0)
    return found


def test_operations_are_timed_once_for_each_kind_of_arguments(timed):
    with Timeline(times=OperationTimes()) as line:
        x, y = torch.ones(2, 3), torch.ones(3, 2)
        before = len(timed)
        for factor in (1.5, 2.5):
            x.mul(factor)
        assert len(timed) == before + 1
        y.t().mul(1.5)  # other strides; the view takes nothing
        x.mul(torch.ones(()))
        assert [func for func, _ in timed[before:]].count(torch.ops.aten.mul.Tensor) == 3
        line.mark()
    assert line.moments[-1].work.seconds == 2 + 2 + 1 + 1 + 1  # three that make ones, five products, once each


def test_what_is_timed_works_on_copies(timed):
    x = torch.arange(6.0).view(2, 3)[:, 1:]
    rows = torch.arange(2.0).expand(3, 2)
    with Timeline(times=OperationTimes()):
        x.add_(1)
        rows.sum()
    (_, (changed, _)), (_, (summed,)) = timed[0], timed[-1]
    assert changed.tolist() == [[1, 2], [4, 5]] and x.tolist() == [[2, 3], [5, 6]]
    assert changed.stride() == x.stride() and summed.stride() == (0, 1) and torch.equal(summed, rows)
    assert not {t.untyped_storage()._cdata for t in (changed, summed)} & {t.untyped_storage()._cdata for t in (x, rows)}


def test_an_operation_takes_time():
    x = torch.ones(3)
    assert OperationTimes().seconds(torch.ops.aten.add_.Tensor, (x, 1), {}) > 0
    assert x.tolist() == [1, 1, 1]


def test_the_seconds_of_a_plan_are_those_of_its_step(tmp_path, bccd, monkeypatch):
    """Here each convolution and matrix product takes a second, forwards or backwards."""
    monkeypatch.setattr(operation_times, '_time', lambda func, *_: float(func.overloadpacket in flop_registry))
    cfg = tiny_run_cfg(None, tmp_path, *bccd)
    cfg.train_dataloader.dataset.pipeline[2].scale, cfg.log_level = (160, 96), 'ERROR'
    planner = Planner(measure_here(cfg, 4, 5, timed=True).costs, 'seconds')
    first = planner.end_to_end()
    for plan in (first, planner.smallest_end_to_end(2 * first.work.seconds), planner.smallest_local(10**9)):
        step = TrainingStep(localize(cfg, **settings_of(plan, planner.costs)), dry=True, batch=planned_batch(cfg, 4, 5))
        with step._mode, Timeline(times=OperationTimes()) as line:
            step.run()
            line.mark()
        assert plan.work.seconds == line.moments[-1].work.seconds > 0
    assert plan.num_blocks > 1
