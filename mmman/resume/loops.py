"""A loop that goes on in the middle of an epoch."""

from typing import Any

from mmengine.runner import EpochBasedTrainLoop

from mmman.registry import LOOPS

from .batch_seeds import number_batches


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which can also go on behind the last batch that was trained on.

    mmengine's would begin the epoch again. The batches before are left out by the batch sampler, so that nothing of
    them is loaded. The sampler has to draw an epoch's order from a seed of its own, as mmengine's do.

    Use it with ``train_cfg = dict(type='mmman.ResumableEpochBasedTrainLoop', max_epochs=...)`` where
    :class:`mmman.ExactCheckpointHook`, which tells it where to go on, saves inside of epochs (``by_epoch=False``).

    Args:
        *args: Arguments of ``EpochBasedTrainLoop``.
        **kwargs: Arguments of ``EpochBasedTrainLoop``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._done = 0  # batches of the epoch to come that were trained on before

    def go_on_behind(self, batches: int) -> None:
        """Begin the next epoch behind its first batches.

        Args:
            batches (int): How many, up to all of them. Their indices are drawn all the same.
        """
        number_batches(self.dataloader).leave_out(batches)
        self._done = batches

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it, be it no batch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done, self._done = self._done, 0
        for idx, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(idx, data_batch)

        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
