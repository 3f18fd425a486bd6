"""Training loops of a pipeline: the first stage reads the data."""

from collections.abc import Iterator
from itertools import repeat
from math import ceil
from typing import Any

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmman.registry import LOOPS

from .checkpoint_hook import PipelineCheckpointHook
from .mesh import Mesh
from .pipeline_parallel import PipelineParallel
from .whole_model_hook import WholeModelHook


class _PipelineLoop:
    """What both loops have in common: only the first stage loads data, and each stage keeps only its own part."""

    endless: bool

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        if not isinstance(runner.model, PipelineParallel):
            raise TypeError(
                f'{type(self).__name__} trains a pipeline, but the model is a {type(runner.model).__name__}: set '
                "model_wrapper_cfg = dict(type='mmman.PipelineParallel') and start several processes (--launcher)"
            )
        _check_hooks(runner)
        if isinstance(dataloader, dict):
            diff_rank_seed = runner._randomness_cfg.get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=diff_rank_seed)
        mesh = runner.model.mesh
        _share_samples(dataloader, mesh)
        super().__init__(runner, dataloader if mesh.is_first else BatchesElsewhere(dataloader, self.endless), **kwargs)
        runner.register_hook(WholeModelHook())

    def run(self) -> nn.Module:
        """Train. The model is whole on every process before and afterwards."""
        pipeline: PipelineParallel = self.runner.model
        pipeline.take_own_part(self.runner.optim_wrapper)
        super().run()
        pipeline.gather()
        return pipeline


@LOOPS.register_module()
class PipelineIterBasedTrainLoop(_PipelineLoop, IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop`` for a :class:`PipelineParallel` model; the same arguments."""

    endless = True


@LOOPS.register_module()
class PipelineEpochBasedTrainLoop(_PipelineLoop, EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop`` for a :class:`PipelineParallel` model; the same arguments."""

    endless = False


class BatchesElsewhere:
    """Stands for the dataloader of a stage that gets its batches from the one before: as many, but empty.

    Args:
        dataloader (DataLoader): The dataloader it stands for, which is asked for everything but batches.
        endless (bool): Whether the loop takes batches without end, as ``IterBasedTrainLoop`` does.
    """

    def __init__(self, dataloader: DataLoader, endless: bool) -> None:
        self.dataloader = dataloader
        self.endless = endless

    def __len__(self) -> int:
        return len(self.dataloader)

    def __iter__(self) -> Iterator[None]:
        return repeat(None) if self.endless else repeat(None, len(self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataloader, name)


def _share_samples(dataloader: DataLoader, mesh: Mesh) -> None:
    """Let a sampler share out samples among pipelines, where it did so among processes.

    Samplers of mmengine ask for rank and number of processes themselves.
    """
    sampler = getattr(dataloader.batch_sampler, 'sampler', dataloader.sampler)
    if type(sampler) not in (DefaultSampler, InfiniteSampler):
        raise TypeError(
            f'a pipeline cannot share out the samples of {type(sampler).__name__} among its replicas: use '
            "train_dataloader.sampler = dict(type='DefaultSampler') or dict(type='InfiniteSampler')"
        )
    sampler.rank, sampler.world_size = mesh.replica, mesh.replicas
    if isinstance(sampler, DefaultSampler):
        size = len(sampler.dataset)
        sampler.num_samples = ceil((size if sampler.round_up else size - mesh.replica) / mesh.replicas)
        sampler.total_size = sampler.num_samples * mesh.replicas if sampler.round_up else size


def _check_hooks(runner: Runner) -> None:
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            raise ValueError('EMAHook averages the whole model, which no process of a pipeline has: remove it')
        if isinstance(hook, CheckpointHook) and not isinstance(hook, PipelineCheckpointHook):
            raise ValueError(
                f'{type(hook).__name__} would save the first stage only: set '
                "default_hooks.checkpoint.type='mmman.PipelineCheckpointHook'"
            )
