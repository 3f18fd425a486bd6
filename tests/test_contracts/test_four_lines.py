"""Contract 10 with contract 5: the toolboxes' own scripts train, resume and test a config of four lines."""

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOUR_LINES = """_base_ = '{base}'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(num_blocks=3)
"""
CLASSIFIER = """_base_ = ['mmpretrain::_base_/models/resnet18.py', 'mmpretrain::_base_/default_runtime.py']
model = dict(head=dict(num_classes=2, topk=1))
dataset = dict(type='CustomDataset', data_root='{photos}', with_label=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
dataset.update(pipeline=pipeline)
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'), dataset=dataset)
val_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator
train_cfg, val_cfg, test_cfg = dict(type='IterBasedTrainLoop'), dict(), dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(logger=dict(type='LoggerHook'), checkpoint=dict(type='CheckpointHook', by_epoch=False))
"""
STOCK = dict(
    mmdet=ROOT / 'demo/configs/retinanet_r18_e2e_bccd.py', mmseg=ROOT / 'demo/configs/deeplabv3_r18_e2e_coco_free.py'
)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SMALL = dict(
    mmdet=[
        *(f'{loader}.dataset.indices=4' for loader in LOADERS),
        *(f'{loader}.dataset.pipeline.{i}.scale=(96,72)' for loader, i in zip(LOADERS, (2, 1, 1), strict=True)),
        'model.test_cfg.score_thr=0.0',
    ],
    mmseg=[
        *(f'{loader}.dataset.indices=4' for loader in LOADERS),
        'train_dataloader.dataset.pipeline.2.scale=(80,80)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        *(f'{loader}.dataset.pipeline.1.scale=(80,80)' for loader in LOADERS[1:]),
        'model.data_preprocessor.size=(64,64)',
    ],
    mmpretrain=[],
)
METRIC = dict(mmdet='coco/bbox_mAP', mmseg='mIoU', mmpretrain='accuracy/top1')


@pytest.fixture(scope='module', params=STOCK | {'mmpretrain': None})
def case(request, tmp_path_factory):
    """The toolbox, and a folder with a config of four lines."""
    toolbox, folder = request.param, tmp_path_factory.mktemp(request.param)
    base = STOCK.get(toolbox)
    if base is None:
        for i in range(6):
            path = folder / 'photos' / f'class{i % 2}' / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype='uint8'))
        base = folder / 'stock.py'
        base.write_text(CLASSIFIER.format(photos=folder / 'photos'))
    (folder / 'mine.py').write_text(FOUR_LINES.format(base=base))
    return toolbox, folder


def script(toolbox: str, folder: Path, name: str, *args, iters: int, processes: int = 1) -> str:
    """Run a toolbox's own script; what it printed."""
    path = Path(importlib.import_module(toolbox).__file__).parent / '.mim/tools' / name
    options = [*SMALL[toolbox], f'train_cfg.max_iters={iters}', f'train_cfg.val_interval={iters}']
    options += [f'default_hooks.checkpoint.interval={iters}', 'default_hooks.logger.interval=1']
    options += [f'{loader}.num_workers=0' for loader in LOADERS] + ['train_dataloader.batch_size=2']
    options += [f'{loader}.persistent_workers=False' for loader in LOADERS]
    command = [path, folder / 'mine.py', *args, '--work-dir', folder / 'work', '--cfg-options', *options]
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        launcher = ['-m', 'torch.distributed.run', f'--nproc_per_node={processes}']
        launcher.append(f'--master_port={free.getsockname()[1]}')
    run = subprocess.run(
        list(map(str, [sys.executable, *(launcher if processes > 1 else []), *command])),
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    return run.stdout


def logged(folder: Path) -> list[dict]:
    """The lines of the newest run."""
    file = sorted(folder.glob('work/*/vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_toolbox_s_own_scripts_train_resume_and_test_it(case):
    toolbox, folder = case
    script(toolbox, folder, 'train.py', '--amp', iters=2)
    lines = logged(folder)
    steps = [line for line in lines if 'loss' in line]
    assert [line['step'] for line in steps] == [1, 2]
    assert {'local1.loss', 'local2.loss', 'local1.scale'} <= set(steps[0]) and 'local3.loss' not in steps[0]

    script(toolbox, folder, 'test.py', folder / 'work/iter_2.pth', iters=2)
    tested = json.loads(sorted(folder.glob('work/*/*.json'))[-1].read_text())
    assert tested[METRIC[toolbox]] == next(line[METRIC[toolbox]] for line in lines if METRIC[toolbox] in line)

    output = script(toolbox, folder, 'train.py', '--resume', '--launcher', 'pytorch', iters=3, processes=2)
    assert 'iter: 2' in output and 'Distributed training: True' in output
    assert [line['step'] for line in logged(folder) if 'loss' in line] == [3]
