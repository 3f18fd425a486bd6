"""Brings the stages together to be evaluated."""

from mmengine.hooks import Hook
from mmengine.runner import Runner


class WholeModelHook(Hook):
    """Gives every process of a pipeline the whole model while it is validated, as in data parallel training."""

    priority = 'VERY_HIGH'

    def before_val(self, runner: Runner) -> None:
        """Bring all parameters here.

        Args:
            runner (Runner): The runner.
        """
        self._was_whole = runner.model.placement.is_whole
        runner.model.gather()

    def after_val(self, runner: Runner) -> None:
        """Free those of other stages again.

        Args:
            runner (Runner): The runner.
        """
        if not self._was_whole:
            runner.model.placement.free_others()
