"""The rows of the benchmark: which ways a network has, and what they train."""

import pytest
from mmengine.config import Config
from scenarios.naive_plans import random_costs
from scenarios.runner import tiny_run_cfg

from mmman.apis import benchmark_ways
from mmman.apis.benchmark_ways import AMP, NAMES, Question, Subject, ways_of
from mmman.apis.localization import localize
from mmman.apis.plan_costs import Measured
from mmman.costs import StepInBackward
from mmman.planning import Planner
from mmman.testing import CASES
from mmman.toolboxes import type_name


@pytest.fixture
def stock(tmp_path, bccd):
    return tiny_run_cfg(None, tmp_path, *bccd)


@pytest.fixture
def plans(monkeypatch):
    """Plans without a measurement, and whether each was for mixed precision."""
    asked = []

    def measure(cfg, batch_size, num_objects, amp):
        asked.append((batch_size, num_objects, amp))
        return Measured(random_costs(3, 4), (72, 96), 2)

    monkeypatch.setattr(benchmark_ways, 'measure_config', measure)
    monkeypatch.setattr(Subject, 'planned', lambda subject, plan: Config(dict(subject.plain, plan=plan)))
    return asked


def by_name(cfg, *names, **question):
    lines = []
    ways = ways_of(cfg, Question(**question), names or NAMES, lines.append)
    return {way.name: way for way in ways}, lines


def test_a_stock_config_has_all_rows_in_both_precisions(stock, plans):
    ways, lines = by_name(stock, work=2.0, batch_size=3, num_objects=7)
    left_out = {line.partition(': ')[0] for line in lines}
    assert {name for name in NAMES if 'conv and norm' in name or 'offloaded' in name} == left_out
    assert list(ways) == [name for name in NAMES if name not in left_out]
    assert plans == [(3, 7, False), (3, 7, True)]
    for name, way in ways.items():
        assert (way.cfg.optim_wrapper.get('type') == 'mmman.CPUAmpOptimWrapper') == name.endswith(AMP)
        batch = way.make_batch()
        assert len(batch['inputs']) == 3 and len(batch['data_samples'][0].gt_instances) == 7
    assert ways['end to end'].cfg.model == stock.model
    assert ways['end to end, lean losses'].cfg.model.bbox_head.loss_cls.type == 'mmman.LeanFocalLoss'
    assert ways['end to end, with_cp'].cfg.model.backbone.with_cp is True
    assert ways['MAN++ released'].cfg.model == localize(stock, num_blocks=4).model
    planner = Planner(random_costs(3, 4))
    work = 2.0 * planner.amount(planner.end_to_end())
    assert ways['end to end, optimum'].cfg.plan == planner.smallest_end_to_end(work)
    assert ways['MAN++ planned, AMP'].cfg.plan == planner.smallest_local(work)


def test_all_is_recomputed(stock):
    way = by_name(stock, 'end to end, all recomputed')[0]['end to end, all recomputed']
    backbone = way.cfg.model.backbone
    assert way.kind is StepInBackward
    assert backbone.with_cp is True and backbone.partition == dict(num_blocks=1)
    assert dict(type='mmman.RecomputeHook', parts=['neck', 'bbox_head.forward_single']) in way.cfg.custom_hooks
    assert way.cfg.model.bbox_head.loss_cls.type == 'mmman.LeanFocalLoss'


def test_convolution_and_norm_are_one_where_norms_are_in_eval_mode(stock):
    name = 'end to end, conv and norm in one, lean losses'
    ways, (line,) = by_name(stock, name)
    assert not ways and line == f'{name}: left out, it has no norm in eval mode'
    stock.model.backbone.norm_eval = True
    assert by_name(stock, name)[0][name].cfg.model.backbone.efficient_conv_bn_eval is True


def test_a_config_of_local_learning_is_released_as_it_is(stock, plans):
    local = localize(stock, num_blocks=2)
    stock.runner_type, stock.local_learning = 'mmman.LocalRunner', dict(num_blocks=2)
    for cfg in (local, stock):
        ways, _ = by_name(cfg, 'end to end', 'MAN++ released', num_objects=5)
        assert ways['MAN++ released'].cfg.model == local.model
        assert type_name(ways['end to end'].cfg.model.backbone.type) == 'ResNet'


def test_what_a_network_does_not_have_is_said(stock, plans):
    vit = Config(
        dict(
            default_scope='mmpretrain',
            model=CASES['vit-greedy'].model(None),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_dataloader=dict(batch_size=2, dataset=dict(pipeline=[dict(type='Resize', scale=32)])),
        )
    )
    names = ('end to end', 'end to end, lean losses', 'end to end, with_cp')
    ways, lines = by_name(vit, *names)
    assert [*ways] == ['end to end']
    assert [line.partition('left out, ')[2] for line in lines] == [
        'no loss of it has a lean twin',
        'VisionTransformer has no with_cp',
    ]
    _, (line,) = by_name(stock, 'MAN++ planned', work=0.5)
    assert 'of the FLOPs of end to end, or more: --work says how much they may' in line
    with pytest.raises(ValueError, match="there is no way 'tuned': name some of 'end to end', 'end to end, lean"):
        by_name(stock, 'tuned')
