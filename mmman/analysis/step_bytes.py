"""Peak live tensor bytes of one training step of a config."""

import copy
from typing import NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner

from .live_bytes import LiveBytes, tensors_of


class StepBytes(NamedTuple):
    """Live tensor bytes of a training step.

    Args:
        peak (int): The most that was alive at once: everything, parameters and optimizer states included.
        resident (int): What stays between steps: parameters, buffers, optimizer states.
    """

    peak: int
    resident: int


def measure_step(cfg: Config) -> StepBytes:
    """Train two steps on the first batch of a config; count in the second, when the optimizer states exist.

    Args:
        cfg (Config): A config that trains; its modules are registered.

    Returns:
        StepBytes: The counts. They are the same on every machine of one kind.
    """
    cfg = copy.deepcopy(cfg)
    # In this process: the images of the batch are counted, a worker's shared memory would not be.
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.resume, cfg.load_from = False, None
    runner = Runner.from_cfg(cfg)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=runner.seed)))
    model = runner.model
    model.init_weights()
    model.train()
    optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    model.train_step(copy.deepcopy(batch), optim_wrapper)
    with LiveBytes(tensors_of(model, optim_wrapper)) as live:
        resident = live.current
        model.train_step(copy.deepcopy(batch), optim_wrapper)
    return StepBytes(live.peak, resident)
