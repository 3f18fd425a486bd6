import argparse
from itertools import pairwise
from pathlib import Path

import pytest
from mmengine.config import Config
from scenarios.runner import tiny_run_cfg
from scenarios.two_stage import tiny_two_stage_cfg

from mmman.apis import launch
from mmman.costs import TrainingStep, measure_parts, variants
from mmman.costs.part_costs import PartCost, PartCosts
from mmman.costs.units import parse_bytes
from mmman.planning import Planner
from mmman.planning.plan_report import frontier_table, report

ROOT = Path(__file__).parents[2]


def demo(name, work_dir, **options):
    cfg = launch.load_config(str(ROOT / f'demo/configs/{name}.py'), options, work_dir=str(work_dir))
    cfg.train_dataloader.dataset.data_root = str(ROOT / cfg.train_dataloader.dataset.data_root)
    cfg.log_level = 'ERROR'
    return cfg


# Of two images all is measured; from three on it is extrapolated.
DEMOS = {'retinanet_r18_manpp_lean_bccd': 2, 'deeplabv3_r18_manpp_coco_free': 4}


@pytest.fixture(scope='module', params=DEMOS)
def planned(request, tmp_path_factory):
    """A demo's config with lean losses, and a planner for it."""
    options = {'train_dataloader.batch_size': DEMOS[request.param]}
    cfg = variants.lean_losses(demo(request.param, tmp_path_factory.mktemp('plan'), **options))
    return cfg, Planner(measure_parts(cfg))


def measured(cfg, plan=None):
    """The peak of a dry step, by a plan for local learning or as the config is."""
    if plan is not None:
        cfg = cfg.copy()
        cfg.merge_from_dict(Config.fromstring(plan.lines(cfg), '.py').to_dict())
    return TrainingStep(cfg, dry=True).bytes()


def test_peaks_are_foretold(planned):
    cfg, planner = planned
    plain = variants.lean_losses(variants.end_to_end(cfg))
    assert planner.end_to_end().peak == pytest.approx(measured(plain).peak, rel=0.1)
    plain.model.backbone.with_cp = True
    assert planner.with_cp().peak == pytest.approx(measured(plain).peak, rel=0.1)
    assert planner.recompute_all().peak == pytest.approx(measured(variants.recompute_all(cfg)).peak, rel=0.1)


def test_a_plans_lines_make_what_it_foretells(planned):
    cfg, planner = planned
    plans = planner.frontier(least_blocks=3)
    for plan in {plans[0], plans[-1]}:
        found = measured(cfg, plan)
        assert len(found.blocks) == plan.num_blocks
        assert plan.peak == pytest.approx(found.peak, rel=0.1)
        assert plan.blocks == pytest.approx(found.blocks, rel=0.1)


def test_less_memory_takes_more_work(planned):
    plans = planned[1].frontier()
    assert len(plans) > 1
    assert all(a.flops < b.flops and a.peak > b.peak for a, b in pairwise(plans))


def test_what_does_not_fit_is_not_planned(planned):
    planner = planned[1]
    assert planner.fastest(planner.resident) is None
    for plan in planner.frontier():
        assert planner.fastest(plan.peak).flops <= plan.flops


@pytest.mark.parametrize('name', ['mask', 'cascade'])
def test_two_stage_detectors_are_planned(name, tmp_path, bccd):
    data_root, _, classes = bccd
    cfg = tiny_two_stage_cfg(name, 4, tmp_path, data_root, classes)
    planner = Planner(measure_parts(cfg))
    assert planner.end_to_end().peak == pytest.approx(measured(variants.end_to_end(cfg)).peak, rel=0.1)
    assert len(planner.frontier()) > 0
    assert 'Write:' in report(planner, cfg, 10**9, 'flops', 2)


def test_a_config_without_local_heads_is_refused(tmp_path, bccd):
    cfg = tiny_run_cfg(1, tmp_path, *bccd)
    cfg.model.backbone.local_head = None
    with pytest.raises(ValueError, match='model.backbone.local_head is not set, so there are no blocks to plan'):
        measure_parts(cfg)


# ------------------------------------------------------------------------------------------------ numbers made by hand


def part(output=10, kept=30, forward=30, backward=60, gradients=5, resident=15, flops=(1, 2)):
    return PartCost(output, kept, forward, backward, gradients, resident, flops)


def costs(num_segments):
    local = part(output=0, kept=0, forward=20, backward=20, gradients=3, resident=9, flops=(1, 1))
    neck_and_heads = part(output=0, kept=5, forward=10, backward=20, gradients=2, resident=6, flops=(2, 4))
    return PartCosts(
        names=tuple(f's{i}' for i in range(num_segments)),
        segments=(part(),) * num_segments,
        closes=(False,) * (num_segments - 1) + (True,),
        local={(i, last, again): local for i in range(num_segments) for last in (0, 1) for again in (0, 1)},
        neck_and_heads={(one, again): neck_and_heads for one in (False, True) for again in (False, True)},
        batch=7,
    )


def test_end_to_end_by_hand():
    plan = Planner(costs(3)).end_to_end()
    resident = 3 * 15 + 6 + 7
    # The backward of the last segment: what the two before it kept, its own 60, and the gradients behind it.
    assert plan.peak == resident + 2 * 30 + 60 + 2
    assert plan.flops == 3 * 3 + 6
    assert plan.ends == plan.recomputed == ()


def test_recomputation_by_hand():
    planner = Planner(costs(3))
    # Of the segments before the last, outputs only.
    assert planner.recompute_all().peak == planner.resident + 2 * 10 + 60 + 2
    assert planner.recompute_all().flops == planner.end_to_end().flops + 3 * 1
    assert planner.with_cp().flops == planner.end_to_end().flops + 2 * 1


def test_two_blocks_by_hand():
    plan = Planner(costs(2)).fastest()
    resident = 2 * 15 + 6 + 7 + 9
    # Block 1: its own backward beside its local head's gradients. Block 2: what block 1 handed on, and as above.
    assert plan.blocks == (resident + 60 + 3, resident + 10 + 60 + 2)
    assert plan.flops == 2 * 3 + 2 + 6
    assert plan.ends == ('s0',)


def test_the_smallest_number_of_blocks_is_kept():
    planner = Planner(costs(6))
    assert planner.fastest().num_blocks == 2
    assert planner.fastest(least_blocks=4).num_blocks == 4
    assert planner.fastest(least_blocks=7) is None


def test_a_block_with_nothing_to_learn_is_not_planned():
    frozen = part(gradients=0, backward=0, flops=(1, 0))
    parts = costs(3)
    planner = Planner(PartCosts(**{**vars(parts), 'segments': (frozen, *parts.segments[1:])}))
    assert all(plan.ends[0] != 's0' for plan in planner.frontier())


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


def test_the_report_names_the_fastest_and_the_fastest_of_local_learning():
    planner, cfg = Planner(costs(6)), Config(dict(model=dict(bbox_head={})))
    assert 'by flops: end to end' in report(planner, cfg, 10**9, 'flops', 2)
    text = report(planner, cfg, planner.recompute_all().peak, 'flops', 2)
    assert 'by flops: end to end, all recomputed' in text and 'num_blocks=1' in text
    assert 'The fastest of local learning: MAN++, K=3' in text and "ends=['s1', 's2']" in text
    assert 'eq. 18' in text
    text = report(planner, cfg, planner.recompute_all().peak - 1, 'flops', 2)
    assert 'by flops: MAN++, K=3' in text and 'end to end, all' not in text


def test_the_report_says_what_the_least_is_where_nothing_fits():
    planner = Planner(costs(3))
    least = min(plan.peak for plan in (planner.recompute_all(), *planner.frontier()))
    assert f'the least is {least / 1e6:.0f} MB' in report(planner, Config(dict(model={})), planner.resident, 'flops', 2)


def test_the_table_has_a_row_for_every_way():
    planner = Planner(costs(6))
    assert len(frontier_table(planner, 'flops', 2).splitlines()) == 2 + 3 + len(planner.frontier('flops', 2))
