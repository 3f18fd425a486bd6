#!/usr/bin/env python
"""Test error of ResNet-32 in 16 blocks on CIFAR-10: host methods, MAN, MAN++, its ablation (paper, Tables I and VII).

Without options this is the paper's recipe, 400 epochs of 1024 images a step for every row and seed. Each finished run
is a JSON file in the work dir, and is not repeated: stop and start again at will, or share out rows and seeds among
processes. The table holds all runs found there that have the same settings.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/classification'
MAN_PLUS_PLUS = dict(type='mmman.MomentumAuxiliary')
AUXILIARIES = {
    'host': None,
    'ema': dict(MAN_PLUS_PLUS, learnable_bias=False),
    'lb': dict(MAN_PLUS_PLUS, ema=False),
    'man': dict(MAN_PLUS_PLUS, scale=False),
    'manpp': MAN_PLUS_PLUS,
    'two_biases': dict(type='mmman.TwoBiasesAuxiliary'),
}
ROWS = ['e2e', *(f'dgl_{name}' for name in AUXILIARIES), *(f'infopro_{name}' for name in ('host', 'man', 'manpp'))]


def config_of(row: str, seed: int, args: argparse.Namespace) -> Config:
    """The config of one run: the shipped one, with another auxiliary network and the length that was asked for."""
    host, _, auxiliary = row.partition('_')
    name = 'resnet32_e2e_cifar10.py' if host == 'e2e' else f'resnet32_{host}_manpp_k16_cifar10.py'
    cfg = Config.fromfile(CONFIGS / name)
    if host != 'e2e':
        cfg.merge_from_dict({'model.backbone.auxiliary': None})
        cfg.model.backbone.auxiliary = AUXILIARIES[auxiliary]
    cfg.work_dir = str(args.work_dir / f'{row}_seed{seed}')
    cfg.experiment_name = f'{row}_seed{seed}'
    cfg.randomness = dict(seed=seed)

    warm_up = max(1, round(cfg.param_scheduler[0].end * args.epochs / cfg.train_cfg.max_epochs))
    cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = warm_up
    cfg.param_scheduler[1].update(end=args.epochs, T_max=max(1, args.epochs - warm_up))
    cfg.train_cfg.update(max_epochs=args.epochs, val_interval=args.epochs)
    cfg.default_hooks.checkpoint.update(interval=args.epochs, max_keep_ckpts=1)
    cfg.optim_wrapper.optimizer.lr *= args.batch_size / cfg.auto_scale_lr.base_batch_size
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper' if torch.cuda.is_available() else 'mmman.CPUAmpOptimWrapper'
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        loader.update(num_workers=args.num_workers, persistent_workers=args.num_workers > 0)
        loader.collate_fn = dict(type='default_collate')
        loader.dataset.data_root = args.data_root
        if args.no_checksums:
            loader.dataset.type = 'UncheckedCIFAR10'
    cfg.train_dataloader.batch_size = args.batch_size
    cfg.train_dataloader.drop_last = True
    return cfg


def run(row: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and test; returns the record that is kept."""
    runner = RUNNERS.build(config_of(row, seed, args))
    runner.model.to(memory_format=torch.channels_last)  # the same numbers, faster
    start = time.time()
    runner.train()
    accuracy = runner.message_hub.get_scalar('val/accuracy/top1').current()
    return dict(settings_of(args), row=row, seed=seed, error=100 - accuracy, seconds=round(time.time() - start))


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What runs must have in common to be compared."""
    names = ('epochs', 'batch_size', 'amp')
    return {**{name: getattr(args, name) for name in names}, 'data_root': str(Path(args.data_root).resolve())}


def table(args: argparse.Namespace) -> str:
    """The test errors of all runs in the work dir that have these settings, as Markdown."""
    records = [json.loads(file.read_text()) for file in sorted(args.work_dir.glob('*.json'))]
    records = [record for record in records if settings_of(args).items() <= record.items()]
    lines = ['| row | seeds | test error % | mean |', '|---|---|---|---|']
    for row in ROWS:
        found = sorted((record['seed'], record['error']) for record in records if record['row'] == row)
        if found:
            errors = [error for _, error in found]
            seeds, listed = ', '.join(str(seed) for seed, _ in found), ', '.join(f'{error:.2f}' for error in errors)
            lines.append(f'| {row} | {seeds} | {listed} | {statistics.mean(errors):.2f} |')
    return '\n'.join(lines)


def commit() -> str:
    """The commit that is run, with a mark where the tree differs from it."""
    command = ['git', '-C', str(CONFIGS), 'describe', '--always', '--dirty', '--exclude=*']
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=ROWS)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, default=400)
    parser.add_argument('--batch-size', type=int, default=1024, help='the learning rate follows linearly from 0.8')
    parser.add_argument('--amp', action='store_true', help='mixed precision, for all rows alike')
    parser.add_argument('--data-root', default=os.environ.get('MMMAN_CIFAR10_ROOT', 'data/cifar10/'))
    parser.add_argument('--no-checksums', action='store_true', help='take a part of CIFAR-10 for the whole')
    parser.add_argument('--num-workers', type=int, default=4)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/hosts_cifar10'))
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error(f'--epochs must be at least 2, since the first one warms up; got {args.epochs}')
    args.work_dir.mkdir(parents=True, exist_ok=True)
    source = commit()
    for seed in args.seeds:
        for row in args.rows:
            file = args.work_dir / f'{row}_seed{seed}_{args.epochs}e{"_amp" if args.amp else ""}.json'
            if not file.exists():
                record = run(row, seed, args)
                file.write_text(json.dumps(dict(record, commit=source, torch=torch.__version__)) + '\n')
    print(table(args))


if __name__ == '__main__':
    main()
