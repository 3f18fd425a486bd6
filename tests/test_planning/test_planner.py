"""Plans of real models: what they foretell is what a step needs, and what they write trains."""

import argparse
import re
from itertools import pairwise

import pytest
from mmengine.config import Config
from scenarios.naive_plans import random_costs
from scenarios.runner import tiny_run_cfg
from scenarios.two_stage import tiny_two_stage_cfg

from mmman.apis import benchmark_ways, memory_plan
from mmman.apis.localization import localize
from mmman.apis.memory_plan import last_resort
from mmman.apis.plan_costs import Measured, measure_here
from mmman.apis.planned_batch import planned_batch
from mmman.costs import TrainingStep, measured_costs
from mmman.costs.units import parse_bytes
from mmman.costs.variants import mixed_precision
from mmman.planning import Planner
from mmman.planning.peak_parts import parts_of_peaks
from mmman.planning.plan_report import answer, frontier_table
from mmman.planning.plan_settings import settings_of
from mmman.testing import tiny_segmentor

OBJECTS = 5


def retinanet(tmp_path, bccd):
    cfg = tiny_run_cfg(None, tmp_path, *bccd)
    cfg.train_dataloader.dataset.pipeline[2].scale = (320, 192)
    return cfg


def frozen_retinanet(tmp_path, bccd):
    cfg = retinanet(tmp_path, bccd)
    cfg.model.backbone.update(frozen_stages=1, norm_eval=True)
    return cfg


def mask_rcnn(tmp_path, bccd):
    data_root, _, classes = bccd
    cfg = tiny_two_stage_cfg('mask', None, tmp_path, data_root, classes)
    cfg.train_dataloader.dataset.pipeline[2].scale = (320, 192)
    return cfg


def segmentor(tmp_path, bccd):
    cfg = retinanet(tmp_path, bccd)
    cfg.model, cfg.default_scope = tiny_segmentor(None), 'mmseg'
    cfg.train_dataloader.batch_size = 7  # from four on it goes on in a straight line
    return cfg


MODELS = [retinanet, frozen_retinanet, mask_rcnn, segmentor]


@pytest.fixture(scope='module', params=MODELS, ids=lambda model: model.__name__)
def planned(request, tmp_path_factory, bccd):
    """A stock config, what its parts cost, and a planner for it."""
    cfg = request.param(tmp_path_factory.mktemp('plan'), bccd)
    cfg.log_level = 'ERROR'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured_costs, 'FEW', (4, 2))
        costs = measure_here(cfg, None, OBJECTS, False).costs
    return cfg, costs, Planner(costs)


def plans_of(planner):
    """Plans of both worlds, from much memory to little."""
    first = planner.end_to_end()
    most = [planner.amount(first) * share for share in (1.0, 1.1, 1.3, 2.0)]
    found = [first, *(planner.smallest_end_to_end(work) for work in most), *map(planner.smallest_local, most)]
    return list({(plan.name, plan.peak): plan for plan in found if plan is not None}.values())


def test_peaks_and_flops_are_foretold(planned):
    cfg, costs, planner = planned
    batch = planned_batch(cfg, None, OBJECTS)
    plans = plans_of(planner)
    assert {plan.name for plan in plans} == {'end to end', 'MAN++'}
    for plan in plans:
        step = TrainingStep(localize(cfg, **settings_of(plan, costs)), dry=True, batch=batch)
        found = step.bytes()
        assert plan.peak == pytest.approx(found.peak, rel=0.06), plan
        assert plan.work.flops == pytest.approx(step.flops(), rel=0.01), plan
        if plan.ends:
            assert plan.blocks == pytest.approx(found.blocks, rel=0.06), plan
        parts = max(parts_of_peaks(planner, plan), key=sum)
        for kind, most in (('parameters', 0.01), ('states', 0.01), ('gradients', 0.02), ('activations', 0.06)):
            assert getattr(parts, kind) == pytest.approx(getattr(found, kind), abs=most * found.peak), (kind, plan)


def test_mixed_precision_is_foretold(tmp_path, bccd):
    cfg = retinanet(tmp_path, bccd)
    cfg.log_level = 'ERROR'
    costs = measure_here(cfg, None, OBJECTS, amp=True).costs
    plan = [plan for plan in plans_of(Planner(costs)) if plan.ends][-1]
    planned = mixed_precision(localize(cfg, **settings_of(plan, costs)))
    found = TrainingStep(planned, dry=True, batch=planned_batch(cfg, None, OBJECTS)).bytes()
    assert plan.blocks == pytest.approx(found.blocks, rel=0.01)


def test_the_settings_are_those_that_a_config_can_say(planned):
    cfg, costs, planner = planned
    for plan in plans_of(planner):
        settings = settings_of(plan, costs)
        assert settings == Config.fromstring(f'local = {settings!r}', '.py').local.to_dict()


def test_what_does_not_fit_is_said(planned):
    planner = planned[-1]
    assert planner.best(planner.least().peak - 1) is None
    assert planner.best(planner.least().peak) is not None
    (line, *_) = answer(planner, planner.costs.resident, 'if-better')
    assert line.startswith('Nothing fits into') and 'the least is' in line


def test_no_way_of_the_benchmark_lies_below_the_frontier(planned, monkeypatch):
    """Contract 12 on nets: a plan's expected peak and work against what the other ways take, counted."""
    cfg, costs, planner = planned
    monkeypatch.setattr(benchmark_ways, 'measure_config', lambda *_: Measured(costs, (192, 320), 2))
    # In one precision. Compiling takes a minute for each net; what the plans themselves take has a test above.
    names = [name for name in benchmark_ways.NAMES if not re.search('AMP|compile|optimum|planned', name)]
    ways = {}
    for way in benchmark_ways.ways_of(cfg, benchmark_ways.Question(num_objects=OBJECTS), names):
        step = way.step(dry=True)
        ways[way.name] = step.bytes().peak, step.flops()
    assert {'end to end, with_cp', 'end to end, all recomputed', 'MAN++ released'} <= {*ways}
    least, most = planner.least().peak, planner.end_to_end().peak
    works = []
    for memory in [least + i * (most - least) / 39 for i in range(40)]:
        worlds = [plan for plan in (planner.best_end_to_end(memory), planner.best_local(memory)) if plan is not None]
        works.append(min(plan.work.flops for plan in worlds))
        assert all(peak > memory or works[-1] <= 1.005 * flops for peak, flops in ways.values()), (memory, ways)
    assert all(smaller >= larger for smaller, larger in pairwise(works))
    assert min(peak for peak, _ in ways.values()) >= least


def test_as_a_last_resort_the_gradients_of_smaller_batches_accumulate(tmp_path, bccd, monkeypatch):
    monkeypatch.setattr(memory_plan, 'measure_config', measure_here)
    cfg = segmentor(tmp_path, bccd)
    cfg.train_dataloader.batch_size, cfg.log_level = 4, 'ERROR'
    memory = Planner(measure_here(cfg, None, OBJECTS).costs).least('never').peak - 1
    assert last_resort(cfg, 4, 1, 'never', num_objects=OBJECTS) == ''
    line = last_resort(cfg, 4, memory, 'never', num_objects=OBJECTS)
    assert line.endswith('--cfg-options train_dataloader.batch_size=2 optim_wrapper.accumulative_counts=2')
    cfg.optim_wrapper.accumulative_counts = 2
    costs = measure_here(cfg, 2, OBJECTS).costs
    plan = Planner(costs).best(memory, 'never')
    accumulating = localize(cfg, **settings_of(plan, costs))
    found = TrainingStep(accumulating, dry=True, batch=planned_batch(cfg, 2, OBJECTS)).bytes()
    # A part's new gradients are taken to be there all at once, beside those that they are added to.
    assert found.peak <= plan.peak <= 1.06 * found.peak


# ------------------------------------------------------------------------------------------------- as the tool says it


@pytest.mark.parametrize(
    ('text', 'expected'), [('8GB', 8 * 10**9), ('7.5 GiB', 7.5 * 2**30), ('900MB', 9 * 10**8), ('1MiB', 2**20)]
)
def test_bytes_are_read(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize('text', ['8', '8 G', 'GB', '-1GB', '8GBs'])
def test_what_are_no_bytes_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='as in 8GB'):
        parse_bytes(text)


def test_the_answer_names_the_best_and_what_else_would_fit():
    planner = Planner(random_costs(3, 4))
    lines = answer(planner, planner.best_local(10**9).peak, 'always')
    assert lines[0].startswith('The least work within') and 'MAN++, K=' in lines[0]
    assert any(line.startswith('- the best end to end') for line in lines) and 'eq. 18' in lines[-1]


def test_the_table_has_a_row_for_every_amount_of_work():
    assert len(frontier_table(Planner(random_costs(3, 4))).splitlines()) == 2 + 6


def test_the_smallest_number_of_blocks_is_kept():
    costs = random_costs(8, 4)
    assert {Planner(costs, least_blocks=k).best_local(10**9).num_blocks for k in (3, 4)} == {3, 4}
    assert Planner(costs, least_blocks=5).best_local(10**9) is None
