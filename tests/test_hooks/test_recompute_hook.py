from types import SimpleNamespace

import pytest
import torch
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.costs import LiveBytes, tensors_of
from mmman.hooks import RecomputeHook
from mmman.testing import tiny_batch, tiny_retinanet, tiny_seg_batch, tiny_segmentor

DETECTOR = (tiny_retinanet, tiny_batch, ['neck', 'bbox_head.forward_single'])
SEGMENTOR = (tiny_segmentor, tiny_seg_batch, ['decode_head'])


def trained(build, num_blocks, batch, parts):
    """A model after two steps, its losses, and the peak of live bytes in the second."""
    model = build_model(build(num_blocks))
    RecomputeHook(parts).before_train(SimpleNamespace(model=model))
    optim_wrapper = optim_wrapper_for(model, local=num_blocks is not None)
    torch.manual_seed(0)  # of what is dropped
    log = train(model, optim_wrapper, [batch])
    with LiveBytes(tensors_of(model, optim_wrapper)) as live:
        log += train(model, optim_wrapper, [batch])
    return model, log, live.peak


@pytest.mark.parametrize('num_blocks', [None, 2])
@pytest.mark.parametrize(('build', 'make_batch', 'parts'), [DETECTOR, SEGMENTOR], ids=['detector', 'segmentor'])
def test_training_is_the_same_to_the_last_bit(build, make_batch, parts, num_blocks):
    kept, log, _ = trained(build, num_blocks, make_batch(), [])
    recomputed, found_log, _ = trained(build, num_blocks, make_batch(), parts)
    assert found_log == log
    assert_same_state(recomputed, kept)


def test_a_detector_needs_less():
    build, make_batch, parts = DETECTOR
    *_, kept = trained(build, None, make_batch(), [])
    *_, recomputed = trained(build, None, make_batch(), parts)
    assert recomputed < kept


def test_preparing_twice_is_preparing_once():
    model = build_model(tiny_retinanet(None))
    hook = RecomputeHook(['neck'])
    hook.before_train(SimpleNamespace(model=model))
    forward = model.neck.forward
    hook.before_train(SimpleNamespace(model=model))
    assert model.neck.forward is forward


@pytest.mark.parametrize('part', ['roi_head', 'neck.forward_all', 'bbox_head.forward_single.x'])
def test_a_part_that_is_missing_is_named(part):
    model = build_model(tiny_retinanet(None))
    with pytest.raises(ValueError, match=f"RetinaNet has no part '{part}' to recompute"):
        RecomputeHook([part]).before_train(SimpleNamespace(model=model))


@pytest.mark.parametrize('parts', ['neck', [1]])
def test_parts_are_a_list_of_names(parts):
    with pytest.raises(TypeError, match='must be a list of names of modules or methods'):
        RecomputeHook(parts)
