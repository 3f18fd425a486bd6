"""Who trains what: processes as a grid of replicas x stages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch.distributed as dist
from torch.distributed import ProcessGroup, distributed_c10d


@dataclass(frozen=True)
class Mesh:
    """The place of this process in ``replicas`` equal pipelines of ``stages`` processes each.

    Process r trains stage ``r % stages`` of replica ``r // stages``, so that a pipeline's neighbours have neighbouring
    ranks, on one machine where it fits.

    Args:
        stages (int): Processes of one pipeline.
        replicas (int): Number of pipelines, each of which sees its part of the data.
        stage (int): This process's stage, from 0.
        replica (int): This process's pipeline, from 0.
        pipeline (ProcessGroup): The processes of this pipeline.
        same_stage (ProcessGroup): The processes of all pipelines that train this stage.
    """

    stages: int
    replicas: int
    stage: int
    replica: int
    pipeline: ProcessGroup
    same_stage: ProcessGroup

    @classmethod
    def of_all_processes(cls, stages: int) -> 'Mesh':
        """Share out all processes; called by every one of them.

        Args:
            stages (int): Processes of one pipeline.

        Raises:
            ValueError: If the number of processes is not a multiple of it.
        """
        world_size, rank = dist.get_world_size(), dist.get_rank()
        if world_size % stages:
            raise ValueError(
                f'{world_size} processes cannot be shared out among pipelines of {stages} stages: start a multiple of '
                f'{stages} processes, or set model_wrapper_cfg.num_stages to a divisor of {world_size}'
            )
        replicas = world_size // stages
        # Every process has to take part in the making of every group.
        pipelines = [dist.new_group([r * stages + s for s in range(stages)]) for r in range(replicas)]
        same_stage = [dist.new_group([r * stages + s for r in range(replicas)]) for s in range(stages)]
        replica, stage = divmod(rank, stages)
        return cls(stages, replicas, stage, replica, pipelines[replica], same_stage[stage])

    def rank_of(self, stage: int) -> int:
        """The rank of the process that trains another stage of this pipeline."""
        return self.replica * self.stages + stage

    @property
    def is_first(self) -> bool:
        """Whether this process has the first stage, which reads the data."""
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        """Whether this process has the last stage, with the model's neck and heads."""
        return self.stage == self.stages - 1


def default_stages(num_blocks: int, world_size: int) -> int:
    """The longest pipeline that the processes can be shared out among evenly, of at most one stage per block."""
    return max(stages for stages in range(1, num_blocks + 1) if world_size % stages == 0)


def share_blocks(num_blocks: int, stages: int, blocks_per_stage: Sequence[int] | None = None) -> list[range]:
    """Share out blocks among stages, in order.

    Args:
        num_blocks (int): K.
        stages (int): Number of stages.
        blocks_per_stage (Sequence[int], optional): How many blocks each stage gets. Defaults to the most even numbers,
            larger ones last: the first blocks, with the largest feature maps, take longest.

    Returns:
        list[range]: The blocks of each stage, counted from 1.

    Raises:
        ValueError: If the numbers do not fit.
    """
    if stages > num_blocks:
        raise ValueError(
            f'{num_blocks} blocks cannot be shared out among {stages} stages: set model_wrapper_cfg.num_stages to at '
            f'most {num_blocks}, or partition.num_blocks to at least {stages}'
        )
    if blocks_per_stage is None:
        blocks_per_stage = [num_blocks // stages + (s >= stages - num_blocks % stages) for s in range(stages)]
    if len(blocks_per_stage) != stages or sum(blocks_per_stage) != num_blocks or min(blocks_per_stage) < 1:
        raise ValueError(
            f'blocks_per_stage={list(blocks_per_stage)} must be {stages} positive numbers that add up to the '
            f'{num_blocks} blocks'
        )
    starts = [1 + sum(blocks_per_stage[:s]) for s in range(stages)]
    return [range(start, start + count) for start, count in zip(starts, blocks_per_stage, strict=True)]


@contextmanager
def as_world(group: ProcessGroup) -> Iterator[None]:
    """Inside, collectives that name no group take place in this one.

    Heads average their normalisers (mmdet's ``reduce_mean``) and SyncBN its statistics over "all" processes. In a
    pipeline these are the ones that run the same blocks: with the others, which are at another batch and may call for
    other collectives or none, they would silently mix numbers, or wait forever. Neither takes a group from outside,
    which is why torch's default group is exchanged.
    """
    world = distributed_c10d._get_default_group()
    distributed_c10d._update_default_pg(group)
    try:
        yield
    finally:
        distributed_c10d._update_default_pg(world)
