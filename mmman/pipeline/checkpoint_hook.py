"""Checkpoints of a model whose parts are on several processes."""

from mmengine.runner import Runner

from mmman.registry import HOOKS
from mmman.resume import ExactCheckpointHook


@HOOKS.register_module()
class PipelineCheckpointHook(ExactCheckpointHook):
    """Saves one plain checkpoint: what :class:`ExactCheckpointHook` saves on one process, random numbers apart.

    It can be resumed from by a pipeline of any number of stages, or by one process; exactly, by as many processes as
    wrote it.
    """

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with runner.model.whole():
            self._optimizers = runner.model.gather_optimizers(runner.optim_wrapper)
            super()._save_checkpoint_with_step(runner, step, meta)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put in the optimizers of all stages.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint, on the first process.
        """
        super().before_save_checkpoint(runner, checkpoint)
        if 'optimizer' in checkpoint:
            checkpoint['optimizer'].update(self._optimizers)
