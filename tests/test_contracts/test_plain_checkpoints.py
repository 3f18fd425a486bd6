"""Contract 4: the plain part of a checkpoint is an unwrapped model's, under the same keys; the rest has one prefix."""

import copy

import torch
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.testing import tiny_batch, tiny_retinanet

PREFIX = 'backbone.local.'


def boxes(model, batch):
    model.eval()
    with torch.no_grad():
        results = model.test_step(copy.deepcopy(batch))
    return [(r.pred_instances.bboxes, r.pred_instances.scores, r.pred_instances.labels) for r in results]


def trained(num_blocks=4):
    model = build_model(tiny_retinanet(num_blocks))
    train(model, optim_wrapper_for(model), [tiny_batch(seed) for seed in range(2)])
    return model


def test_plain_keys_are_those_of_the_unwrapped_model():
    plain, local = build_model(tiny_retinanet(None)), build_model(tiny_retinanet(4))
    assert [key for key in local.state_dict() if not key.startswith(PREFIX)] == list(plain.state_dict())
    assert any(key.startswith(PREFIX) for key in local.state_dict())
    names = [name for name, _ in local.named_parameters() if not name.startswith(PREFIX)]
    assert names == [name for name, _ in plain.named_parameters()]


def test_a_stock_model_opens_the_checkpoint_with_no_missing_key_and_predicts_the_same():
    local, plain = trained(), build_model(tiny_retinanet(None), seed=1)
    keys = plain.load_state_dict(local.state_dict(), strict=False)
    assert not keys.missing_keys
    assert all(key.startswith(PREFIX) for key in keys.unexpected_keys)
    expected, got = boxes(local, tiny_batch(7)), boxes(plain, tiny_batch(7))
    assert len(expected[0][0]) > 0
    for a, b in zip(expected, got, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_plain_checkpoint_initialises_the_wrapped_model():
    plain, local = build_model(tiny_retinanet(None), seed=3), build_model(tiny_retinanet(4))
    keys = local.load_state_dict(plain.state_dict(), strict=False)
    assert not keys.unexpected_keys
    # Only what a plain model knows nothing of starts by itself: the local heads.
    assert all(key.startswith(PREFIX) and '.head.' in key for key in keys.missing_keys)
    for a, b in zip(boxes(plain, tiny_batch(7)), boxes(local, tiny_batch(7)), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_wrapped_model_survives_deepcopy():
    model = trained()
    copied = copy.deepcopy(model)
    batch = tiny_batch(5)
    logs = [train(m, optim_wrapper_for(m), [batch])[0] for m in (model, copied)]
    assert logs[0] == logs[1]
    assert_same_state(copied, model)
