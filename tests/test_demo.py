"""`make demo` and `make demo-seg`, shortened: every step runs and leaves what it promises.

(Accuracy is checked by the demos themselves.)
"""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmman.apis import complete_config
from mmman.apis.runner import prepare_config

ROOT = Path(__file__).parents[1]
DEMOS = {  # script: the published file's name, and the variable that names the photos' folder
    'run_demo': ('retinanet_r18_bccd', 'MMMAN_BCCD_ROOT'),
    'run_demo_seg': ('deeplabv3_r18_coco_free', 'MMMAN_COCO_FREE_ROOT'),
}
LOCAL_CONFIGS = sorted((ROOT / 'demo/configs').glob('*_manpp_*.py'))
PLANNED = ROOT / 'demo/configs/retinanet_r18_manpp_300mb_bccd.py'  # changes losses and unused outputs, too


@pytest.fixture(scope='module', params=DEMOS)
def demo(request, tmp_path_factory) -> tuple[Path, str]:
    """The folder and the output of a demo of two iterations, run from elsewhere, over an earlier demo's results."""
    folder = tmp_path_factory.mktemp('demo')
    published, root = DEMOS[request.param]
    for name in ('pictures/old.png', f'{published}-0badf00d.pth', 'mine.txt'):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    env = {**os.environ, root: '/nowhere'}  # the demo is about the photos that it brings
    command = [sys.executable, ROOT / f'demo/{request.param}.py', '--max-iters', '2', '--work-dir', folder]
    run = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    return folder, run.stdout


def test_says_what_happens_and_names_its_folder_last(demo):
    folder, output = demo
    assert '2 iterations' in output
    assert output.rstrip().splitlines()[-1].endswith(str(folder))


def test_table_has_both_models(demo):
    rows = [line.split() for line in demo[1].splitlines() if line.startswith(('trained with', 'published, in'))]
    assert len(rows) == 2
    assert rows[0][-2:] == rows[1][-2:]


def test_leaves_pictures_plot_and_plain_checkpoint(demo):
    folder, _ = demo
    pictures = sorted((folder / 'pictures').iterdir())
    assert len(pictures) == 4
    for file in (*pictures, folder / 'losses.png'):
        assert file.suffix == '.png' and file.stat().st_size > 10_000
    (published,) = folder.glob('*.pth')
    state = torch.load(published, weights_only=True)['state_dict']
    assert state and not any('local' in key for key in state)


def test_keeps_what_is_not_its_own(demo):
    assert (demo[0] / 'mine.txt').exists()


@pytest.fixture
def load_demo(tmp_path, monkeypatch):
    """Import a demo, with all that takes time replaced; the two tests give the metrics that are passed."""
    for name in ('CUDA_VISIBLE_DEVICES', 'OMP_WAIT_POLICY', *(root for _, root in DEMOS.values())):
        monkeypatch.setenv(name, os.environ.get(name, ''))  # to undo what the demo does to this process
    monkeypatch.syspath_prepend(ROOT / 'demo')

    def load(name: str, wrapped: dict[str, float], stock: dict[str, float], options: list[str]):
        demo = importlib.import_module(name)
        monkeypatch.setattr(demo.common, 'train', lambda *args: ('iter.pth', wrapped))
        monkeypatch.setattr(demo.common, 'test_stock', lambda *args: stock)
        monkeypatch.setattr(demo.common, 'metrics_of', lambda log, names: log)
        monkeypatch.setattr(demo.common, 'plot', lambda *args: None)
        for step in ('publish', 'draw'):
            monkeypatch.setattr(demo, step, lambda *args: None)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--work-dir', str(tmp_path), *options])
        return demo

    return load


@pytest.mark.parametrize(
    ('ap50', 'stock_ap50', 'options', 'status'),
    [(0.6, 0.6, [], 0), (0.5, 0.5, [], 1), (0.6, 0.59, [], 1), (0.1, 0.1, ['--max-iters', '2'], 0)],
)
def test_fails_where_accuracy_is_low_or_differs(ap50, stock_ap50, options, status, load_demo, capsys):
    metrics = ({'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': value} for value in (ap50, stock_ap50))
    run_demo = load_demo('run_demo', *metrics, options)
    with pytest.raises(SystemExit) as exit_:
        run_demo.main()
    assert exit_.value.code == status
    assert ('FAILED' in capsys.readouterr().out) == bool(status)


@pytest.mark.parametrize(
    ('miou', 'stock_miou', 'by_place', 'options', 'status'),
    [
        (9.0, 9.0, 3.0, [], 0),
        (7.9, 7.9, 3.0, [], 1),  # not twice the constant prediction's
        (9.0, 9.0, 9.5, [], 1),
        (9.0, 9.01, 3.0, [], 1),
        (1.0, 1.0, 3.0, ['--max-iters', '2'], 0),
    ],
)
def test_segmentation_fails_where_accuracy_is_low_or_differs(
    miou, stock_miou, by_place, options, status, load_demo, monkeypatch, capsys
):
    wrapped, stock, constant, place = (dict(mIoU=value, aAcc=20.0) for value in (miou, stock_miou, 4.0, by_place))
    run_demo = load_demo('run_demo_seg', wrapped, stock, options)
    monkeypatch.setattr(run_demo, 'baselines', lambda: {'everywhere': constant, 'at each place': place})
    with pytest.raises(SystemExit) as exit_:
        run_demo.main()
    assert exit_.value.code == status
    assert ('FAILED' in capsys.readouterr().out) == bool(status)


def test_segmentation_baselines(load_demo, monkeypatch):
    run_demo = load_demo('run_demo_seg', {}, {}, [])
    monkeypatch.setattr(run_demo, 'photos', lambda part: ([dict(labels=labels[part])], dict(classes='abcd')))
    left_right = torch.tensor([[0, 1], [0, 1], [0, 255]]).repeat_interleave(32, 0).repeat_interleave(32, 1)
    labels = dict(train=left_right, val=left_right)
    constant, by_place = run_demo.baselines().values()
    assert constant == pytest.approx(dict(mIoU=30.0, aAcc=60.0))  # 3/5 and 0; the classes that are nowhere do not count
    assert by_place == pytest.approx(dict(mIoU=100.0, aAcc=100.0))


@pytest.mark.parametrize('path', [path for path in LOCAL_CONFIGS if path != PLANNED], ids=lambda path: path.stem)
def test_twin_differs_in_the_local_learning_lines_only(path):
    twin_path = path.with_name(re.search(r'^# (?:.* )?Twin: (\S+\.py)', path.read_text(), re.MULTILINE).group(1))
    assert f'Twin: {path.name}' in twin_path.read_text()
    ours, twin = complete_config(Config.fromfile(path)).to_dict(), Config.fromfile(twin_path).to_dict()
    wrapper = ours['model']['backbone']
    assert wrapper.pop('type') == 'mmman.LocalBackbone'
    ours['model']['backbone'] = wrapper['backbone']
    assert ours['optim_wrapper'].pop('constructor') == 'mmman.LocalOptimWrapperConstructor'
    assert ours['default_hooks']['checkpoint'].pop('type') == 'mmman.ExactCheckpointHook'
    assert twin['default_hooks']['checkpoint'].pop('type') == 'CheckpointHook'
    for key in ('custom_imports', 'custom_hooks', 'model_wrapper_cfg'):
        del ours[key]
    assert ours == twin
    assert 'custom_imports' not in twin  # it is read where mmman is not installed


def test_the_planned_config_trains_as_long_for_the_same_plain_checkpoint():
    twin = Config.fromfile(PLANNED.with_name('retinanet_r18_e2e_bccd.py'))
    planned = prepare_config(Config.fromfile(PLANNED))
    for key in ('train_cfg', 'param_scheduler', 'train_dataloader', 'val_dataloader'):
        assert planned[key] == twin[key]
    states = [MODELS.build(cfg.model).state_dict() for cfg in (planned, twin)]
    shapes = [{k: v.shape for k, v in state.items() if not k.startswith('backbone.local.')} for state in states]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(('folder', 'licence'), [('bccd_coco', 'MIT License'), ('coco_free', 'Creative Commons')])
def test_embedded_data_has_its_licence(folder, licence):
    assert licence in (ROOT / 'demo/data' / folder / 'LICENSE').read_text()


def test_licence_of_every_embedded_folder_is_checked_and_every_photo_attributed():
    data = ROOT / 'demo/data'
    assert sorted(folder.name for folder in data.iterdir()) == ['bccd_coco', 'coco_free']
    photos = {file.relative_to(data / 'coco_free').as_posix() for file in (data / 'coco_free').glob('*2017/*.jpg')}
    lines = (data / 'coco_free/ATTRIBUTION.csv').read_text().splitlines()
    assert photos == {line.split(',')[0] for line in lines[1:]}
