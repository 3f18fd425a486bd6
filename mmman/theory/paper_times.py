"""The paper's table of training times (Table VIII) next to what a simulation makes of its own one-GPU numbers."""

from dataclasses import dataclass

import numpy as np

from .schedule import Link, Schedule, TimedBlock
from .simulate import simulate

FLOAT32 = 4


@dataclass(frozen=True)
class PaperTimes:
    """A row: seconds per epoch as printed, and what the paper does not print, inferred.

    Args:
        name (str): Data and network.
        devices (int): GPUs of the parallel runs, and blocks; inferred from the speed-up of end-to-end training.
        batches (int): Per epoch on one device: training images over the batch.
        params (float): Trained by end-to-end training.
        added_params (float): Trained by MAN++ besides: copies (learnable biases) and local heads.
        output_bytes (float): The largest output of a block in one batch, as float32.
        end_to_end (float): On one GPU.
        end_to_end_ddp (float): With DistributedDataParallel.
        manpp (float): On one GPU.
        manpp_ddp (float): With DistributedDataParallel.
        pipeline (float): MAN++ under the paper's PPLL.
    """

    name: str
    devices: int
    batches: int
    params: float
    added_params: float
    output_bytes: float
    end_to_end: float
    end_to_end_ddp: float
    manpp: float
    manpp_ddp: float
    pipeline: float

    def lost(self, one: float, ddp: float) -> float:
        """Seconds per iteration that data parallel training has above one GPU's.

        Args:
            one (float): Seconds per epoch on one GPU.
            ddp (float): Seconds per epoch with DistributedDataParallel.
        """
        return (ddp - one / self.devices) * self.devices / self.batches

    @property
    def pipeline_share(self) -> float:
        """The slowest stage's part of a batch that gives the paper's pipeline; below 1 / devices nothing does."""
        return self.pipeline / self.manpp

    @property
    def least_link(self) -> float:
        """Bytes per second without which the largest output alone takes longer than the paper's pipeline."""
        return self.output_bytes * self.batches / self.pipeline


# Images: ImageNet 1,281,167 by 128; COCO 118,287 by 16; Cityscapes 2,975 by 16. Parameters are counted on the released
# splits (mmdet's and mmseg's for R34 and DeepLabV3, LayerNorm + Linear local heads for ViT). Outputs: 512x28x28 at 224
# pixels; 197 tokens; stride 4 at 600x1000; 1024x64x128 at 512x1024 with stride 8.
TABLE_8 = (
    PaperTimes('ImageNet R101', 4, 10009, 44.55e6, 17.99e6, 205.5e6, 2242, 795, 2726, 973, 726),
    PaperTimes('ImageNet R152', 4, 10009, 60.19e6, 17.99e6, 205.5e6, 3299, 1135, 3758, 1298, 1018),
    PaperTimes('ImageNet ViT-Ti', 4, 10009, 5.72e6, 3.25e6, 19.4e6, 1282, 503, 1613, 636, 458),
    PaperTimes('ImageNet ViT-B', 4, 10009, 86.57e6, 44.84e6, 77.5e6, 9103, 2976, 11433, 3620, 2895),
    PaperTimes('COCO R34', 4, 7393, 31.52e6, 18.54e6, 153.6e6, 9407, 3137, 10903, 3667, 2869),
    PaperTimes('COCO R101', 4, 7393, 56.96e6, 22.34e6, 614.4e6, 10654, 3481, 12271, 4081, 3257),
    PaperTimes('COCO R152', 4, 7393, 72.60e6, 22.34e6, 614.4e6, 11076, 3758, 12689, 4346, 3328),
    PaperTimes('Cityscapes R50', 2, 186, 68.11e6, 7.1e6, 536.9e6, 80, 52, 103, 64, 54),
    PaperTimes('Cityscapes R101', 2, 186, 87.11e6, 7.1e6, 536.9e6, 95, 58, 131, 79, 61),
)


@dataclass(frozen=True)
class Prediction:
    """Seconds per epoch.

    Args:
        end_to_end_ddp (float): End to end, data parallel, the link fitted.
        manpp_ddp (float): MAN++, data parallel, over the same link.
        pipeline (float): MAN++ in equal stages, links free.
        pipeline_linked (float): The same, every output as large as the largest and sent over the fitted link while
            the stages compute; no stage waits for weights.
    """

    end_to_end_ddp: float
    manpp_ddp: float
    pipeline: float
    pipeline_linked: float


def fit_link(row: PaperTimes, forward_fraction: float = 1 / 3) -> Link:
    """The link that explains a row's end-to-end DistributedDataParallel time exactly.

    Args:
        row (PaperTimes): A row whose time is above one GPU's over the number of GPUs.
        forward_fraction (float): The part of a step that cannot overlap with averaging. 1: nothing overlaps.

    Raises:
        ValueError: If there is no lost time to explain.
    """
    lost = row.lost(row.end_to_end, row.end_to_end_ddp)
    if lost <= 0:
        raise ValueError(f'{row.name} loses nothing to data parallel training: {lost:g} s per iteration')
    seconds = lost + (1 - forward_fraction) * row.end_to_end / row.batches
    return Link(2 * (row.devices - 1) / row.devices * row.params * FLOAT32 / seconds)


def predict(row: PaperTimes, link: Link, forward_fraction: float = 1 / 3) -> Prediction:
    """Simulate a row from its one-GPU times, the blocks equal.

    Args:
        row (PaperTimes): The row.
        link (Link): For data parallel training, and for the pipeline's last figure.
        forward_fraction (float): See :class:`Schedule`.
    """

    def epoch(num_blocks: int, one: float, num_params: float, output_bytes: float, on: Link, pipelined: bool) -> float:
        block = TimedBlock(one / row.batches / num_blocks, FLOAT32 * num_params / num_blocks, output_bytes)
        stages = ((block,),) * num_blocks if pipelined else ((block,) * num_blocks,)
        replicas = 1 if pipelined else row.devices
        schedule = Schedule(stages, replicas, link=on, delay=None, prefetch=True, forward_fraction=forward_fraction)
        return simulate(schedule).seconds(row.batches)

    trained = row.params + row.added_params
    return Prediction(
        end_to_end_ddp=epoch(1, row.end_to_end, row.params, 0, link, pipelined=False),
        manpp_ddp=epoch(row.devices, row.manpp, trained, 0, link, pipelined=False),
        pipeline=epoch(row.devices, row.manpp, trained, 0, Link(), pipelined=True),
        pipeline_linked=epoch(row.devices, row.manpp, trained, row.output_bytes, link, pipelined=True),
    )


def fit_loss(rows: tuple[PaperTimes, ...]) -> tuple[float, float]:
    """Fit data parallel training's lost seconds per iteration as a constant plus a share of the iteration.

    It knows nothing of gradients: where it does better than a link, these are not what the time was lost to.

    Args:
        rows (tuple[PaperTimes, ...]): Rows whose end-to-end times are fitted.

    Returns:
        tuple[float, float]: The constant in seconds and the share.
    """
    share, constant = np.polyfit(
        [row.end_to_end / row.batches for row in rows],
        [row.lost(row.end_to_end, row.end_to_end_ddp) for row in rows],
        deg=1,
    )
    return float(constant), float(share)


def with_loss(row: PaperTimes, one: float, loss: tuple[float, float]) -> float:
    """Seconds per epoch of data parallel training that loses time as :func:`fit_loss` has it.

    Args:
        row (PaperTimes): The row.
        one (float): Seconds per epoch on one GPU.
        loss (tuple[float, float]): The constant and the share.
    """
    constant, share = loss
    return one / row.devices * (1 + share) + constant * row.batches / row.devices
