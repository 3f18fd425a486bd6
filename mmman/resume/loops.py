"""A loop that goes on in the middle of an epoch."""

from mmengine.runner import EpochBasedTrainLoop

from .batch_seeds import number_batches


class ContinuedEpochLoop(EpochBasedTrainLoop):
    """Goes on behind the last batch that was trained on; mmengine's loop would begin the epoch again.

    :class:`mmman.resume.ExactCheckpointHook` makes a resumed run's ``EpochBasedTrainLoop`` one where that is needed.
    The batches before are left out by the batch sampler, so that nothing of them is loaded. The sampler has to draw an
    epoch's order from a seed of its own, as mmengine's do.
    """

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it, be it no batch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        number_batches(self.dataloader).leave_out(done)
        for idx, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(idx, data_batch)

        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
