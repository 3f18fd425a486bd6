"""Runs functions on several gloo processes, and the small models that are trained there."""

import copy
import datetime
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import ConfigDict
from torch import nn

from mmman.testing.cases import CASES
from mmman.testing.detection import tiny_batch
from mmman.testing.family_cases import FAMILY_CASES
from scenarios.training import build_model

WORLD_SIZE = 2
STEPS = 4
GROUP_NORM = dict(type='GN', num_groups=4)  # no statistics over the batch, of which a process has a part only
PATIENCE = datetime.timedelta(seconds=60)  # what waits longer for another process has been left alone


def on_processes(
    scenarios: dict[str, Callable[[], Any]], folder: Path, world_size: int = WORLD_SIZE
) -> dict[str, list[Any]]:
    """Run functions, one after the other, on each of several gloo processes.

    Starting a process takes ten times as long as most scenarios do: run many at a time.

    Args:
        scenarios (dict): Functions of a module (or partials of one) without arguments, and a name for each.
        folder (Path): An empty folder.
        world_size (int): Number of processes. Defaults to ``WORLD_SIZE``.

    Returns:
        dict[str, list]: For each name, what the function returned on each process.
    """
    mp.spawn(_run, (world_size, scenarios, str(folder)), nprocs=world_size)
    results = [torch.load(folder / f'{rank}.pth', weights_only=False) for rank in range(world_size)]
    return {name: [result[name] for result in results] for name in scenarios}


def _run(rank: int, world_size: int, scenarios: dict[str, Callable[[], Any]], folder: str) -> None:
    import mmdet.models  # noqa: F401
    from mmengine.registry import init_default_scope

    import mmman.classification  # noqa: F401

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    init_default_scope('mmdet')
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world_size, timeout=PATIENCE
    )
    results = {}
    for name, scenario in scenarios.items():
        results[name] = scenario()
        dist.barrier()
    torch.save(results, f'{folder}/{rank}.pth')
    dist.destroy_process_group()


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


def _detector() -> ConfigDict:
    cfg = CASES['retinanet-retina'].model(4)
    cfg.backbone.backbone.norm_cfg = GROUP_NORM
    return cfg


def same_boxes_batch(seed: int) -> dict:
    """A detection batch of four images with the same two sets of boxes in both halves, for two processes.

    RetinaNet divides its losses by the number of positive anchors of its own part of the batch. Only where each
    process has as many (in every local head) is the average of their gradients that of the joint batch; under mmdet's
    own data parallel training it is no different. The images differ, so that a gradient left local shows.
    """
    first, second = tiny_batch(seed, (3, 2)), tiny_batch(seed + 100, (3, 2))
    # Every second image goes to the same process.
    pairs = list(zip(first['inputs'], second['inputs'], strict=True))
    samples = [copy.deepcopy(sample) for sample in first['data_samples'] for _ in range(WORLD_SIZE)]
    return dict(inputs=[image for pair in pairs for image in pair], data_samples=samples)


def two_batches(batch_of: Callable[[int], dict], seed: int) -> dict:
    """Two batches in one, each of which goes to one process: a part of one is too small for BatchNorm."""
    first, second = batch_of(seed), batch_of(seed + 100)
    return {key: [x for pair in zip(first[key], second[key], strict=True) for x in pair] for key in first}


TASKS: dict[str, tuple[Callable[[], ConfigDict], Callable[[int], dict]]] = {
    'classifier': (_classifier, CASES['resnet-greedy'].batch),
    'segmentor': (_segmentor, CASES['segmentor-fcn'].batch),
    'detector': (_detector, same_boxes_batch),
}
FAMILIES = {
    name: (partial(case.model, case.num_blocks), partial(two_batches, case.batch))
    for name, case in FAMILY_CASES.items()
}


def model_of(task: str, frozen: bool = False) -> nn.Module:
    """The model of one of ``TASKS``, which have neither BatchNorm nor dropout, or of a family's.

    Args:
        task (str): A key of ``TASKS`` or ``FAMILIES``.
        frozen (bool): Whether the first stage is frozen. Defaults to False.
    """
    cfg = (TASKS | FAMILIES)[task][0]()
    if frozen:
        cfg.backbone.backbone.frozen_stages = 1
    return build_model(cfg)


def batches_of(task: str, steps: int = STEPS) -> list[dict]:
    """Training batches, the joint ones of all processes."""
    return [(TASKS | FAMILIES)[task][1](seed) for seed in range(steps)]


def part_of(batch: dict, rank: int) -> dict:
    """What one process gets of a batch."""
    return {key: value[rank::WORLD_SIZE] for key, value in batch.items()}
