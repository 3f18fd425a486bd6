"""tools/dist_train.sh trains in blocks on two processes: evaluation over both, checkpoints, resume."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from scenarios.runner import tiny_run_cfg

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'demo' / 'data' / 'bccd_coco'


def dist_train(config: Path, *options: str) -> str:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    env = dict(os.environ, PYTHON=sys.executable, PORT=port, OMP_NUM_THREADS='1')
    command = ['bash', str(ROOT / 'tools' / 'dist_train.sh'), str(config), '2', *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_two_processes_train_evaluate_save_and_resume(tmp_path):
    cfg = tiny_run_cfg(4, tmp_path / 'work', DATA, max_iters=2, classes=('WBC', 'RBC', 'Platelets'))
    cfg.merge_from_dict(
        dict(
            custom_imports=dict(imports=['mmman'], allow_failed_imports=False),
            model_wrapper_cfg=dict(type='mmman.LocalDistributedDataParallel'),
            train_cfg=dict(val_interval=2),
            val_cfg=dict(),
            val_dataloader=dict(
                batch_size=1,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(cfg.train_dataloader.dataset, test_mode=True, indices=3),
            ),
            val_evaluator=dict(
                type='CocoMetric', ann_file=str(DATA / 'annotations/instances_train2017.json'), metric='bbox'
            ),
            log_level='INFO',
        )
    )
    cfg.dump(tmp_path / 'config.py')
    log = dist_train(tmp_path / 'config.py')
    assert 'Iter(train) [2/2]' in log and 'local3.loss' in log
    # Three images on two processes: each is given two, and the fourth is not counted.
    assert 'Iter(val) [2/2]' in log and 'coco/bbox_mAP: ' in log

    log = dist_train(tmp_path / 'config.py', '--resume', '--cfg-options', 'train_cfg.max_iters=3')
    assert 'resumed epoch: 0, iter: 2' in log and 'Iter(train) [3/3]' in log
    first, last = (torch.load(tmp_path / 'work' / f'iter_{i}.pth', weights_only=False) for i in (2, 3))
    assert list(last['optimizer']) == ['block1', 'block2', 'block3', 'block4']
    names = [name for name in first['state_dict'] if name.endswith('conv1.weight') and '.ema.' not in name]
    assert not [name for name in names if torch.equal(first['state_dict'][name], last['state_dict'][name])]
