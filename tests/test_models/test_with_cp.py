import copy

import pytest
import torch
from scenarios.contracts import move_ema_away
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.costs import LiveBytes, tensors_of
from mmman.models import find_local_backbone
from mmman.testing import CASES, FAMILY_CASES, tiny_batch, tiny_retinanet


def local_model(cfg, with_cp):
    cfg = copy.deepcopy(cfg)
    cfg.backbone.with_cp = with_cp
    model = build_model(cfg)
    if cfg.backbone.get('auxiliary', True) is not None:
        move_ema_away(model)
    return model


def trained(model, batches, **options):
    optim_wrapper = optim_wrapper_for(model, **options)
    torch.manual_seed(0)  # of what is dropped
    return train(model, optim_wrapper, batches), optim_wrapper


def assert_same_training(cfg, batches, with_cp=True, **options):
    """Losses, weights, running statistics and optimizer states are equal to the last bit."""
    kept, recomputed = local_model(cfg, False), local_model(cfg, with_cp)
    log, optim_wrapper = trained(kept, batches, **options)
    found_log, found_wrapper = trained(recomputed, batches, **options)
    assert found_log == log
    assert_same_state(recomputed, kept)
    states, found_states = (tensors_of(wrapper) for wrapper in (optim_wrapper, found_wrapper))
    assert len(states) == len(found_states)
    assert all(torch.equal(found, state) for found, state in zip(found_states, states, strict=True))


# A map passes in most families; of the others one of each kind, and a chain.
STATES = ('mmseg.MixVisionTransformer', 'mmdet.HRNet', 'mmseg.UNet', 'mmpretrain.VisionTransformer, map to vector')
WITH_STATES = CASES | {name: FAMILY_CASES[name] for name in STATES}


@pytest.mark.parametrize('case', WITH_STATES.values(), ids=WITH_STATES)
def test_training_is_the_same_to_the_last_bit(case):
    assert_same_training(case.model(case.num_blocks), [case.batch(seed) for seed in range(2)])


@pytest.mark.parametrize('with_cp', [[1], [2, 4], (3,)])
def test_some_blocks_only(with_cp):
    assert_same_training(tiny_retinanet(4), [tiny_batch()] * 2, with_cp)


@pytest.mark.parametrize(
    'options',
    [dict(norm_eval=True), dict(frozen_stages=1), dict(with_cp=True, norm_eval=True), dict(with_cp=True)],
)
def test_with_what_the_backbone_can_be_told(options):
    cfg = tiny_retinanet(3)
    cfg.backbone.backbone.update(options)
    assert_same_training(cfg, [tiny_batch()] * 2)


@pytest.mark.parametrize('rates', [dict(drop_path_rate=0.5), dict(drop_rate=0.5)])
def test_with_what_is_dropped_at_random(rates):
    case = CASES['vit-greedy']
    cfg = case.model(case.num_blocks)
    cfg.backbone.backbone.update(rates)
    assert_same_training(cfg, [case.batch(seed) for seed in range(2)])


@pytest.mark.parametrize(
    'auxiliary',
    [None, dict(type='mmman.TwoBiasesAuxiliary'), dict(type='mmman.MomentumAuxiliary', num_layers=2, scale=False)],
    ids=['none', 'two biases', 'two layers'],
)
def test_with_every_auxiliary_network(auxiliary):
    assert_same_training(tiny_retinanet(3, auxiliary=auxiliary), [tiny_batch()] * 2)


def test_in_mixed_precision():
    assert_same_training(
        tiny_retinanet(4), [tiny_batch()] * 2, type='mmman.CPUAmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic'
    )


def test_running_statistics_are_updated_once():
    model = local_model(tiny_retinanet(4), True)
    trained(model, [tiny_batch()])
    counts = {name: int(b) for name, b in model.backbone.named_buffers() if name.endswith('num_batches_tracked')}
    assert len(counts) > 20
    assert set(counts.values()) == {1}


def peaks_of_blocks(with_cp):
    model = local_model(tiny_retinanet(4), with_cp)
    optim_wrapper = trained(model, [tiny_batch()])[1]
    starts, peaks = [], []

    def begin(block):
        live.take_peak()
        starts.append(live.current)

    with (
        LiveBytes(tensors_of(model, optim_wrapper)) as live,
        model.backbone.local.watch(begin, lambda block: peaks.append(live.peak - starts[-1])),
    ):
        model.train_step(tiny_batch(), optim_wrapper)
    return peaks


def test_a_block_needs_less_memory_and_the_others_as_much_as_before():
    kept, second = peaks_of_blocks(False), peaks_of_blocks([2])
    assert second[1] < kept[1]
    assert (second[0], second[2]) == (kept[0], kept[2])
    assert peaks_of_blocks(True)[0] < 0.6 * kept[0]


def test_evaluation_keeps_nothing_and_recomputes_nothing():
    model = local_model(tiny_retinanet(4), True).eval()
    calls = []
    model.backbone.layer1[0].register_forward_hook(lambda *args: calls.append(1))
    model.test_step(tiny_batch())
    assert len(calls) == 1


@pytest.mark.parametrize('with_cp', [[0], [5], [1, 1], ['1'], [True], [1.0], [[1]], 1, '1', '', None])
def test_numbers_that_name_no_block_are_refused(with_cp):
    with pytest.raises(ValueError, match='each once and from 1 to 4, got'):
        local_model(tiny_retinanet(4), with_cp)


def test_blocks_are_counted_as_they_are_after_merging():
    cfg = tiny_retinanet(4, dict(frozen_stages=1))
    assert local_model(cfg, [3]).backbone.recomputed == {3}
    with pytest.raises(ValueError, match=r'from 1 to 3, got \[4\]'):
        local_model(cfg, [4])


def test_one_block_is_recomputed_too_its_stem_included():
    assert_same_training(tiny_retinanet(1), [tiny_batch()] * 2)
    peaks = []
    for with_cp in (False, True):
        model = local_model(tiny_retinanet(1), with_cp)
        optim_wrapper = optim_wrapper_for(model)
        train(model, optim_wrapper, [tiny_batch()])
        with LiveBytes(tensors_of(model, optim_wrapper)) as live:
            train(model, optim_wrapper, [tiny_batch()])
        peaks.append(live.peak)
    assert peaks[1] < peaks[0]


def test_one_block_that_recomputes_nothing_is_left_to_the_backbone():
    for nothing in (False, [], ()):
        assert find_local_backbone(local_model(tiny_retinanet(1), nothing)).recomputed == frozenset()
