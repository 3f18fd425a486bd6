"""Measure all parts of a config's network."""

import gc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmengine.config import Config

from mmman.models import LocalBackbone

from .behind_backbone import BehindBackbone, RunsOften, WholeModel
from .branch_costs import measure_branches
from .dry_run import DryRun
from .head_costs import Levels
from .live_bytes import tensors_of
from .network import Batch, Network, bytes_of_batch, bytes_of_optimizer_step, first_images, num_images
from .operation_times import OperationTimes
from .part_costs import PartCosts, extrapolated
from .training_step import TrainingStep
from .unit_costs import measure_units

# Images that are measured of a batch that has more: not too few, because what has its peak in one moment with few
# images may have it in another with many.
FEW = (16, 8)


def measure_parts(
    cfg: Config, local_cfg: Mapping[str, Any] | None = None, batch: Any = None, times: OperationTimes | None = None
) -> PartCosts:
    """Measure every part of a config's network in dry runs, forward and backward, on one batch.

    Of a batch of more than 16 images 8 and 16 are measured, from which costs go on in a straight line: its images are
    of one size. Where operations are timed, the whole batch is measured: small ones take less than their share of time.

    Args:
        cfg (Config): A config that trains end to end. If its backbone is a ``mmman.LocalBackbone`` of one block, and
            runs once in a step, the backbone's segments are parts, too. Its modules are registered.
        local_cfg (Mapping, optional): ``auxiliary`` and ``local_head`` of local learning. None: end to end only.
        batch (optional): The batch; the first of the config's data by default.
        times (OperationTimes, optional): What times operations. Not timed by default.

    Returns:
        PartCosts: The costs.
    """
    # For the optimizer states two images are enough; BatchNorm behind a pooling to 1 x 1 takes no single one.
    step = TrainingStep(cfg, dry=True, batch=first_images(batch, 2) if batch is not None else None)
    batch = step.batch if batch is None else batch
    trained = [p.nbytes for p in step.model.parameters() if p.requires_grad]
    states = sum(t.nbytes for t in tensors_of(step.optim_wrapper)) / sum(trained)
    images = num_images(batch)
    few = FEW if times is None and images > FEW[0] else (images,)
    gc.collect()
    gc.freeze()  # so that the collector, which is called often from here on, has little to look at
    try:
        with DryRun(tensors_of(step.model)):
            batch_bytes, stepping = bytes_of_batch(step.model, batch), bytes_of_optimizer_step(step)
            counted, levels = [], None
            for number in few:
                costs, levels = _measure(Batch(step, batch, number, times), local_cfg, states, levels)
                counted.append(costs)
    finally:
        gc.unfreeze()
    model, optimizer = (sum(t.nbytes for t in tensors_of(holder)) for holder in (step.model, step.optim_wrapper))
    costs = counted[0]
    if len(few) > 1:
        costs = extrapolated(counted[1], counted[0], (images - few[1]) / (few[0] - few[1]))
    return replace(
        costs,
        resident=model + optimizer + batch_bytes,
        states=optimizer,
        batch=batch_bytes,
        stepping=stepping,
        largest=max(trained),
        accumulates=cfg.optim_wrapper.get('accumulative_counts', 1) > 1,
    )


def _measure(
    batch: Batch, local_cfg: Mapping[str, Any] | None, states: float, levels: Levels | None
) -> tuple[PartCosts, Levels]:
    if any(isinstance(module, LocalBackbone) for module in batch.model.modules()):
        network = Network(batch)
        behind = BehindBackbone(network)
        try:
            levels = levels or behind.find()
        except RunsOften:
            pass
        else:
            heads = behind.measure(levels)
            units = tuple(measure_units(network, behind.used))
            branches = measure_branches(network, local_cfg, states) if local_cfg else {}
            return PartCosts(units, heads, branches, outputs_are_features=behind.outputs_are_features), levels
    whole = WholeModel(batch)
    levels = levels or whole.find()
    return PartCosts((), whole.measure(levels)), levels
