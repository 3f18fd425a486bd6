"""Training on several processes, each with its part of every batch."""

import copy
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from torch import nn

from .cases import CASES
from .training import build_model, optim_wrapper_for

STEPS = 4
GROUP_NORM = dict(type='GN', num_groups=4)  # no statistics over the batch, of which a process has a part only


def _classifier() -> ConfigDict:
    cfg = CASES['resnet-greedy'].model(4)
    cfg.backbone.backbone.norm_cfg = GROUP_NORM
    return cfg


def _segmentor() -> ConfigDict:
    cfg = CASES['segmentor-fcn'].model(4)
    cfg.backbone.backbone.norm_cfg = GROUP_NORM
    for head in (cfg.decode_head, cfg.auxiliary_head, cfg.backbone.local_head.head):
        head.update(norm_cfg=GROUP_NORM, dropout_ratio=0)
    return cfg


TASKS = {'classifier': (_classifier, 'resnet-greedy'), 'segmentor': (_segmentor, 'segmentor-fcn')}


def model_of(task: str, frozen: bool) -> nn.Module:
    """A model without BatchNorm and dropout, for one of ``TASKS``; with the first stage frozen on request."""
    cfg = TASKS[task][0]()
    if frozen:
        cfg.backbone.backbone.frozen_stages = 1
    return build_model(cfg)


def batches_of(task: str) -> list[dict]:
    """``STEPS`` training batches."""
    return [CASES[TASKS[task][1]].batch(seed) for seed in range(STEPS)]


def counted_optim_wrapper(model: nn.Module, options: dict[str, Any]) -> OptimWrapper:
    """An optimizer wrapper that knows the length of training."""
    wrapper = optim_wrapper_for(model, **options)
    wrapper.initialize_count_status(model, 0, STEPS)
    return wrapper


def train_on_processes(world_size: int, folder: Path, task: str, frozen: bool, options: dict[str, Any]) -> list[list]:
    """Train one model on several gloo processes.

    Args:
        world_size (int): Number of processes.
        folder (Path): An empty folder.
        task (str): One of ``TASKS``.
        frozen (bool): Whether the first stage is frozen.
        options (dict): Entries of the ``optim_wrapper`` config.

    Returns:
        list[list[dict]]: Every process's state dict after every step.
    """
    mp.spawn(_train_a_part, (world_size, str(folder), task, frozen, options), nprocs=world_size)
    return [torch.load(folder / f'{rank}.pth') for rank in range(world_size)]


def _train_a_part(rank: int, world_size: int, folder: str, task: str, frozen: bool, options: dict[str, Any]) -> None:
    import mmman.classification  # noqa: F401
    from mmman.engine import LocalDistributedDataParallel

    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world_size)
    model = model_of(task, frozen)
    if rank:
        with torch.no_grad():  # wrapping has to send rank 0's
            for param in model.parameters():
                param.add_(1)
    wrapped = LocalDistributedDataParallel(model, device_ids=[rank])
    wrapper = counted_optim_wrapper(wrapped, options)
    states = []
    for batch in batches_of(task):
        part = {key: copy.deepcopy(value[rank::world_size]) for key, value in batch.items()}
        wrapped.train_step(part, wrapper)
        states.append(copy.deepcopy(model.state_dict()))
    torch.save(states, f'{folder}/{rank}.pth')
    dist.destroy_process_group()
