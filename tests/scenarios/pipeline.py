"""What pipelines of small models do, and one process with the same delays; run by ``testing.distributed``."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmdet.utils import reduce_mean
from mmengine.model import convert_sync_batchnorm
from mmengine.runner import Runner
from torch import Tensor, nn

from mmman.models import LocalLearning, find_local_backbone
from mmman.pipeline import PipelineParallel
from mmman.pipeline.channel import Channel
from mmman.pipeline.mesh import Mesh, as_world
from mmman.testing import CASES, FAMILY_CASES, tiny_batch
from scenarios.runner import tiny_run_cfg
from scenarios.training import build_model, counted_optim_wrapper, optim_wrapper_for

STEPS = 5
ALL = CASES | FAMILY_CASES


def model_without_dropout(case: str, num_blocks: int = 4) -> nn.Module:
    """The model of one of ``ALL`` cases in blocks, drawing no random numbers."""
    model = build_model(ALL[case].model(num_blocks))
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def batches_of(case: str) -> list[dict]:
    """``STEPS`` training batches."""
    return [ALL[case].batch(seed) for seed in range(STEPS)]


def unusual_batches() -> list[dict]:
    """Detection batches without a box, of one image, and with one image without boxes."""
    return [tiny_batch(seed, num_items) for seed, num_items in enumerate([(0, 0), (3,), (0, 2), (0,), (2, 1)])]


def train_in_pipeline(
    model: nn.Module, batches: list[dict], pipeline: dict[str, Any], options: dict[str, Any]
) -> tuple[list[dict], int]:
    """Train a model, in place, on all processes.

    Args:
        model (nn.Module): The same model on every process.
        batches (list[dict]): The batches of this process's pipeline.
        pipeline (dict): Arguments of ``PipelineParallel``.
        options (dict): Entries of the ``optim_wrapper`` config.

    Returns:
        tuple: Every step's log variables, those of the blocks included; and how many values of parameters and
        optimizer states this process held while it trained.
    """
    wrapped = PipelineParallel(model, **pipeline)
    optim_wrapper = counted_optim_wrapper(wrapped, options, len(batches))
    wrapped.take_own_part(optim_wrapper)
    logs = []
    for batch in batches:
        log = wrapped.train_step(copy.deepcopy(batch) if wrapped.mesh.is_first else None, optim_wrapper)
        logs.append({**log, **optim_wrapper.local_log_vars})
    states = [state for wrapper in optim_wrapper.values() for state in wrapper.optimizer.state.values()]
    held = [*model.parameters(), *(value for state in states for value in state.values() if value is not None)]
    number = sum(tensor.numel() for tensor in held)
    wrapped.gather()
    return logs, number


def train_with_delay(
    model: nn.Module,
    batches: list[dict],
    options: dict[str, Any],
    last_blocks: tuple[int, ...] = (),
    delay: int = 0,
    ema_interval: int = 1,
) -> list[dict]:
    """Train a model, in place, on one process, where EMA sees weights as old as those that a pipeline would send.

    Args:
        model (nn.Module): The model.
        batches (list[dict]): The batches.
        options (dict): Entries of the ``optim_wrapper`` config.
        last_blocks (tuple[int, ...]): The last blocks of the stages, whose EMA follows another stage; without delay
            they need not be known.
        delay (int): ``PipelineParallel``'s argument.
        ema_interval (int): ``PipelineParallel``'s argument.

    Returns:
        list[dict]: Every step's log variables.
    """
    optim_wrapper = counted_optim_wrapper(model, options, len(batches))
    local = find_local_backbone(model).local
    logs, history = [], {i: [_source(local, i)] for i in last_blocks}
    for step, batch in enumerate(batches):
        # In step t EMA sees the source after t steps; here after t - delay, down to a multiple of the interval.
        seen = max(0, step - delay) // ema_interval * ema_interval
        local.next_segments = partial(_segments_of_old, local, {i: versions[seen] for i, versions in history.items()})
        log = model.train_step(copy.deepcopy(batch), optim_wrapper)
        logs.append({**log, **optim_wrapper.local_log_vars})
        del local.next_segments
        for i, versions in history.items():
            versions.append(_source(local, i))
    return logs


def _source(local: LocalLearning, index: int) -> nn.Module:
    return copy.deepcopy(local.next_segments(local.blocks[index - 1])[0])


def _segments_of_old(local: LocalLearning, old: dict[int, nn.Module], block: Any) -> list[nn.Module]:
    segments = LocalLearning.next_segments(local, block)
    return [old[block.index], *segments[1:]] if block.index in old else segments


# ------------------------------------------------------------------------------------------ run on every process


def compare_with_one_process(
    case: str,
    last_blocks: tuple[int, ...] = (),
    options: dict[str, Any] | None = None,
    num_blocks: int = 4,
    batches: list[dict] | None = None,
    sync_bn: bool = False,
    **pipeline: Any,
) -> dict[str, Any]:
    """Train in a pipeline and, on the first process, on one.

    Every pipeline gets the same batches, so that with several of them the average of equal gradients is each of them.

    Args:
        case (str): One of ``ALL``.
        last_blocks (tuple[int, ...]): See :func:`train_with_delay`.
        options (dict, optional): Entries of the ``optim_wrapper`` config.
        num_blocks (int): K. Defaults to 4.
        batches (list[dict], optional): Defaults to :func:`batches_of` the case.
        sync_bn (bool): Whether the pipeline's model comes with SyncBN. Defaults to False.
        **pipeline: Arguments of ``PipelineParallel``.

    Returns:
        dict: Of every process, ``held`` and ``logs``; of the first also what one process gives: ``expected_logs``, the
        keys of the state that are ``different``, and of those that EMA's delay made different, ``delayed``.
    """
    model, batches, options = model_without_dropout(case, num_blocks), batches or batches_of(case), options or {}
    if sync_bn:
        model = convert_sync_batchnorm(model, 'torch')
    logs, held = train_in_pipeline(model, batches, pipeline, options)
    result = dict(logs=logs, held=held)
    if dist.get_rank() == 0:
        delays = {key: pipeline[key] for key in ('delay', 'ema_interval') if key in pipeline}
        one, prompt = (model_without_dropout(case, num_blocks) for _ in range(2))
        result['expected_logs'] = train_with_delay(one, batches, options, last_blocks, **delays)
        result['different'] = _different(model, one)
        train_with_delay(prompt, batches, options)
        result['delayed'] = _different(prompt, one)
    return result


def train_replicas(build: Any, batches: list[dict], options: dict[str, Any], stages: int) -> dict[str, Tensor]:
    """Train pipelines that each get their part of every batch; returns the state of this process's pipeline."""
    model = build()
    replicas = dist.get_world_size() // stages
    replica = dist.get_rank() // stages
    parts = [{key: value[replica::replicas] for key, value in batch.items()} for batch in batches]
    train_in_pipeline(model, parts, dict(num_stages=stages), options)
    return copy.deepcopy(model.state_dict())


def run_and_resume(folder: Path, data_root: Path, one_process: Path, classes: tuple[str, ...]) -> None:
    """Runs of the tiny detector: in a pipeline; resumed in one from its own checkpoint, and from one process's."""
    for name, cfg in (
        ('whole', {}),
        ('resumed', dict(resume=True, load_from=str(folder / 'whole' / 'iter_3.pth'))),
        ('taken_over', dict(resume=True, load_from=str(one_process / 'iter_3.pth'))),
        ('two_stages', dict(model_wrapper_cfg=dict(num_stages=2, blocks_per_stage=[3, 1]), max_iters=1)),
    ):
        base = tiny_run_cfg(4, folder / name, data_root, max_iters=cfg.pop('max_iters', 6), classes=classes)
        base.merge_from_dict(
            dict(
                launcher='pytorch',
                experiment_name=f'{name}_{dist.get_rank()}',
                model_wrapper_cfg=dict(type='mmman.PipelineParallel'),
                train_cfg=dict(type='mmman.PipelineIterBasedTrainLoop'),
                default_hooks=dict(checkpoint=dict(type='mmman.PipelineCheckpointHook', interval=3)),
            )
        )
        base.merge_from_dict(cfg)
        Runner.from_cfg(base).train()
        dist.barrier()


def send_and_receive(message: Any) -> tuple[list, int]:
    """Send a message thrice from the first process to the second; returns what arrived, and how often."""
    channel = Channel(0, 1, dist.new_group(), dist.new_group(), torch.device('cpu'), in_flight=2)
    rank, received = dist.get_rank(), []
    for _ in range(3):
        if rank == 0:
            channel.send(message)
        elif rank == 1:
            received.append(channel.receive())
    dist.barrier()  # what is on its way must live until it has arrived
    return received, channel.received


def means_inside_the_same_stage(stages: int) -> tuple[float, float]:
    """What mmdet's ``reduce_mean`` makes of the ranks: in a stage of a pipeline, and afterwards."""
    mesh = Mesh.of_all_processes(stages)
    with as_world(mesh.same_stage):
        inside = reduce_mean(torch.tensor(float(mesh.rank_of(mesh.stage)))).item()
    return inside, reduce_mean(torch.tensor(float(dist.get_rank()))).item()


def wrong_arguments() -> list[str]:
    """The errors of pipelines that cannot be."""
    errors = []
    model = model_without_dropout('resnet-greedy')
    for arguments in (dict(num_stages=3), dict(num_stages=2, blocks_per_stage=[1, 2]), dict(delay=-1)):
        try:
            PipelineParallel(model, **arguments)
        except ValueError as error:
            errors.append(str(error))
    for local, kind in ((False, TypeError), (True, RuntimeError)):
        try:
            PipelineParallel(model).train_step(None, optim_wrapper_for(model, local=local))
        except kind as error:
            errors.append(str(error))
    return errors


def _different(model: nn.Module, other: nn.Module) -> set[str]:
    state, expected = model.state_dict(), other.state_dict()
    assert list(state) == list(expected)
    return {key for key, value in expected.items() if not torch.equal(state[key], value)}
