"""Runs whose every part draws random numbers, to be stopped, killed and resumed."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmcv.transforms import BaseTransform
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.runner import Runner

from scenarios.runner import run, tiny_run_cfg


@TRANSFORMS.register_module()
class DrawFromAllGenerators(BaseTransform):
    """Shifts an image's brightness by what Python's, numpy's and torch's generators give."""

    def transform(self, results: dict) -> dict:
        """Shift ``results['img']``."""
        shift = random.random() + np.random.rand() + torch.rand(()).item()
        results['img'] = (results['img'] * 0.8 + 10 * shift).astype(np.uint8)
        return results


@MODELS.register_module()
class NoisyDataPreprocessor(DetDataPreprocessor):
    """mmdet's, with noise on the training batch: the training process draws random numbers, too."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """Collate, normalise and, in training, add noise to the images."""
        data = super().forward(data, training)
        if training:
            data['inputs'] = data['inputs'] + 0.1 * torch.randn_like(data['inputs'])
        return data


def random_run_cfg(
    num_blocks: int | None,
    work_dir: Path,
    data_root: Path,
    max_epochs: int | None = None,
    num_workers: int = 0,
    **cfg: Any,
) -> Config:
    """Config of a run with random augmentation in the pipeline and in the model; a checkpoint every 4 iterations.

    Args:
        num_blocks (int, optional): K; None for the plain mmdet model.
        work_dir (Path): Where the run writes.
        data_root (Path): Folder with ``annotations/`` and ``train2017/``.
        max_epochs (int, optional): For a loop of epochs of 3 batches each, the last of one photo. None gives a loop of
            iterations.
        num_workers (int): Worker processes that load data. Defaults to 0.
        **cfg: Arguments of :func:`scenarios.runner.tiny_run_cfg`, and top-level entries to merge into the config.

    Returns:
        Config: The config.
    """
    base = tiny_run_cfg(num_blocks, work_dir, data_root, classes=('WBC', 'RBC', 'Platelets'))
    loader = base.train_dataloader
    loader.num_workers = num_workers
    loader.dataset.pipeline[-1:-1] = [
        dict(type='RandomFlip', prob=0.5),
        dict(type='DrawFromAllGenerators'),
    ]
    loader.dataset.indices = 5
    base.model.data_preprocessor.type = 'NoisyDataPreprocessor'
    base.default_hooks.checkpoint = dict(type='mmman.ExactCheckpointHook', by_epoch=False, interval=4)
    if max_epochs is not None:
        base.train_cfg = dict(type='mmman.ResumableEpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10**6)
        loader.sampler = dict(type='DefaultSampler', shuffle=True)
    base.merge_from_dict(cfg)
    return base


def assert_same_training(checkpoint: Path, expected: Path) -> None:
    """Assert that two checkpoints tell of the same training, to the last bit.

    Compared are weights, averaged weights, momenta, scalers, schedules, random states and the history of all that was
    logged but times.

    Args:
        checkpoint (Path): A file of a run that was resumed.
        expected (Path): A file of a run that was not.
    """
    got, wanted = (torch.load(path, weights_only=False) for path in (checkpoint, expected))
    logs = [
        {
            name: history._log_history
            for name, history in part['message_hub']['log_scalars'].items()
            if 'time' not in name
        }
        for part in (got, wanted)
    ]
    assert 'train/loss' in logs[1]
    _assert_equal(*logs, 'log')
    parts = {'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'exact_resume'} & set(wanted)
    for part in sorted(parts):
        _assert_equal(got[part], wanted[part], part)


def _assert_equal(value: Any, expected: Any, where: str) -> None:
    assert type(value) is type(expected), where
    if isinstance(expected, dict):
        assert list(value) == list(expected), where
        for key in expected:
            _assert_equal(value[key], expected[key], f'{where}.{key}')
    elif isinstance(expected, list | tuple):
        assert len(value) == len(expected), where
        for i, (item, expected_item) in enumerate(zip(value, expected)):
            _assert_equal(item, expected_item, f'{where}.{i}')
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(value, expected), where
    elif isinstance(expected, np.ndarray):
        assert np.array_equal(value, expected), where
    else:
        assert value == expected, where


def stop_workers() -> None:
    """End the data workers of a loop of iterations; left to Python's garbage collector that takes five seconds each."""
    for child in multiprocessing.active_children():
        child.terminate()
        child.join()


# What a process was doing when it was killed: the name of a function of `os`, which call of it, and whether the signal
# comes after the call.
Moment = tuple[str, int, bool]


def train_until_killed(cfg: dict, resume: bool, moment: Moment | None) -> None:
    """Train, in a process of its own, and send SIGKILL to it at an exact moment.

    Args:
        cfg (dict): The run's config.
        resume (bool): Whether to resume from the latest checkpoint.
        moment (tuple, optional): ``('fsync', 2, False)`` is when half of the second file of the run is on the disk.
            None lets the run end.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    os.fsync = lambda descriptor: None  # a kill takes nothing from what the system holds, and a busy disk is slow
    if moment is not None:
        name, count, after = moment
        setattr(os, name, _deadly(name, count, after))
    run(Config({**cfg, 'resume': resume}))


def _deadly(name: str, count: int, after: bool) -> Callable:
    function, calls = getattr(os, name), 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and not after:
            if name == 'fsync':
                os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def train_on_two_processes(cfgs: list[Config], folder: Path) -> list[list[dict]]:
    """Train on two gloo processes, as ``--launcher pytorch`` does, one run after the other.

    Args:
        cfgs (list[Config]): The runs' configs.
        folder (Path): Where the processes meet; made if there is none.

    Returns:
        list[list[dict]]: Of each run and process, the model's ``state`` and the history of its own ``losses``.
    """
    folder.mkdir(parents=True)
    mp.spawn(_train_one_of_two, ([cfg.to_dict() for cfg in cfgs], str(folder)), nprocs=2)
    ranks = [torch.load(folder / f'{rank}.pth', weights_only=False) for rank in range(2)]
    return [list(runs) for runs in zip(*ranks)]


def _train_one_of_two(rank: int, cfgs: list[dict], folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
    # mmengine would ask for a GPU for every process.
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    results = []
    for cfg in cfgs:
        runner: Runner = run(Config({**cfg, 'launcher': 'pytorch'}))
        losses = runner.message_hub.get_scalar('train/loss')._log_history
        results.append(dict(state=runner.model.module.state_dict(), losses=losses))
    torch.save(results, f'{folder}/{rank}.pth')
    dist.destroy_process_group()
