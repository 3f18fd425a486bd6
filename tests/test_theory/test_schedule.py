"""The simulator against closed forms, an independent longest path, and the paper's Table VIII."""

import importlib.util
import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from mmman.theory.paper_times import TABLE_8, fit_link, fit_loss, predict, with_loss
from mmman.theory.schedule import Link, Schedule, TimedBlock, group, read_blocks
from mmman.theory.simulate import simulate

F = 1 / 3


def pipeline(*seconds, output_bytes=0, source_bytes=0, **kwargs):
    return Schedule(tuple((TimedBlock(s, 0, output_bytes, source_bytes),) for s in seconds), **kwargs)


def data_parallel(*blocks, replicas=4, speed=math.inf):
    return Schedule((tuple(TimedBlock(*block) for block in blocks),), replicas, Link(speed))


def ring(num_bytes, replicas, speed):
    return 2 * (replicas - 1) / replicas * num_bytes / speed


# Pipelines


@pytest.mark.parametrize('stages', [1, 2, 4, 7])
@pytest.mark.parametrize('forward', [F, 1])
def test_balanced_and_free_is_as_many_times_faster_after_a_fill_of_one_forward_per_stage(stages, forward):
    """With the output at the end of the block (forward=1) the fill is K - 1 ticks; sent at once, a third of that."""
    timing = simulate(pipeline(*[1.0] * stages, forward_fraction=forward))
    assert timing.fill == pytest.approx((stages - 1) * forward)
    assert timing.seconds_per_batch == pytest.approx(1)
    assert timing.utilisation == pytest.approx([1] * stages)
    assert timing.ends == pytest.approx([timing.fill + t + 1 for t in range(200)])


def test_the_slowest_stage_sets_the_pace_wherever_it_stands():
    seconds = (1.0, 0.8, 1.2, 0.9)
    for order in itertools.permutations(seconds):
        schedule = pipeline(*order)
        timing = simulate(schedule)
        assert timing.seconds_per_batch == pytest.approx(1.2)
        assert timing.utilisation == pytest.approx([s / 1.2 for s in order], rel=0.01)
        assert schedule.ideal_speedup == pytest.approx(3.9 / 1.2)
        assert timing.fill == pytest.approx(F * sum(order[:-1]))


@pytest.mark.parametrize('seconds', [(1, 1, 1, 1), (1, 0.8, 1.2, 0.9), (2, 1), (1, 2)])
def test_waiting_for_the_weights_costs_nothing_over_a_free_link_without_jitter(seconds):
    waits, never = (simulate(pipeline(*seconds, delay=delay)) for delay in (0, None))
    assert waits.ends == pytest.approx(never.ends)


@pytest.mark.parametrize('prefetch', [False, True])
def test_the_way_there_and_back_is_paid_once_in_two_batches_and_less_often_with_delay(prefetch):
    """Batch t+1 cannot leave before the weights of step t-1-delay are back: a circle of 2 + delay batches."""
    circle = F + 1 + 2 * 1.0
    for delay in range(5):
        kwargs = dict(link=Link(latency=1.0), delay=delay, prefetch=prefetch)
        timing = simulate(pipeline(1, 1, **kwargs), 2000)
        tick = 1 if prefetch else 2  # who asks for a message only when it needs it waits at every batch
        assert timing.seconds_per_batch == pytest.approx(max(tick, circle / (2 + delay)), rel=1e-3)
        assert timing.staleness == delay
    never = simulate(pipeline(1, 1, link=Link(latency=1.0), delay=None, prefetch=prefetch))
    assert never.seconds_per_batch == pytest.approx(1 if prefetch else 2)


def test_stages_wait_for_weights_in_a_row():
    """A stage sends its own behind its waiting, so that on a circle of 3 batches there are two ways back."""
    timing = simulate(pipeline(1, 1, 1, link=Link(latency=1.0), prefetch=True), 3000)
    assert timing.seconds_per_batch == pytest.approx(max((F + 1 + 2) / 2, (2 * F + 1 + 4) / 3), rel=1e-3)


def test_messages_of_one_direction_follow_each_other():
    link = Link(bytes_per_second=10)

    def seconds(iterations=200, **kwargs):
        return simulate(pipeline(1, 1, link=link, **kwargs), iterations).seconds_per_batch

    assert seconds(output_bytes=15, delay=None, prefetch=True) == pytest.approx(1.5)
    assert seconds(output_bytes=5, delay=None, prefetch=True) == pytest.approx(1)
    assert seconds(output_bytes=5, delay=None) == pytest.approx(1.5)  # the receiver's time
    assert seconds(source_bytes=15, delay=5, prefetch=True, iterations=2000) == pytest.approx(1.5, rel=1e-2)
    assert seconds(source_bytes=5, delay=5) == pytest.approx(1.5)
    first, last = TimedBlock(0.5, source_bytes=5), TimedBlock(0.5, output_bytes=5)
    timing = simulate(Schedule(((last, TimedBlock(0.5)), (first, TimedBlock(0.5))), link=link, delay=9))
    assert timing.fill == pytest.approx(0.5 + F / 2)
    assert timing.seconds_per_batch == pytest.approx(1.5)
    timing = simulate(Schedule(((TimedBlock(0.5), last), (TimedBlock(0.5), first)), link=link, delay=9))
    assert timing.fill == pytest.approx(0.5 + F / 2 + 0.5)
    assert timing.seconds_per_batch == pytest.approx(1.5)


def test_a_quick_stage_runs_away_unless_weights_or_a_queue_hold_it():
    def waiting(**kwargs):
        timing = simulate(pipeline(0.1, 1, **kwargs))
        assert timing.seconds_per_batch == pytest.approx(1)
        return timing.waiting

    assert waiting(delay=None) > 150
    assert [waiting(delay=delay) for delay in (0, 1, 3)] == [1, 2, 4]
    assert [waiting(delay=None, queue=queue) for queue in (1, 2, 5)] == [1, 2, 5]


def test_under_jitter_older_weights_cost_less_and_equal_seeds_are_equal():
    def seconds(delay, seed):
        return simulate(pipeline(1, 1, 1, 1, jitter=0.3, delay=delay, seed=seed), 1000).seconds_per_batch

    for seed in range(5):
        zero, one, two, never = (seconds(delay, seed) for delay in (0, 1, 2, None))
        assert zero > one > two > never * 0.999
        assert zero > 1.05
    assert seconds(0, 3) == seconds(0, 3) != seconds(0, 4)
    assert simulate(pipeline(1, jitter=0.3), 20000).seconds_per_batch == pytest.approx(1, rel=0.01)


def longest_path(seconds, output, source, latency, delay, queue, prefetch, forward_fraction, iterations):
    """When all are done with batch t, by relaxing 'not before' rules until none is broken."""
    stages = range(len(seconds))
    rules = []  # (event, other event, at least so much later)
    for j, t in itertools.product(stages, range(iterations)):
        rules += [
            (('sent', j, t), ('begin', j, t), forward_fraction * seconds[j]),
            (('step', j, t), ('sent', j, t), (1 - forward_fraction) * seconds[j]),
            (('end', j, t), ('step', j, t), 0),
            (('begin', j, t), ('end', j, t - 1), 0),
            (('output', j, t), ('sent', j, t), output),
            (('output', j, t), ('output', j, t - 1), output),
            (('begin', j, t), ('output', j - 1, t), latency),
        ]
        if not prefetch:
            rules.append((('output', j, t), ('end', j + 1, t - 1), output))
        if queue is not None:
            rules.append((('sent', j, t), ('begin', j + 1, t - queue), 0))
        if delay is not None:
            rules += [
                (('weights', j, t), ('end', j, t), source),
                (('weights', j, t), ('weights', j, t - 1), source),
                (('end', j, t), ('weights', j + 1, t - 1 - delay), latency),
            ]
            if not prefetch:
                rules.append((('weights', j, t), ('step', j - 1, t + 1 + delay), source))
    times = {event: 0.0 for event, _, _ in rules}
    changed = True
    while changed:
        changed = False
        for event, earlier, later in rules:
            if earlier in times and times[earlier] + later > times[event] + 1e-12:
                times[event], changed = times[earlier] + later, True
    return [max(times['end', j, t] for j in stages) for t in range(iterations)]


@pytest.mark.parametrize('seed', range(40))
def test_equals_the_longest_path_through_all_rules(seed):
    rng = random.Random(seed)
    seconds = [rng.uniform(0.5, 1.5) for _ in range(rng.randint(2, 5))]
    output, source, latency = (rng.uniform(0, 1) for _ in range(3))
    rules = dict(
        delay=rng.choice([None, 0, 1, 2]),
        queue=rng.choice([None, 1, 2]),
        prefetch=rng.random() < 0.5,
        forward_fraction=rng.choice([0.2, F, 1]),
    )
    schedule = pipeline(
        *seconds,
        output_bytes=output,
        source_bytes=source,
        link=Link(1, latency),
        **rules,
    )
    expected = longest_path(seconds, output, source, latency, iterations=12, **rules)
    assert simulate(schedule, 12).ends == pytest.approx(expected)


# Data parallel, and pipelines side by side


@pytest.mark.parametrize('replicas', [1, 2, 4, 8])
def test_data_parallel_hides_averaging_behind_the_backward_and_no_more(replicas):
    for speed in (math.inf, 1e3, 50.0, 1.0):
        timing = simulate(data_parallel((3.0, 100), replicas=replicas, speed=speed))
        assert timing.seconds_per_iteration == pytest.approx(max(3, 1 + ring(100, replicas, speed)))
        assert timing.seconds_per_batch == pytest.approx(timing.seconds_per_iteration / replicas)


def test_data_parallel_waits_for_the_slowest_in_every_iteration():
    factors = np.exp(0.3 * np.random.default_rng(7).standard_normal((500, 4)) - 0.045)
    timing = simulate(Schedule(((TimedBlock(2),),), 4, jitter=0.3, seed=7), 500)
    assert timing.ends == pytest.approx(2 * factors.max(axis=1).cumsum())


def test_latency_is_paid_at_every_step_of_the_ring():
    assert Link(10, 0.5).all_reduce(40, 4) == pytest.approx(ring(40, 4, 10) + 6 * 0.5)
    assert Link(10, 0.5).all_reduce(40, 1) == 0


def test_blocks_hide_averaging_behind_the_next_block_and_the_last_behind_its_own_backward():
    speed = ring(1, 4, 1)  # so that as many seconds as bytes are taken

    def seconds(*num_bytes):
        blocks = [(1.0, count) for count in num_bytes]
        return simulate(data_parallel(*blocks, speed=speed)).seconds_per_iteration

    assert seconds(1, 1, 0) == pytest.approx(3)
    assert seconds(1, 1, 2 / 3) == pytest.approx(3 + 2 / 3)  # begins when block 2's is done, at 3
    assert seconds(0.5, 0.2, 2 / 3) == pytest.approx(3)
    assert seconds(1.5, 0, 0) == pytest.approx(3.5)  # block 1's is late by 0.5, block 3 begins at 2.5
    assert seconds(0, 1.5, 0) == pytest.approx(3.5)
    assert seconds(0, 0, 1) == pytest.approx(2 + F + 1)


def test_pipelines_side_by_side_average_stage_by_stage():
    speed = ring(1, 2, 1)
    one, two = (TimedBlock(1, 0.5), TimedBlock(1, 0.5)), (TimedBlock(1, 0.5), TimedBlock(1, 0.7))
    timing = simulate(Schedule((one, two), 2, Link(speed), delay=None))
    assert timing.seconds_per_iteration == pytest.approx(2.7)  # a stage's last averaging is hidden by nothing
    assert timing.seconds_per_batch == pytest.approx(1.35)
    assert timing.utilisation == pytest.approx([2 / 2.7, 2 / 2.7], rel=0.01)
    alone = simulate(Schedule((one, two), 1, Link(speed), delay=None))
    assert alone.seconds_per_iteration == pytest.approx(2)
    assert Schedule((one, (TimedBlock(1),)), 3).ideal_speedup == pytest.approx(3 / 2 * 3)
    waits = [simulate(pipeline(1, 1, jitter=0.3, replicas=r), 1000).seconds_per_iteration for r in (1, 2, 4)]
    assert waits[0] < waits[1] < waits[2]


def test_an_epoch_goes_on_steadily_and_is_shared_by_the_replicas():
    schedule = pipeline(1, 2, 1)
    assert simulate(schedule, 50).seconds(300) == pytest.approx(simulate(schedule, 300).seconds(300))
    shared = simulate(pipeline(1, 2, 1, replicas=2), 200)
    assert shared.seconds(299) == shared.seconds(300) == pytest.approx(simulate(schedule).seconds(150))


# Input


def test_stages_are_as_even_as_can_be():
    rng = random.Random(0)
    for _ in range(20):
        blocks = [TimedBlock(rng.uniform(0.1, 1)) for _ in range(rng.randint(3, 8))]
        stages = group(blocks, 3)
        assert [block for stage in stages for block in stage] == blocks
        cuts = itertools.combinations(range(1, len(blocks)), 2)
        best = min(max(sum(b.seconds for b in part) for part in (blocks[:a], blocks[a:c], blocks[c:])) for a, c in cuts)
        assert max(sum(block.seconds for block in stage) for stage in stages) == pytest.approx(best)


def test_measured_blocks_are_read_and_bad_ones_refused(tmp_path):
    path = tmp_path / 'blocks.json'
    path.write_text(json.dumps({'blocks': [{'seconds': 1, 'source_bytes': 5}], 'end_to_end': {'seconds': 2}}))
    assert read_blocks(path) == ([TimedBlock(1, source_bytes=5)], TimedBlock(2))
    for content in ({'block': []}, [1], {'blocks': [{'second': 1}]}, {'blocks': [{'seconds': 'x'}]}):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r'blocks\.json.* takes .*got'):
            read_blocks(path)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: TimedBlock(0), 'seconds=0'),
        (lambda: TimedBlock(1, -1), "'gradient_bytes': -1"),
        (lambda: Link(0), 'positive speed'),
        (lambda: Schedule(((),)), r'at least one block, got \[0\]'),
        (lambda: pipeline(1, forward_fraction=2), 'got 2'),
        (lambda: pipeline(1, delay=-1), 'delay is at least 0, got -1'),
        (lambda: pipeline(1, replicas=0), 'replicas is at least 1, got 0'),
        (lambda: pipeline(1, queue=0), 'queue is at least 1, got 0'),
        (lambda: simulate(pipeline(1), 1), 'at least 2 iterations, got 1'),
        (lambda: group([TimedBlock(1)], 2), '1 blocks cannot be cut into 2'),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Table VIII: what the paper prints, and how far the simulation is from it


PRINTED = {  # method.md, section 3: E2E 1 GPU, DDP; MAN++ 1 GPU, DDP, PPLL; speed-up of PPLL over MAN++ on 1 GPU
    'ImageNet R101': (2242, 795, 2726, 973, 726, 3.75),
    'ImageNet R152': (3299, 1135, 3758, 1298, 1018, 3.69),
    'ImageNet ViT-Ti': (1282, 503, 1613, 636, 458, 3.52),
    'ImageNet ViT-B': (9103, 2976, 11433, 3620, 2895, 3.95),
    'COCO R34': (9407, 3137, 10903, 3667, 2869, 3.80),
    'COCO R101': (10654, 3481, 12271, 4081, 3257, 3.77),
    'COCO R152': (11076, 3758, 12689, 4346, 3328, 3.81),
    'Cityscapes R50': (80, 52, 103, 64, 54, 1.91),
    'Cityscapes R101': (95, 58, 131, 79, 61, 2.15),
}


def test_table_8_is_as_printed():
    assert [row.name for row in TABLE_8] == list(PRINTED)
    for row in TABLE_8:
        printed = PRINTED[row.name]
        assert (row.end_to_end, row.end_to_end_ddp, row.manpp, row.manpp_ddp, row.pipeline) == printed[:5]
        assert 1 / row.pipeline_share == pytest.approx(printed[5], abs=0.005)


def errors(what, **kwargs):
    link = fit_link(TABLE_8[0])
    return {row.name: getattr(predict(row, link, **kwargs), what) / getattr(row, what) - 1 for row in TABLE_8}


def test_table_8_pipeline_is_at_most_12_percent_above_the_ideal_and_once_below_it():
    found = errors('pipeline')
    impossible = found.pop('Cityscapes R101')
    assert 0.07 < impossible < 0.08
    assert all(-0.12 < error < -0.01 for error in found.values())
    assert [row.name for row in TABLE_8 if row.pipeline_share < 1 / row.devices] == ['Cityscapes R101']


def test_table_8_the_link_does_not_explain_data_parallel_times():
    """Fitted on one row it is right for the ResNet of nearly the same size only, and too slow for the pipeline."""
    found = errors('end_to_end_ddp')
    assert found.pop('ImageNet R101') == pytest.approx(0, abs=1e-3)
    assert -0.04 < found.pop('ImageNet R152') < 0
    assert all(-0.37 < error < -0.18 for error in found.values())
    assert all(-0.37 < error < 0.06 for error in errors('manpp_ddp').values())
    too_slow = [row.name for row in TABLE_8 if row.least_link > fit_link(TABLE_8[0]).bytes_per_second]
    assert too_slow == [name for name in PRINTED if name.split()[1] in ('R101', 'R152', 'R50')]


def test_table_8_a_constant_and_a_share_of_the_iteration_do():
    constant, share = loss = fit_loss(TABLE_8[:4])
    assert (constant, share) == pytest.approx((0.036, 0.267), abs=0.001)
    for row in TABLE_8:
        bound = 0.06 if row.devices == 4 else 0.10
        assert with_loss(row, row.end_to_end, loss) == pytest.approx(row.end_to_end_ddp, rel=bound)
        assert with_loss(row, row.manpp, loss) == pytest.approx(row.manpp_ddp, rel=bound)


# The tool


@pytest.fixture
def tool():
    path = Path(__file__).parents[2] / 'tools/analysis/simulate_schedule.py'
    spec = importlib.util.spec_from_file_location('simulate_schedule', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(tool, monkeypatch, capsys, *flags):
    monkeypatch.setattr('sys.argv', ['simulate_schedule.py', *flags])
    tool.main()
    return capsys.readouterr().out


def test_tool_prints_table_8_and_schedules(tool, monkeypatch, capsys, tmp_path):
    out = printed(tool, monkeypatch, capsys, '--table8')
    assert '795 /   795 ( +0.0%)' in out
    assert out.count('impossible') == 1
    path = tmp_path / 'blocks.json'
    path.write_text(json.dumps({'blocks': [{'seconds': s} for s in (1, 0.8, 1.2, 0.9)], 'end_to_end': {'seconds': 3}}))
    out = printed(tool, monkeypatch, capsys, '--json', str(path))
    flags = ('--times', '1.0', '0.8', '1.2', '0.9', '--end-to-end', '3', '--source-bytes', '1', '1', '1', '1')
    assert out == printed(tool, monkeypatch, capsys, *flags)
    lines = [line for line in out.splitlines() if line.startswith('1 pipeline(s) of 4, delay 0')]
    assert lines[0].split()[7:11] == ['1.2000', '1.2000', '1200.7', '3.25']


def test_tool_says_in_one_line_what_is_wrong(tool, monkeypatch, capsys):
    with pytest.raises(SystemExit, match='--output-bytes takes 1 or 2 values, got 3'):
        printed(tool, monkeypatch, capsys, '--times', '1', '1', '--output-bytes', '1', '2', '3')
    with pytest.raises(SystemExit, match='replicas is at least 1, got 0'):
        printed(tool, monkeypatch, capsys, '--times', '1', '1', '--devices', '0')
