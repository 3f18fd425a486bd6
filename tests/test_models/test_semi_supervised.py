"""A student beside its teacher: blocks 1..K-1 learn from the labelled images, block K from all."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from scenarios.training import build_model, optim_wrapper_for, train

from mmman.apis.any_batch import semi_supervised_batch
from mmman.models import find_local_backbone
from mmman.testing import tiny_retinanet


def semi_supervised(num_blocks):
    detector = tiny_retinanet(num_blocks)
    return ConfigDict(
        type='mmdet.SemiBaseDetector',
        _scope_='mmdet',
        detector=detector,
        data_preprocessor=dict(type='MultiBranchDataPreprocessor', data_preprocessor=detector.data_preprocessor),
        semi_train_cfg=dict(freeze_teacher=True, sup_weight=1.0, unsup_weight=4.0, cls_pseudo_thr=0.0),
        semi_test_cfg=dict(predict_on='teacher'),
    )


def batch(other_unlabelled=False):
    images = semi_supervised_batch({}, (64, 64), 3)
    if other_unlabelled:
        for branch in ('unsup_teacher', 'unsup_student'):
            images['inputs'][branch] = [255 - image for image in images['inputs'][branch]]
    return images


def weights_of_blocks(model):
    backbone = find_local_backbone(model)
    return {param: index for param, index in backbone.local.block_of_parameters().items() if param.requires_grad}


@pytest.mark.parametrize('num_blocks', [1, 4])
def test_the_student_learns_and_the_teacher_stays(num_blocks):
    model = build_model(semi_supervised(num_blocks))
    before = copy.deepcopy(model.state_dict())
    optim_wrapper = optim_wrapper_for(model)
    (log,) = train(model, optim_wrapper, [batch()])
    assert {'sup_loss_cls', 'unsup_loss_cls'} <= set(log)
    local = {name.partition('.')[0] for name in getattr(optim_wrapper, 'local_log_vars', ())}
    assert local == {f'local{i}' for i in range(1, num_blocks)}
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith('teacher') for name in moved)
    for block in range(1, 5):
        assert any(name.startswith(f'student.backbone.layer{block}') for name in moved)


def test_unlabelled_images_train_the_last_block_only():
    """Nothing of their content gets into blocks 1..K-1; their running statistics alone see them."""
    models = [build_model(semi_supervised(4)) for _ in range(2)]
    for model, other in zip(models, (False, True), strict=True):
        train(model, optim_wrapper_for(model), [batch(other)])
    states = [dict(model.student.named_parameters()) for model in models]
    blocks = {id(param): index for param, index in weights_of_blocks(models[0]).items()}
    for name, param in states[0].items():
        same = torch.equal(param, states[1][name])
        if id(param) in blocks:
            assert same, name
        elif name == 'backbone.layer4.1.conv2.weight':
            assert not same


def test_both_passes_see_the_batchnorm_that_stock_training_has():
    model = build_model(semi_supervised(4))
    train(model, optim_wrapper_for(model), [batch()])
    backbone = find_local_backbone(model)
    assert backbone is model.student.backbone
    assert backbone.bn1.num_batches_tracked == backbone.layer4[0].bn1.num_batches_tracked == 2
