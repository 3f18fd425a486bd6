"""Checkpoint files: whole or not there, a run's own, and found again where their folder was moved."""

import os.path as osp
from typing import Any
from uuid import uuid4

from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from .last_checkpoint import LAST_CHECKPOINT, moved_checkpoint
from .own_files import RUN_ID, OwnFiles
from .storage import AtomicLocalBackend

KEY = 'exact_resume'


class OwnFilesCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, which removes only what the run wrote, and survives being killed and being moved.

    - A file of the local disk is whole or not there, and what is outdated is removed after ``last_checkpoint`` names
      what replaces it. So at any moment the folder has a whole latest checkpoint.
    - Removed are only files of the run's own folder that this run wrote, before or after it was resumed. A run that
      goes on in another folder leaves alone what is there and where it came from.
    - Of what ``last_checkpoint`` names in a folder that was moved or copied, the file beside it is resumed from.

    Args:
        **kwargs: Arguments of ``CheckpointHook``.

    Raises:
        ValueError: With the deprecated ``file_client_args``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.file_client_args is not None:
            raise ValueError(f'write backend_args instead of file_client_args={self.file_client_args}')
        self._run_id = uuid4().hex
        self._loaded: dict | None = None  # our part of the loaded checkpoint; empty if it has none
        self._loaded_run: str | None = None  # the id of the run that wrote it
        self._to_save: dict | None = None  # our part of the checkpoint that is being saved

    def before_run(self, runner: Runner) -> None:
        """Let ``last_checkpoint`` name the file beside it, where the folder of a run to be resumed was moved.

        Args:
            runner (Runner): The runner, which has loaded nothing yet.
        """
        if not runner._resume or runner._load_from is not None:
            return
        if is_main_process():
            own = [] if self.out_dir is None else [osp.join(self.out_dir, osp.basename(runner.work_dir))]
            moved = moved_checkpoint(runner.work_dir, own)
            if moved is not None:
                runner.logger.info(f'The folder was moved or copied: {LAST_CHECKPOINT} now names {moved}.')
                AtomicLocalBackend().put_text(moved, osp.join(runner.work_dir, LAST_CHECKPOINT))
        barrier()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what training is to be resumed with.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint, of whatever kind.
        """
        self._loaded = checkpoint.get(KEY, {})
        self._loaded_run = checkpoint.get('meta', {}).get(RUN_ID)

    def before_train(self, runner: Runner) -> None:
        """Prepare the files, and go on with those that the run wrote before it was resumed.

        Args:
            runner (Runner): The runner.
        """
        steps = runner.message_hub.pop_info('keep_ckpt_ids', [])  # mmengine's hook would remove files of another run
        super().before_train(runner)
        if runner.iter == 0:  # only resuming sets the runner's iteration; weights alone were loaded, or nothing
            self._loaded = self._loaded_run = None
        self._run_id = self._loaded_run or self._run_id
        self._prepare_files(runner)
        self._take_over(runner, steps)
        for name in (self._loaded or {}).get('outdated', []):  # it was killed before it could remove these
            self.file_backend.remove(self.file_backend.path(name))
        if is_main_process():
            self.file_backend.remove_outdated()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put in whose it is and, into a checkpoint to resume from, our part; a best checkpoint is none.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint, on the main process.
        """
        checkpoint.setdefault('meta', {})[RUN_ID] = self._run_id
        if self._to_save is not None:
            checkpoint[KEY] = self._to_save

    def _prepare_files(self, runner: Runner) -> None:
        if type(self.file_backend) is LocalBackend:
            self.backend_args = dict(backend='mmman_atomic', owner=self._run_id)
            self.file_backend = AtomicLocalBackend(self._run_id)
            if is_main_process():
                for folder in {self.out_dir, runner.work_dir}:
                    self.file_backend.remove_parts(folder)  # it was killed before it was resumed
        self.file_backend = OwnFiles(self.file_backend, self.out_dir, self._run_id)

    def _take_over(self, runner: Runner, steps: list[int]) -> None:
        """Go on with the checkpoints that the run wrote before it was resumed, and forget those of others.

        Args:
            runner (Runner): The runner.
            steps (list[int]): The loaded checkpoint's list of those that are kept.
        """
        files: OwnFiles = self.file_backend
        if self.max_keep_ckpts > 0:
            own = [step for step in steps if files.has(self._path_at(step))]
            for step in own[: -self.max_keep_ckpts]:
                files.remove(self._path_at(step))
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(own)  # holds max_keep_ckpts of them
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        for name, best in self._best_checkpoints().items():
            path = files.path(best)
            if files.has(path):
                self._set_best_checkpoint(name, path)
                runner.message_hub.update_info(name, path)
            else:
                self._set_best_checkpoint(name, None)
                runner.message_hub.pop_info(name)
                runner.logger.info(f'The best checkpoint so far, {best}, is of another run or folder: it stays.')

    def _path_at(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _best_checkpoints(self) -> dict[str, str]:
        """The best checkpoints so far, by the message hub's names for them."""
        if self.save_best is None:
            return {}
        if len(self.key_indicators) == 1:
            found = {'best_ckpt': self.best_ckpt_path}
        else:
            found = {f'best_ckpt_{key}': path for key, path in self.best_ckpt_path_dict.items()}
        return {name: path for name, path in found.items() if path}

    def _set_best_checkpoint(self, name: str, path: str | None) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = path
        else:
            self.best_ckpt_path_dict[name.removeprefix('best_ckpt_')] = path

    def _part(self, runner: Runner) -> dict[str, Any]:
        """What a checkpoint to resume from has beside mmengine's."""
        return dict(outdated=[osp.basename(path) for path in self.file_backend.outdated])

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, let ``last_checkpoint`` name it, and then only remove what it replaces."""
        files: OwnFiles = self.file_backend
        for path in self._best_checkpoints().values():
            files.wrote(path)
        if self.max_keep_ckpts > 0 and step not in list(self.keep_ckpt_ids)[-1:]:  # a best one is saved twice
            before = list(self.keep_ckpt_ids)
            self.keep_ckpt_ids.append(step)  # holds max_keep_ckpts of them
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            for old in set(before) - set(self.keep_ckpt_ids):
                files.remove(self._path_at(old))
        self.last_ckpt = self._path_at(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        files.wrote(self.last_ckpt)

        self._to_save = self._part(runner)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._to_save = None
        if is_main_process():
            # mmengine looks for it here, on the local disk.
            AtomicLocalBackend(self._run_id).put_text(self.last_ckpt, osp.join(runner.work_dir, LAST_CHECKPOINT))
            files.remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        for path in self._best_checkpoints().values():
            self.file_backend.wrote(path)
        if is_main_process():
            self.file_backend.remove_outdated()  # the best one before, where no other checkpoint was saved since

    def _publish_model(self, runner: Runner, ckpt_path: str | None) -> None:
        if ckpt_path is not None:  # there is no best one where the score to beat is another run's
            super()._publish_model(runner, ckpt_path)
