import copy
import hashlib
import io
import pickle
import subprocess
import sys

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmengine.registry import MODELS
from scenarios.contracts import auxiliaries
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.models import LocalBackbone
from mmman.testing import CASES, tiny_batch, tiny_retinanet, tiny_segmentor


def test_pretrained_of_a_segmentor_reaches_the_backbone_and_the_copies(tmp_path):
    plain = build_model(tiny_segmentor(None), seed=1)
    torch.save(plain.backbone.state_dict(), tmp_path / 'backbone.pth')
    model = build_model({**tiny_segmentor(4), 'pretrained': str(tmp_path / 'backbone.pth')})
    assert torch.equal(model.backbone.layer3[0].conv1.weight, plain.backbone.layer3[0].conv1.weight)
    for auxiliary, sources in auxiliaries(model):
        assert_same_state(auxiliary.ema, sources[0])
        assert_same_state(auxiliary.learnable_bias, sources[0])


def by_torch(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize('copied', [copy.deepcopy, by_torch, by_pickle])
def test_a_copied_model_trains_as_the_original_does(copied):
    model = build_model(tiny_retinanet(4))
    train(model, optim_wrapper_for(model), [tiny_batch()])
    other = copied(model)
    assert type(other.backbone) is type(model.backbone)
    assert isinstance(other.backbone, LocalBackbone) and isinstance(other.backbone, ResNet)
    assert other.backbone.local.backbone is other.backbone  # and not the original's
    assert_same_state(other, model)
    logs = [train(m, optim_wrapper_for(m), [tiny_batch(1)]) for m in (model, other)]
    assert logs[0] == logs[1]
    assert_same_state(other, model)


@pytest.mark.parametrize('name', ['resnet-greedy', 'vgg-greedy', 'vit-greedy', 'segmentor-fcn'])
def test_models_of_every_family_can_be_saved_whole(name):
    case = CASES[name]
    model = build_model(case.model(case.num_blocks))
    assert_same_state(by_torch(model), model)


def test_a_model_reaches_a_process_that_has_imported_nothing(tmp_path):
    """What ``spawn`` does with its arguments."""
    model = build_model(tiny_retinanet(2))
    (tmp_path / 'model.pkl').write_bytes(pickle.dumps(model))
    code = (
        'import hashlib, pickle, sys; model = pickle.load(open(sys.argv[1], "rb"));'
        'weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters());'
        'print(type(model.backbone).__name__, hashlib.sha256(weights).hexdigest())'
    )
    command = [sys.executable, '-W', 'ignore', '-c', code, str(tmp_path / 'model.pkl')]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    weights = b''.join(p.detach().numpy().tobytes() for p in model.parameters())
    assert run.stdout.splitlines()[-1] == f'LocalResNet {hashlib.sha256(weights).hexdigest()}'


def test_backbones_of_one_class_are_of_one_class():
    first, second = (build_model(tiny_retinanet(num_blocks)).backbone for num_blocks in (1, 4))
    assert type(first) is type(second)
    other = build_model(tiny_segmentor(2)).backbone
    assert type(other) is not type(first) and isinstance(other, LocalBackbone)


def test_a_wrapped_backbone_keeps_the_names_of_its_own():
    plain = MODELS.build(dict(type='mmdet.ResNet', depth=18, base_channels=8))
    names = set(vars(plain)) | set(plain._modules)
    head = dict(type='mmman.ClassificationLocalHead', head=dict(type='mmpretrain.LinearClsHead', num_classes=3))
    local = LocalBackbone(plain, dict(num_blocks=4), head)
    assert local is plain
    assert (set(vars(local)) | set(local._modules)) - names == {'local'}
