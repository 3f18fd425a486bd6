"""Runs of a toy model in a second: two weights, ten items, and a metric that is better every second time."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from scenarios.resumption import stop_workers


def draw() -> float:
    """A number that all generators have a part in."""
    return random.random() + np.random.rand() + torch.rand(()).item()


class Noisy(Dataset):
    """Ten items, each with what all generators give as it is loaded."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([index / 10, draw()]))


class Toy(BaseModel):
    """A linear layer behind dropout; predictions are random numbers."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, inputs, mode='tensor'):
        if mode == 'predict':
            return [draw()]
        x = torch.nn.functional.dropout(torch.stack(inputs), training=True)
        return dict(loss=self.linear(x).pow(2).mean())


@METRICS.register_module()
class Best(BaseMetric):
    """``acc`` is better, worse, better, ... from one validation to the next, ``other`` always better."""

    def __init__(self, gain=1):
        super().__init__()
        self.gain = gain
        self.count = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.count += 1
        value = self.gain * self.count
        return dict(acc=value if self.count % 2 else -value, other=value)


class Record(Hook):
    """Notes the batches, and draws as an epoch begins: before or behind the checkpoint that is resumed from."""

    def __init__(self):
        self.batches = []

    def before_train_epoch(self, runner):
        draw()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append((runner.epoch, runner.iter, batch_idx, torch.stack(data_batch['inputs']).tolist()))


def train(
    work_dir: Path,
    epochs: int | None = None,
    iters: int = 10,
    num_workers: int = 0,
    loader: dict | tuple = (),
    checkpoint: dict | tuple = (),
    loop: dict | tuple = (),
    gain: float | None = None,
    **cfg: Any,
) -> tuple[Runner, list[tuple]]:
    """Train with a checkpoint after every iteration. Batches of 2, so epochs of 5 iterations.

    Args:
        work_dir (Path): Where the run writes.
        epochs (int, optional): For a loop of epochs; None gives one of iterations.
        iters (int): Iterations of a loop of iterations.
        num_workers (int): Worker processes that load data.
        loader (dict): Entries of ``train_dataloader`` to set.
        checkpoint (dict): Entries of ``default_hooks.checkpoint`` to set.
        loop (dict): Entries of ``train_cfg`` to set.
        gain (float, optional): What the metrics are multiplied by; None validates never, else every second time.
        **cfg: Arguments of the runner to set.

    Returns:
        tuple[Runner, list[tuple]]: The runner, and of each batch epoch, iteration, number and items.
    """
    sampler = dict(type='DefaultSampler' if epochs else 'InfiniteSampler', shuffle=True)
    loader = dict(dict(batch_size=2, num_workers=num_workers, dataset=Noisy(), sampler=sampler), **dict(loader))
    train_cfg = dict(by_epoch=False, max_iters=iters)
    if epochs:
        train_cfg = dict(type='mmman.ResumableEpochBasedTrainLoop', max_epochs=epochs)
    checkpoint = dict(dict(type='mmman.ExactCheckpointHook', by_epoch=False, interval=1), **dict(checkpoint))
    record = Record()
    if gain is not None:
        cfg.update(
            val_dataloader=dict(dataset=Noisy(), sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(),
            val_evaluator=dict(type='Best', gain=gain),
        )
    runner = Runner(
        **{
            **dict(
                model=Toy(),
                work_dir=str(work_dir),
                train_dataloader=loader,
                train_cfg={**train_cfg, 'val_interval': 2, **dict(loop)},
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
                default_hooks=dict(checkpoint=checkpoint),
                custom_hooks=[record],
                randomness=dict(seed=3),
                experiment_name=f'{Path(work_dir).name}_{id(record)}',
                log_level='WARNING',
            ),
            **cfg,
        }
    )
    try:
        runner.train()
    finally:
        stop_workers()
    return runner, record.batches


def file(work_dir: Path, at: int) -> str:
    """The checkpoint behind an iteration."""
    return str(Path(work_dir) / f'iter_{at}.pth')
