"""Checkpoints to resume from as if training had never stopped."""

import math
import os.path as osp
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmman.registry import HOOKS

from .batch_seeds import can_number, is_seeded, number_batches, seed_batches
from .loops import ContinuedEpochLoop
from .rng import restore_rng, rng_state
from .storage import PART_SUFFIX, AtomicLocalBackend, PostponedRemoval

KEY = 'exact_resume'


@HOOKS.register_module()
class ExactCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``; training resumed from its checkpoints equals training that never stopped.

    Bit for bit: losses, weights, averaged weights, momenta, schedules and random numbers. What mmengine's leaves out:

    - **Random number generators.** Those of every process are in the checkpoint, and are set after all that draws from
      them before the first batch. Validation does not move them.
    - **Augmentation in worker processes.** Every batch is loaded from a seed of its own, made of the run's seed, the
      rank and the batch's number, so that it does not matter for how long the workers have been running.
    - **The order of the data** of a run without ``randomness.seed``: the seed of the sampler is in the checkpoint.
    - **A checkpoint inside of an epoch** (``by_epoch=False``): the loop goes on behind the last batch it trained on.
    - **A killed process.** A file of the local disk is whole or not there, and what is outdated is removed after
      ``last_checkpoint`` names what replaces it. So at any moment the folder has a whole latest checkpoint.

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
        if self.file_client_args is not None:
            raise ValueError(f'write backend_args instead of file_client_args={self.file_client_args}')
        self._loaded: dict | None = None  # our part of the loaded checkpoint; empty if it has none
        self._to_save: dict | None = None  # our part of the checkpoint that is being saved
        self._to_restore: dict | None = None  # generators to be set before the first batch
        self._before_val: dict | None = None  # generators as they were before the validation that is going on

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what training is to be resumed with.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint, of whatever kind.
        """
        self._loaded = checkpoint.get(KEY, {})

    def before_train(self, runner: Runner) -> None:
        """Prepare files and data, and resume what is not the runner's to resume.

        Args:
            runner (Runner): The runner.

        Raises:
            RuntimeError: If the loop cannot go on inside of an epoch.
        """
        super().before_train(runner)
        self._prepare_files(runner)
        self._check_accumulation(runner)
        self._prepare_loader(runner)
        if runner.iter > 0 and self._loaded is not None:  # only resuming sets the runner's iteration
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

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put our part into a checkpoint to resume from; a best checkpoint is none.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint, on the main process.
        """
        if self._to_save is not None:
            checkpoint[KEY] = self._to_save

    def _prepare_files(self, runner: Runner) -> None:
        if type(self.file_backend) is LocalBackend:
            self.backend_args = dict(backend='mmman_atomic')
            self.file_backend = AtomicLocalBackend()
            if is_main_process():
                for folder in {self.out_dir, runner.work_dir}:
                    for part in Path(folder).glob(f'*{PART_SUFFIX}'):  # of a run that was killed
                        part.unlink()
        self.file_backend = PostponedRemoval(self.file_backend)

    def _check_accumulation(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        inner = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        counts = max(wrapper._accumulative_counts for wrapper in inner if isinstance(wrapper, OptimWrapper))
        length = len(runner.train_loop.dataloader) if self.by_epoch else 1
        if self.interval > 0 and (self.interval * length % counts or self.save_begin * length % counts):
            step = counts // math.gcd(counts, length)
            exact = math.ceil(self.interval / step) * step
            runner.logger.warning(
                f'the optimizer steps every {counts} iterations, and checkpoints fall in between, where the gradients '
                f'gathered so far are lost: training resumed from these is not exact; with interval={exact} (now '
                f'{self.interval}) and save_begin=0 (now {self.save_begin}) it is'
            )

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
        self._remove_replaced(loaded)
        loop = runner.train_loop
        inexact = _why_inexact(loop, loaded)
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
        elif type(loop) in (EpochBasedTrainLoop, ContinuedEpochLoop) and can_number(loop.dataloader):
            # The loop is running: what changes is how it goes through an epoch.
            loop.__class__ = ContinuedEpochLoop
        else:
            raise RuntimeError(
                f'the checkpoint was written after batch {batch_idx} of {len(loop.dataloader)} of an epoch, and '
                f'{type(loop).__name__} over a {type(loop.dataloader.dataset).__name__} cannot go on inside of one: '
                'resume from the end of an epoch (by_epoch=True), or train with EpochBasedTrainLoop and a dataset with '
                'indices'
            )

    def _restore(self) -> None:
        if self._to_restore is not None:
            restore_rng(self._to_restore)
            self._to_restore = None

    def _remove_replaced(self, loaded: dict) -> None:
        """Remove what the checkpoint had replaced when the process was killed."""
        for name in loaded.get('outdated', []):
            self.file_backend.remove(self.file_backend.join_path(self.out_dir, name))
        if is_main_process():
            self.file_backend.remove_outdated()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, let ``last_checkpoint`` name it, and then only remove what it replaces."""
        if self.max_keep_ckpts > 0 and step not in list(self.keep_ckpt_ids)[-1:]:  # a best one is saved twice
            before = list(self.keep_ckpt_ids)
            self.keep_ckpt_ids.append(step)  # holds max_keep_ckpts of them
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            for old in set(before) - set(self.keep_ckpt_ids):
                self.file_backend.remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)

        loader = runner.train_loop.dataloader
        self._to_save = dict(
            rng=all_gather_object(rng_state() if self._before_val is None else self._before_val),
            sampler_seed=getattr(_sampler_of(loader), 'seed', None),
            epoch_length=len(loader),
            outdated=[osp.basename(path) for path in self.file_backend.outdated],
        )
        runner.save_checkpoint(
            self.out_dir, name, meta=meta, by_epoch=self.by_epoch, backend_args=self.backend_args, **self.args
        )
        self._to_save = None
        if is_main_process():
            # mmengine looks for it here, on the local disk.
            AtomicLocalBackend().put_text(self.last_ckpt, osp.join(runner.work_dir, 'last_checkpoint'))
            self.file_backend.remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        if is_main_process():
            self.file_backend.remove_outdated()  # the best one before, where no other checkpoint was saved since


def _sampler_of(loader: DataLoader) -> Any:
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


def _why_inexact(loop: Any, loaded: dict) -> str:
    """Why training cannot go on exactly; empty where it can."""
    if not loaded:
        return 'the checkpoint has no random states, because ExactCheckpointHook did not write it'
    if len(loaded['rng']) != get_world_size():
        return (
            f'the checkpoint was written by {len(loaded["rng"])} process(es), and now there is/are {get_world_size()}'
        )
    if isinstance(loop, EpochBasedTrainLoop) and loaded['epoch_length'] != len(loop.dataloader):
        return f'an epoch had {loaded["epoch_length"]} batches, and now has {len(loop.dataloader)}'
    if isinstance(loop, IterBasedTrainLoop):
        if not hasattr(loop.dataloader_iterator, 'skip_iter'):
            return "this mmengine's IterBasedTrainLoop starts reading data before it resumes; onedl-mmengine does not"
        if loop.fast_forward_on_resume:
            return 'with fast_forward_on_resume=True the data start from the beginning'
    return ''
