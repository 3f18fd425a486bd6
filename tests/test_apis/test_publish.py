"""What is published: the plain model, as plain data, with the same predictions in stock mmdet."""

import hashlib
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import init_detector
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import save_checkpoint

from mmman.apis.publish import plain_state_dict, publish

ROOT = Path(__file__).parents[2]
META = dict(
    cfg=Config(dict(model=dict(type='mmman.Anything'))),
    experiment_name='on-this-host',
    dataset_meta=dict(
        classes=('WBC', 'RBC', 'Platelets'), palette=[np.array([220, 20, 60]), (119, 11, 32), (0, 0, 142)]
    ),
    iter=np.int64(300),
    mmengine_version='0.10.12',
)


@pytest.fixture(autouse=True)
def data_root(monkeypatch):
    monkeypatch.setenv('MMMAN_BCCD_ROOT', f'{ROOT}/demo/data/bccd_coco/')


def config(name: str) -> Config:
    cfg = Config.fromfile(ROOT / f'demo/configs/retinanet_r18_{name}_bccd.py')
    cfg.model.test_cfg.score_thr = 0.0  # untrained: without boxes there is nothing to compare
    return cfg


@pytest.fixture(scope='module')
def wrapped():
    """A wrapped RetinaNet-R18 with weights that are all its own, and BatchNorm statistics too."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(config('manpp').model)
    model.init_weights()
    for name, buffer in model.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def checkpoint(wrapped, tmp_path) -> Path:
    path = tmp_path / 'iter_300.pth'
    averaged = OrderedDict((f'module.{key}', value) for key, value in wrapped.state_dict().items())
    save_checkpoint(
        dict(
            state_dict=wrapped.state_dict(),
            meta=META,
            message_hub=dict(history=np.arange(3), config=Config()),
            optimizer=dict(block1=dict(state={}, param_groups=[])),
            ema_state_dict=averaged,
        ),
        str(path),
    )
    return path


def test_published_keys_are_those_of_the_unwrapped_model(checkpoint, tmp_path):
    plain = MODELS.build(config('e2e').model)
    state = torch.load(publish(checkpoint, tmp_path / 'plain.pth'), weights_only=True)['state_dict']
    assert list(state) == list(plain.state_dict())
    assert list(state._metadata) == list(plain.state_dict()._metadata)


def test_stock_model_predicts_the_same(wrapped, checkpoint, tmp_path):
    path = publish(checkpoint, tmp_path / 'plain.pth')
    stock = init_detector(config('e2e'), str(path), device='cpu')
    assert stock.dataset_meta['classes'] == ('WBC', 'RBC', 'Platelets')
    batch = demo_mm_inputs(2, image_shapes=[(3, 96, 128)] * 2, num_classes=3)
    with torch.no_grad():
        ours, theirs = (model.test_step(batch) for model in (wrapped, stock))
    for a, b in zip(ours, theirs):
        assert len(a.pred_instances) > 0
        for field in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(a.pred_instances[field], b.pred_instances[field], rtol=0, atol=0)


def test_file_holds_plain_data_only_and_nothing_of_the_run(checkpoint, tmp_path):
    published = torch.load(publish(checkpoint, tmp_path / 'plain.pth'), weights_only=True)
    assert set(published) == {'state_dict', 'meta'}
    assert published['meta'] == dict(
        dataset_meta=dict(classes=('WBC', 'RBC', 'Platelets'), palette=[[220, 20, 60], (119, 11, 32), (0, 0, 142)]),
        iter=300,
        mmengine_version='0.10.12',
    )


def test_name_ends_with_the_digest_and_repeats(checkpoint, tmp_path):
    first, second = publish(checkpoint, tmp_path / 'a/plain.pth'), publish(checkpoint, tmp_path / 'b/plain')
    assert first.name == second.name == f'plain-{hashlib.sha256(first.read_bytes()).hexdigest()[:8]}.pth'


def test_averaged_weights_of_ema_hook_are_what_is_published(checkpoint, tmp_path):
    """EMAHook puts them into `state_dict`; the raw ones, in `ema_state_dict`, go unless asked for."""
    loaded = torch.load(checkpoint, weights_only=False)
    loaded['ema_state_dict'] = {key: value + 1 for key, value in loaded['ema_state_dict'].items()}
    torch.save(loaded, checkpoint)
    published = torch.load(publish(checkpoint, tmp_path / 'plain.pth'), weights_only=True)
    assert all(value.equal(loaded['state_dict'][key]) for key, value in published['state_dict'].items())
    both = publish(checkpoint, tmp_path / 'both.pth', save_keys=['state_dict', 'ema_state_dict'])
    both = torch.load(both, weights_only=True)
    assert list(both['ema_state_dict']) == [f'module.{key}' for key in both['state_dict']]


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.img_backbone.'])
def test_local_learning_lies_under_one_prefix(prefix):
    local = [
        f'local.{place}.{part}' for place in ('layer1_2', 'stem') for part in ('auxiliary.scale', 'head.conv.weight')
    ]
    plain = [
        f'{prefix}layer1.weight',
        f'{prefix}localizer.weight',
        'head.local.weight',
        'neck.local.block1.conv.weight',
    ]
    state = dict.fromkeys([*plain, *(prefix + key for key in local), f'{prefix}local.more'])
    assert list(plain_state_dict(state)) == plain


def test_plain_state_stays_whole():
    state = {'backbone.conv1.weight': torch.ones(1), 'bbox_head.local.weight': torch.ones(1)}
    assert plain_state_dict(state) == state


def run_tool(*args) -> subprocess.CompletedProcess:
    tool = ROOT / 'tools/model_converters/publish_model.py'
    return subprocess.run([sys.executable, tool, *args], capture_output=True, text=True)


def test_tool_prints_the_path(checkpoint, tmp_path):
    run = run_tool(checkpoint, tmp_path / 'plain.pth')
    (path,) = tmp_path.glob('plain-*.pth')
    assert run.returncode == 0 and run.stdout.strip().endswith(str(path))


@pytest.mark.parametrize('content', [None, 'text', {'model': {}}, {'state_dict': 1}, [1]])
def test_one_line_for_what_is_no_checkpoint(content, tmp_path):
    path = tmp_path / 'in.pth'
    if content == 'text':
        path.write_text('not a checkpoint')
    elif content is not None:
        torch.save(content, path)
    with pytest.raises((FileNotFoundError, ValueError), match='in.pth') as error:
        publish(path, tmp_path / 'out.pth')
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.glob('out*'))


def test_one_line_for_save_keys_that_do_not_fit(checkpoint, tmp_path):
    with pytest.raises(ValueError, match='has no optimiser to save; it has .*optimizer'):
        publish(checkpoint, tmp_path / 'out.pth', ['state_dict', 'optimiser'])
    with pytest.raises(ValueError, match='cannot publish message_hub'):
        publish(checkpoint, tmp_path / 'out.pth', ['state_dict', 'message_hub'])
    assert not list(tmp_path.glob('out*'))


def test_tool_fails_with_one_line(tmp_path):
    run = run_tool(tmp_path / 'missing.pth', tmp_path / 'out.pth')
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == f"publish_model.py: there is no checkpoint '{tmp_path / 'missing.pth'}'"
    assert 'Traceback' not in run.stderr
