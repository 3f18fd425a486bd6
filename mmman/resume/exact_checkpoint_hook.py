"""Checkpoints to resume from as if training had never stopped."""

from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmman.registry import HOOKS

from .batch_seeds import can_number, is_seeded, number_batches, seed_batches
from .exactness import LOOP_TYPE, warnings_before, why_inexact
from .loops import ResumableEpochBasedTrainLoop
from .own_files_hook import OwnFilesCheckpointHook
from .rng import restore_rng, rng_state


@HOOKS.register_module()
class ExactCheckpointHook(OwnFilesCheckpointHook):
    """mmengine's ``CheckpointHook``; training resumed from its checkpoints equals training that never stopped.

    Bit for bit: losses, weights, averaged weights, momenta, schedules and random numbers. What mmengine's leaves out:

    - **Random number generators.** Those of every process are in the checkpoint, and are set after all that draws from
      them before the first batch. Validation does not move them.
    - **Augmentation in worker processes.** Every batch is loaded from a seed of its own, made of the run's seed, the
      rank and the batch's number, so that it does not matter for how long the workers have been running.
    - **The order of the data** of a run without ``randomness.seed``: the seed of the sampler is in the checkpoint.
    - **A checkpoint inside of an epoch** (``by_epoch=False``): :class:`ResumableEpochBasedTrainLoop` goes on behind the
      last batch that was trained on.
    - **Files.** A killed process leaves a whole latest checkpoint, what another run wrote is not removed, and a folder
      may be moved or copied: :class:`~mmman.resume.own_files_hook.OwnFilesCheckpointHook`.

    Where resuming is not exact, a warning says why: a checkpoint of mmengine's hook, another number of processes or
    batches in an epoch, a dataset without indices, checkpoints inside of a window of gradient accumulation.

    Not in a checkpoint, as with mmengine: running statistics of BatchNorm of ranks other than 0, which training does
    not read; what an augmentation keeps from one batch to the next; a validation that was cut off or due right after
    the checkpoint, which is not made up for.

    Use it with ``default_hooks = dict(checkpoint=dict(type='mmman.ExactCheckpointHook', ...))``.

    Args:
        **kwargs: Arguments of ``CheckpointHook``.

    Raises:
        ValueError: If optimizer or schedules are not to be saved, or with the deprecated ``file_client_args``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not (self.save_optimizer and self.save_param_scheduler):
            raise ValueError(
                f'no exact resume with save_optimizer={self.save_optimizer} and save_param_scheduler='
                f"{self.save_param_scheduler}: leave both True, or use type='CheckpointHook'"
            )
        self._to_restore: dict | None = None  # generators to be set before the first batch
        self._before_val: dict | None = None  # generators as they were before the validation that is going on

    def before_train(self, runner: Runner) -> None:
        """Prepare files and data, and resume what is not the runner's to resume.

        Args:
            runner (Runner): The runner.

        Raises:
            RuntimeError: If the loop cannot go on inside of an epoch.
        """
        super().before_train(runner)
        for line in warnings_before(runner, self):
            runner.logger.warning(line)
        self._prepare_loader(runner)
        if self._loaded is not None:
            self._resume(runner, self._loaded)
            self._loaded = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Number the batches to come, and set the generators for the first of them.

        Args:
            runner (Runner): The runner.
        """
        loop = runner.train_loop
        if is_seeded(loop.dataloader):
            # Where the sampler cannot skip, mmengine's loop loads again what it was trained on, from the first batch.
            again = isinstance(loop, IterBasedTrainLoop) and not hasattr(loop.dataloader.sampler, 'skip')
            number_batches(loop.dataloader).number_from(0 if again else runner.iter)
        self._restore()

    def before_val(self, runner: Runner) -> None:
        """Note the generators: a resumed run does not validate again, so validation must not move them.

        Args:
            runner (Runner): The runner.
        """
        self._before_val = rng_state()

    def after_val(self, runner: Runner) -> None:
        """Set the generators to what they were before validation.

        Args:
            runner (Runner): The runner.
        """
        restore_rng(self._before_val)
        self._before_val = None

    def _prepare_loader(self, runner: Runner) -> None:
        loader = runner.train_loop.dataloader
        if loader.generator is None:
            # Every start of iterating draws from it; by default it is the global one, which a resumed run starts with.
            loader.generator = torch.Generator().manual_seed(runner.seed)
        if loader.num_workers == 0:
            return
        if not can_number(loader):
            runner.logger.warning(
                f'training resumed from checkpoints is not exact: {type(loader.dataset).__name__} is read by '
                f'{loader.num_workers} workers and without batches of indices, so their random numbers stay as they are'
            )
        else:
            seed_batches(loader, runner.seed, get_rank())

    def _resume(self, runner: Runner, loaded: dict) -> None:
        loop = runner.train_loop
        inexact = why_inexact(loop, loaded)
        if inexact:
            if isinstance(loop, EpochBasedTrainLoop) and runner.iter != runner.epoch * len(loop.dataloader):
                inexact += f'; the loop begins its epoch {runner.epoch + 1} again'
            runner.logger.warning(f'resumed training is not what it would have been without a break: {inexact}')
            return
        sampler = _sampler_of(loop.dataloader)
        if hasattr(sampler, 'seed'):
            sampler.seed = loaded['sampler_seed']
        self._to_restore = loaded['rng'][get_rank()]
        if not isinstance(loop, EpochBasedTrainLoop):
            return
        batch_idx = runner.iter - runner.epoch * len(loop.dataloader)
        if batch_idx == 0:
            self._restore()  # before the hooks that begin the epoch: the checkpoint was written before them, too
        elif isinstance(loop, ResumableEpochBasedTrainLoop) and can_number(loop.dataloader):
            loop.go_on_behind(batch_idx)
        else:
            raise RuntimeError(
                f'the checkpoint was written after batch {batch_idx} of {len(loop.dataloader)} of an epoch, and '
                f'{type(loop).__name__} over a {type(loop.dataloader.dataset).__name__} cannot go on inside of one: '
                f"set train_cfg.type='{LOOP_TYPE}' and take a dataset with indices, or resume from the end of an epoch "
                '(by_epoch=True)'
            )

    def _restore(self) -> None:
        if self._to_restore is not None:
            restore_rng(self._to_restore)
            self._to_restore = None

    def _part(self, runner: Runner) -> dict[str, Any]:
        loop = runner.train_loop
        return dict(
            rng=all_gather_object(rng_state() if self._before_val is None else self._before_val),
            sampler_seed=getattr(_sampler_of(loop.dataloader), 'seed', None),
            epoch_length=len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else None,
            **super()._part(runner),
        )


def _sampler_of(loader: DataLoader) -> Any:
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)
