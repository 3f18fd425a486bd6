"""One step of a detection local head on a made-up image, to see whether the dense head in it can learn there."""

import copy
import math
import random
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from mmengine.logging import MessageHub, print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.distributed import distributed_c10d
from torch.nn.modules.batchnorm import _BatchNorm

from .base import BlockOutput, LocalHead
from .dense_head import ADVICE
from .levels import HeadLevels

# Sides of objects that some level of each head of mmdet is responsible for, in strides of this level: FoveaHead's are 2
# to 8, CenterNetUpdateHead's 4 to 10, FCOSHead's 8 to 32.
SIDES = (3, 5, 16)
# Made-up values alone can be at fault: the mixture model of PAAHead fails where losses nearly coincide.
TRIES = 3


class NoTrainCfgError(ValueError):
    """A dense head that cannot learn because it has no ``train_cfg``; the message is one line for the user."""


def try_out(local_head: LocalHead, pyramid: HeadLevels, levels: Sequence[int], example: BlockOutput) -> None:
    """Run the loss of a detection local head forwards and backwards once, and refuse a head that cannot learn.

    A copy runs, on one small image with objects for every level, so that neither parameters, gradients and buffers nor
    the random numbers of the run change. Where it fails (an assigner may want more cells), it gets a second chance on
    an image of twice the side. A convolution whose output is meant for another head of the model (for the masks of
    CondInst and YOLACT) is left out, if the losses are the same without it.

    Args:
        local_head (LocalHead): A detection local head; its child ``head`` is the dense head.
        pyramid (HeadLevels): What the dense head is made from.
        levels (Sequence[int]): Indices of its levels, in its own order.
        example (BlockOutput): What the block gives for one image.

    Raises:
        NoTrainCfgError: If the dense head fails where it reads its ``train_cfg``, and has none.
        ValueError: If it fails otherwise, predicts for other levels than it is given, or has idle parameters.
    """
    strides = [pyramid.strides[i] for i in levels]
    side = math.ceil(max(8 * min(strides), *strides))
    with ExitStack() as stack:
        for context in (_own_random_numbers(example.y.device), _one_process(), _first_iteration(), torch.enable_grad()):
            stack.enter_context(context)
        trial = _Trial(local_head, strides, example, side)
        if trial.fault and 'masks' in trial.fault:
            trial = _Trial(local_head, strides, example, side, with_masks=True)
        if trial.fault and not trial.losses:
            side *= 2
            trial = _Trial(local_head, strides, example, side, trial.with_masks)
        if trial.idle and _leave_out(local_head, trial.idle):
            without = _Trial(local_head, strides, example, side, trial.with_masks)
            if without.losses == trial.losses and not without.fault:
                names = sorted({name.rpartition('.')[0] for name in trial.idle})
                print_log(
                    f'DetectionLocalHead: {pyramid.name} at strides {strides} does without {", ".join(names)}, which '
                    'no local loss trains',
                    logger='current',
                )
                return
    if trial.fault:
        has_none = getattr(local_head.head, 'train_cfg', {}) is None
        lacks = ' (it has no train_cfg)' if has_none else ''
        raise (NoTrainCfgError if has_none and trial.reads_train_cfg else ValueError)(
            f'DetectionLocalHead: {pyramid.name} cannot learn from strides {strides} alone: {trial.fault}{lacks}'
            f'{pyramid.unequal}. {ADVICE}'
        )


class _Trial:
    """One step on an image of ``side`` pixels.

    Attributes:
        losses (list[float]): The losses.
        idle (list[str]): Names of the parameters that want a gradient and got none.
        fault (str): What went wrong; empty if nothing did.
        reads_train_cfg (bool): Whether it went wrong in a line that reads ``train_cfg`` or what heads make from it.
    """

    def __init__(
        self,
        local_head: LocalHead,
        strides: Sequence[float],
        example: BlockOutput,
        side: int,
        with_masks: bool = False,
    ) -> None:
        self.with_masks = with_masks
        self.reads_train_cfg = False
        self.losses: list[float] = []
        self.idle: list[str] = []
        self._sizes: list[list[tuple[int, ...]]] = []
        local_head = copy.deepcopy(local_head).to(example.y.device).train()
        for module in local_head.modules():
            if isinstance(module, _BatchNorm):
                module.eval()  # a single cell has no variance
        local_head.head.register_forward_hook(self._note_sizes)
        for seed in range(side, side + TRIES):
            # Not torch.manual_seed, which would seed the GPUs as well.
            torch.default_generator.manual_seed(seed)
            sample = _sample(side, strides, example.y.device, with_masks)
            self.fault = self._error(local_head, _random_output(example, side), sample)
            if not self.fault:
                break
        self.fault = self.fault or self._other_levels() or self._idle()

    def _note_sizes(self, head: nn.Module, given: tuple, predictions: Any) -> None:
        first = predictions[0] if isinstance(predictions, tuple) else predictions
        maps = [part if isinstance(part, (list, tuple)) else [] for part in (given[0], first)]
        self._sizes = [[tuple(level.shape[-2:]) for level in part] for part in maps]

    def _error(self, local_head: LocalHead, output: BlockOutput, sample: Any) -> str:
        try:
            losses = local_head.loss(output, [sample])
            parts = [value for name, value in losses.items() if 'loss' in name]
            totals = [sum(part) if isinstance(part, (list, tuple)) else part for part in parts]
            sum(total.sum() for total in totals).backward()
        except Exception as error:  # whatever a toolbox's head raises that is given what does not fit
            where = traceback.extract_tb(error.__traceback__)[-1]
            file = where.filename.rpartition('/')[2]
            text = ' '.join(str(error).split()) or where.line
            self.reads_train_cfg = any(word in (where.line or '') for word in ('train_cfg', 'assigner', 'sampler'))
            return f'its loss fails with {type(error).__name__} ({file}:{where.lineno}): {text}'
        self.losses = [float(total.detach().sum()) for total in totals]
        self.idle = [name for name, p in local_head.named_parameters() if p.requires_grad and p.grad is None]
        return ''

    def _other_levels(self) -> str:
        if len(self._sizes) == 2 and self._sizes[0] != self._sizes[1]:
            return f'it is given levels of {self._sizes[0]} cells and predicts for {self._sizes[1] or "none of them"}'
        return ''

    def _idle(self) -> str:
        some = ', '.join(self.idle[:3]) + ', ...' * (len(self.idle) > 3)
        return f'its loss gives {len(self.idle)} parameters no gradient ({some})' if self.idle else ''


class _NoOutput(nn.Module):
    """Zeros in the place of what a convolution of stride 1 would give."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to zeros (N, ``channels``, H, W)."""
        return x.new_zeros(x.shape[0], self.channels, *x.shape[2:])


def _leave_out(local_head: LocalHead, idle: Sequence[str]) -> bool:
    """Put zeros in the place of the convolutions that the idle parameters make up, if they do make up such ones."""
    modules = {name: local_head.get_submodule(name) for name in {name.rpartition('.')[0] for name in idle}}
    for name, module in modules.items():
        own = {f'{name}.{parameter}' for parameter, _ in module.named_parameters()}
        same = isinstance(module, nn.Conv2d) and all(
            stride == 1 and 2 * padding == dilation * (size - 1)
            for stride, padding, dilation, size in zip(
                module.stride, module.padding, module.dilation, module.kernel_size, strict=True
            )
        )
        if not same or not own <= set(idle):
            return False
    for name, module in modules.items():
        parent, _, child = name.rpartition('.')
        setattr(local_head.get_submodule(parent), child, _NoOutput(module.out_channels))
    return True


def _random_output(example: BlockOutput, side: int) -> BlockOutput:
    """Random numbers of the example's shapes, for an image of another size.

    Not the example's own numbers: those of a network without trained weights may be of any size, and PAAHead fits
    mixtures to what follows from them.
    """
    x, y = (
        torch.randn(*feature.shape[:2], *2 * [math.ceil(side / example.stride(feature))], device=feature.device)
        for feature in (example.x, example.y)
    )
    return BlockOutput(x=x, y=y, inputs=y.new_zeros(1).expand(*example.inputs.shape[:2], side, side))


def _sample(side: int, strides: Sequence[float], device: torch.device, with_masks: bool) -> Any:
    """An image's targets: squares of ``SIDES`` strides of each level around its middle; they may be larger than it."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    half = torch.tensor([sides * stride / 2 for stride in strides for sides in SIDES], device=device)[:, None]
    boxes = torch.cat([side / 2 - half, side / 2 - half, side / 2 + half, side / 2 + half], dim=1)
    labels = torch.zeros(len(boxes), dtype=torch.long, device=device)
    size = (side, side)
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo=dict(img_id=0, **meta))
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
    if with_masks:
        masks = np.zeros((len(boxes), side, side), dtype=np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.clamp(0, side).int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances.masks = BitmapMasks(masks, side, side)
    return sample


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave the random numbers of the run as they are, those of samplers and of scikit-learn (PAAHead) too."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == 'cuda' else []):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def _first_iteration() -> Iterator[None]:
    """Let heads find the epoch and the iteration where mmengine's runner will write them (TOODHead)."""
    hub = MessageHub.get_current_instance()
    missing = [key for key in ('epoch', 'iter') if key not in hub.runtime_info]
    for key in missing:
        hub.update_info(key, 0)
    try:
        yield
    finally:
        for key in missing:
            hub.pop_info(key)


@contextmanager
def _one_process() -> Iterator[None]:
    """Let heads average their normalisers (``reduce_mean``) over this process alone.

    They take no group from outside, and torch's default one has no collectives on the CPU, where models are built, if
    its backend is NCCL. With no default group they see no other process.
    """
    world = distributed_c10d._get_default_group() if dist.is_initialized() else None
    if world is not None:
        distributed_c10d._update_default_pg(None)
    try:
        yield
    finally:
        if world is not None:
            distributed_c10d._update_default_pg(world)
