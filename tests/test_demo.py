"""`make demo`, shortened: every step runs and leaves what it promises. (AP50 is checked by the demo itself.)"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> tuple[Path, str]:
    """The folder and the output of a demo of two iterations, run from elsewhere, over an earlier demo's results."""
    folder = tmp_path_factory.mktemp('demo')
    for name in ('pictures/old.png', 'retinanet_r18_bccd-0badf00d.pth', 'mine.txt'):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    env = {**os.environ, 'MMMAN_BCCD_ROOT': '/nowhere'}  # the demo is about the photos that it brings
    command = [sys.executable, ROOT / 'demo/run_demo.py', '--max-iters', '2', '--work-dir', folder]
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


@pytest.mark.parametrize(
    ('ap50', 'stock_ap50', 'options', 'status'),
    [(0.6, 0.6, [], 0), (0.5, 0.5, [], 1), (0.6, 0.59, [], 1), (0.1, 0.1, ['--max-iters', '2'], 0)],
)
def test_fails_where_accuracy_is_low_or_differs(ap50, stock_ap50, options, status, tmp_path, monkeypatch, capsys):
    for name in ('CUDA_VISIBLE_DEVICES', 'OMP_WAIT_POLICY', 'MMMAN_BCCD_ROOT'):
        monkeypatch.setenv(name, os.environ.get(name, ''))  # to undo what the demo does to this process
    monkeypatch.syspath_prepend(ROOT / 'demo')
    run_demo = importlib.import_module('run_demo')
    wrapped, stock = ({'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': value} for value in (ap50, stock_ap50))
    monkeypatch.setattr(run_demo, 'train', lambda *args: ('iter.pth', 'scalars.json', wrapped))
    monkeypatch.setattr(run_demo, 'test_stock', lambda *args: stock)
    for step in ('publish', 'draw', 'plot'):
        monkeypatch.setattr(run_demo, step, lambda *args: None)
    monkeypatch.setattr(sys, 'argv', ['run_demo.py', '--work-dir', str(tmp_path), *options])
    with pytest.raises(SystemExit) as exit_:
        run_demo.main()
    assert exit_.value.code == status
    assert ('FAILED' in capsys.readouterr().out) == bool(status)


def test_embedded_data_has_its_licence():
    data = ROOT / 'demo/data'
    for folder in data.iterdir():
        assert 'MIT License' in (folder / 'LICENSE').read_text()
