"""with_cp by name: units, runs of them, auxiliary networks, kept in part or not at all; outputs that are dropped."""

import pytest
import torch
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.models import find_local_backbone
from mmman.testing import tiny_batch, tiny_retinanet

NAMES = [
    dict(full=['layer1', 'local.layer1_1']),
    dict(selective=['layer1', 'layer2.0', 'local.layer1_1', 'local.layer2_1']),
    dict(full=['stem-layer1.1'], selective=['layer4.0-layer4.1', 'layer3.0']),
]


def model_of(**backbone):
    cfg = tiny_retinanet(4)
    cfg.backbone.update(backbone)
    return build_model(cfg)


@pytest.mark.parametrize('with_cp', NAMES, ids=str)
def test_training_is_the_same_to_the_last_bit(with_cp):
    models = [model_of(), model_of(with_cp=with_cp)]
    models[1].load_state_dict(models[0].state_dict())
    logs = [train(model, optim_wrapper_for(model), [tiny_batch(0), tiny_batch(1)]) for model in models]
    assert_same_state(models[1], models[0])
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ('with_cp', 'words'),
    [
        (dict(full=['layer1.7']), r"names 'layer1.7' \(did you mean"),
        (dict(full=['layer1'], selective=['layer1.0']), "names 'layer1.0' twice"),
        (dict(full=['layer1.1-layer2.0']), 'no run of segments of one block'),
        (dict(whole=['layer1']), "keys full, selective, got 'whole'"),
        (dict(full='layer1'), 'full must be a list of names'),
    ],
)
def test_names_that_mean_nothing_are_refused(with_cp, words):
    with pytest.raises(ValueError, match=words):
        model_of(with_cp=with_cp)


def test_a_dropped_output_is_not_held_and_refuses_to_be_used():
    model = model_of(drop_outputs=[0])
    backbone = find_local_backbone(model)
    seen = []
    optim_wrapper = optim_wrapper_for(model)  # which looks at an example
    neck = model.neck.forward
    model.neck.forward = lambda outputs: (seen.append(outputs[0]), neck(outputs))[1]  # it starts at the second level
    model.train_step(tiny_batch(), optim_wrapper)
    assert seen[0].shape[1] == backbone.layer1[-1].conv2.out_channels
    with torch._C.DisableTorchFunctionSubclass():
        assert seen[0].untyped_storage().nbytes() <= 8
    with pytest.raises(RuntimeError, match='names an output of the backbone that the model uses'):
        seen[0] + 1


def test_a_used_output_cannot_be_dropped_in_silence():
    model = model_of(drop_outputs=[1])
    with pytest.raises(RuntimeError, match='drop_outputs'):
        model.train_step(tiny_batch(), optim_wrapper_for(model))
    with pytest.raises(ValueError, match='takes numbers of outputs, from 0 to 3'):
        model_of(drop_outputs=[4])


def test_norms_in_eval_mode_run_in_one_with_their_convolutions():
    options = dict(norm_eval=True)
    cfgs = [tiny_retinanet(4, options), tiny_retinanet(4, options)]
    cfgs[1].backbone.efficient_conv_bn_eval = True
    models = [build_model(cfg) for cfg in cfgs]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        train(model, optim_wrapper_for(model), [tiny_batch(0), tiny_batch(1)])
    states = [model.state_dict() for model in models]
    assert all(torch.allclose(states[0][k], states[1][k], rtol=1e-3, atol=1e-4) for k in states[0])
