"""A model taken apart, with a batch to run each part on."""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from mmman.memory import recompute
from mmman.models import LocalBackbone, find_local_backbone, unwrapped
from mmman.partition import Segment, State, tensors

from .live_bytes import LiveBytes, tensors_of
from .operation_times import OperationTimes
from .part_costs import KEEP
from .timeline import Timeline
from .training_step import TrainingStep, wrappers_of


class Batch:
    """A model and some images of a batch.

    Args:
        step (TrainingStep): The model's training step; inside of :class:`DryRun`, its tensors are dry.
        batch (dict): The batch, as a dataloader gives it.
        number (int): How many images of it, of the size that the whole batch is padded to.
        times (OperationTimes, optional): What times operations. Not timed by default.
    """

    def __init__(self, step: TrainingStep, batch: Any, number: int, times: OperationTimes | None = None) -> None:
        self.times = times
        self.model = unwrapped(step.model)
        self.optim_wrapper = step.optim_wrapper
        self.data = first_images(self.model.data_preprocessor(copy.deepcopy(batch), True), number)
        self.inputs, self.data_samples = self.data['inputs'], self.data['data_samples']

    def timeline(self, *alive: Any) -> Timeline:
        """A new timeline; the model, the images, and tensors in what else is given are alive at its start."""
        return Timeline([*tensors_of(self.model), *tensors((self.inputs, *alive))], self.times)

    def precise(self) -> AbstractContextManager:
        """The precision that the config's forward pass has."""
        return self.optim_wrapper.optim_context(self.model)

    def loss(self) -> Tensor:
        """The model's loss."""
        with self.precise():
            return self.model.parse_losses(self.model._run_forward(self.data, mode='loss'))[0]


class Network:
    """A model taken apart whose backbone is a LocalBackbone of one block, with a batch to run each part on.

    Args:
        batch (Batch): The model and its batch.

    Attributes:
        xs (list[State]): The images, and what each segment gives, without a graph.
        examples (list[State]): The same for a small image.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.model, self.inputs, self.data_samples, self.precise = (
            batch.model,
            batch.inputs,
            batch.data_samples,
            batch.precise,
        )
        self.backbone: LocalBackbone = find_local_backbone(self.model)
        self.family = self.backbone.local.family
        self.segments = self.backbone.local.blocks[0].segments
        with torch.no_grad():
            with self.precise():
                self.xs = [self.inputs, *self._outputs(self.inputs)]
            self.backbone.eval()
            self.example = self.family.example_input(self.backbone)
            self.examples = self._outputs(self.example)
            self.model.train()

    def run(self, segment: Segment, x: State, mode: str = KEEP) -> State:
        """Run a segment."""
        run = partial(self.family.run, self.backbone, segment)
        if mode == KEEP:
            return run(x)
        modules = self.family.modules(self.backbone, segment)
        return recompute(run, x, modules=modules, mode=mode)

    def timeline(self, *alive: Any) -> Timeline:
        """A new timeline; the model, what segments give, and tensors in what else is given are alive at its start."""
        return self.batch.timeline(self.xs, *alive)

    def _outputs(self, x: State) -> list[State]:
        return [x := self.family.run(self.backbone, segment, x) for segment in self.segments]


def first_images(batch: Any, number: int) -> Any:
    """The first images of a batch, as a dataloader or a data preprocessor gives it."""
    if isinstance(batch, Mapping):
        return {key: first_images(value, number) for key, value in batch.items()}
    return batch[:number] if isinstance(batch, (list, tuple, Tensor)) else batch


def num_images(batch: Any) -> int:
    """How many images, or videos, a batch has."""
    inputs = batch['inputs']
    return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)


def bytes_of_batch(model: nn.Module, batch: Any) -> int:
    """Bytes of a batch as it is and as the model's data preprocessor gives it."""
    model = unwrapped(model)
    with LiveBytes(tensors_of(model)) as live:
        start = live.current
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        count = live.current - start
        del data
    return count


def bytes_of_optimizer_step(step: TrainingStep) -> int:
    """The most that an optimizer's step makes beside parameters, gradients and states, as for weight decay."""
    for param in step.model.parameters():
        param.grad = torch.zeros_like(param) if param.requires_grad else None
    with LiveBytes([*tensors_of(*step.holders), *(p.grad for p in step.model.parameters() if p.requires_grad)]) as live:
        start = live.current
        for wrapper in wrappers_of(step.optim_wrapper):
            wrapper.optimizer.step()
    drop_gradients(step.model)
    return live.peak - start


class End(torch.autograd.Function):
    """What follows a part: its backward makes gradients that nobody else holds.

    Example:
        >>> End.apply(*outputs).backward()
    """

    @staticmethod
    def forward(ctx: Any, *outputs: Tensor) -> Tensor:
        """Give a number."""
        ctx.like = [(x.shape, dict(dtype=x.dtype, device=x.device)) for x in outputs]
        return outputs[0].new_zeros(())  # made from an output: dry if that is

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Make the outputs' gradients."""
        return tuple(grad.new_ones(shape, **options) for shape, options in ctx.like)


def loss_of_features(model: nn.Module, features: Any, inputs: Tensor, data_samples: list[Any]) -> Tensor:
    """Run a model's neck, heads and loss alone.

    Args:
        model (nn.Module): A detector, segmentor or classifier.
        features (Any): What its backbone returns, for this once.
        inputs (Tensor): The images, (N, C, H, W).
        data_samples (list): The targets.

    Returns:
        Tensor: The loss, a number.
    """
    model.backbone.forward = lambda x: features
    try:
        return model.parse_losses(model.loss(inputs, data_samples))[0]
    finally:
        del model.backbone.forward


def leaf(x: State, learns: bool = True) -> State:
    """The same state without a graph, its tensors wanting a gradient or not."""
    return tree_map_only(Tensor, lambda t: t.detach().requires_grad_(learns and t.is_floating_point()), x)


def num_bytes(x: State) -> int:
    """Bytes of a state's tensors, each once."""
    return sum({id(t): t.nbytes for t in tensors(x)}.values())


def drop_gradients(model: nn.Module) -> None:
    """Free the gradients of all parameters."""
    for param in model.parameters():
        param.grad = None
