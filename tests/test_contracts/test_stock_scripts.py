"""Contract 5, from the command line: our scripts and mmdet's own take the same config, flags and checkpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'demo/configs/retinanet_r18_manpp_bccd.py'
SCRIPTS = {'mmman': ROOT / 'tools', 'mmdet': Path(mmdet.__path__[0], '.mim/tools')}
SMALL = [
    *(f'{part}_dataloader.{key}' for part in ('train', 'val', 'test') for key in ('num_workers=0', 'batch_size=2')),
    *(f'{part}_dataloader.persistent_workers=False' for part in ('train', 'val', 'test')),
    *(f'{part}_dataloader.dataset.indices=6' for part in ('train', 'val', 'test')),
    'train_dataloader.dataset.pipeline.2.scale=(96,72)',
    *(f'{part}_dataloader.dataset.pipeline.1.scale=(96,72)' for part in ('val', 'test')),
    'model.test_cfg.score_thr=0.0',
    'default_hooks.logger.interval=1',
]


def script(owner: str, name: str, *args, iters: int | None = None) -> str:
    options = list(SMALL)
    if iters is not None:
        options += [f'train_cfg.max_iters={iters}', f'train_cfg.val_interval={iters}']
        options += [f'default_hooks.checkpoint.interval={iters}']
    command = [sys.executable, SCRIPTS[owner] / name, CONFIG, *args, '--cfg-options', *options]
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    run = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:]
    return run.stdout


def logged(work_dir: Path, run: int) -> list[dict]:
    file = sorted(work_dir.glob('*/vis_data/scalars.json'))[run]
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> dict[str, Path]:
    """Two iterations with mixed precision and a scaled learning rate, by each of the two scripts."""
    folders = {}
    for owner in SCRIPTS:
        folders[owner] = tmp_path_factory.mktemp(owner)
        script(owner, 'train.py', '--work-dir', folders[owner], '--amp', iters=2)
    return folders


def test_both_train_scripts_log_all_losses_and_evaluate(trained):
    losses = {}
    for owner, folder in trained.items():
        lines = logged(folder, run=0)
        steps = [line for line in lines if 'loss' in line]
        assert [line['step'] for line in steps] == [1, 2]
        for i in (1, 2, 3):
            assert {f'local{i}.{name}' for name in ('loss', 'loss_cls', 'loss_bbox', 'scale')} <= set(steps[0])
        assert any('coco/bbox_mAP' in line for line in lines)
        losses[owner] = [[v for k, v in line.items() if 'loss' in k] for line in steps]
    assert losses['mmman'] == losses['mmdet']


@pytest.mark.parametrize('owner', SCRIPTS)
def test_resume_goes_on_from_the_other_scripts_checkpoint(owner, trained):
    other = trained['mmdet' if owner == 'mmman' else 'mmman']
    output = script(owner, 'train.py', '--work-dir', other, '--amp', '--resume', iters=3)
    assert 'resumed epoch: 0, iter: 2' in output
    assert [line['step'] for line in logged(other, run=-1) if 'loss' in line] == [3]
    assert (other / 'iter_3.pth').exists()


def test_both_test_scripts_repeat_the_validations_map(trained):
    expected = next(line for line in logged(trained['mmman'], run=0) if 'coco/bbox_mAP' in line)
    for owner in SCRIPTS:
        folder = trained[owner] / 'test'
        script(owner, 'test.py', trained['mmman'] / 'iter_2.pth', '--work-dir', folder)
        (file,) = folder.glob('*/*.json')
        got = json.loads(file.read_text())
        assert {k: v for k, v in got.items() if 'coco/' in k} == {k: v for k, v in expected.items() if 'coco/' in k}
