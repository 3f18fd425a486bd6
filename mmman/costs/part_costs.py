"""What each part of a network costs in training: every segment, every possible local head, neck and heads."""

import copy
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from mmman.local_heads import Position
from mmman.memory.recompute import recompute_part
from mmman.models import LocalBackbone, LocalBranch, LocalStep, normalisation_of, unwrapped
from mmman.partition import State, tensors
from mmman.toolboxes import type_name

from .dry_run import DryRun
from .live_bytes import LiveBytes, tensors_of
from .training_step import TrainingStep
from .variants import neck_and_heads, recompute_backbone


@dataclass(frozen=True)
class PartCost:
    """One part of a network in a training step. Bytes are those beyond what was alive before the part's forward.

    Args:
        output (int): Bytes of its output.
        kept (int): Bytes alive after its forward, the output included.
        forward (int): The most during its forward.
        backward (int): The most during its backward, with what it kept and its output's gradient.
        gradients (int): Bytes of its parameters' gradients.
        resident (int): Bytes of its parameters, buffers and optimizer states.
        flops (tuple[int, int]): Floating point operations of its forward and of its backward.
        seconds (tuple[float, float]): Times of its forward and of its backward; zeros where they were not measured.
    """

    output: int
    kept: int
    forward: int
    backward: int
    gradients: int
    resident: int
    flops: tuple[int, int]
    seconds: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class PartCosts:
    """The costs of all parts of a network for one batch.

    Args:
        names (tuple[str, ...]): The segments' names, in the order of the forward pass.
        segments (tuple[PartCost, ...]): The segments.
        closes (tuple[bool, ...]): Whether a segment's output is one of the backbone's outputs.
        local (dict): Auxiliary network and local head at the end of a block, by the number of the block's last segment,
            whether it is the last block but one, and whether they are recomputed.
        neck_and_heads (dict): Neck, heads and loss, by whether all of the backbone's outputs want a gradient (one
            block) or the last alone, and by whether they are recomputed.
        batch (int): Bytes of the batch.
    """

    names: tuple[str, ...]
    segments: tuple[PartCost, ...]
    closes: tuple[bool, ...]
    local: dict[tuple[int, bool, bool], PartCost]
    neck_and_heads: dict[tuple[bool, bool], PartCost]
    batch: int


def measure_parts(cfg: Config, timed: bool = False) -> PartCosts:
    """Measure every part of a config's network once, forward and backward, on its first batch.

    Bytes and FLOPs come from dry runs of two and of three images, from which they go on in a straight line: the batch's
    images are of one size. Times come from real runs of two images, in proportion.

    Args:
        cfg (Config): A config whose backbone is a ``mmman.LocalBackbone``: its auxiliary networks and local heads are
            measured at the end of every segment, whatever its partition. Its modules are registered.
        timed (bool): Whether to measure times. Defaults to False.

    Returns:
        PartCosts: The costs.

    Raises:
        ValueError: If the backbone is no ``mmman.LocalBackbone``, or has no local head.
    """
    if not cfg.model.backbone.get('local_head') and type_name(cfg.model.backbone.type) == 'LocalBackbone':
        raise ValueError(
            'model.backbone.local_head is not set, so there are no blocks to plan: take one from '
            'configs/_base_/local_learning'
        )
    step = TrainingStep(recompute_backbone(cfg), dry=True)
    trained = sum(p.nbytes for p in step.model.parameters() if p.requires_grad)
    states = sum(t.nbytes for t in tensors_of(step.optim_wrapper)) / trained
    images = len(step.batch['inputs'])
    few = min(2, images)  # BatchNorm behind a pooling to 1 x 1 takes no single image
    seconds = {}
    if timed:
        network = _Network(step.model, cfg.model.backbone, step.batch, few)
        seconds = {place: tuple(images / few * s for s in pair) for place, pair in network.measure(_time).items()}
    with DryRun(tensors_of(step.model)):
        networks = [_Network(step.model, cfg.model.backbone, step.batch, num) for num in sorted({few, min(3, images)})]
        counted = [network.measure(lambda part: _count(part, states)) for network in networks]
    network = networks[-1]
    costs = {
        place: replace(
            _extrapolate([costs[place] for costs in counted], images - few), seconds=seconds.get(place, (0.0, 0.0))
        )
        for place in counted[0]
    }
    return PartCosts(
        names=tuple(segment.name for segment in network.segments),
        segments=tuple(costs['segment', i] for i in range(len(network.segments))),
        closes=tuple(segment.closes is not None for segment in network.segments),
        local={place[1:]: cost for place, cost in costs.items() if place[0] == 'local'},
        neck_and_heads={place[1:]: cost for place, cost in costs.items() if place[0] == 'neck_and_heads'},
        batch=network.batch_bytes,
    )


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


class _Part(NamedTuple):
    """Something with a forward and a backward pass."""

    run: Callable[[], State]
    modules: Sequence[nn.Module]  # that it runs
    params: Sequence[nn.Parameter]
    given: Sequence[Tensor]  # what is alive before


class _Network:
    """A model whose backbone is a LocalBackbone of one block, taken apart, with a batch to run each part on."""

    def __init__(self, model: nn.Module, local_cfg: dict, batch: dict, num_images: int) -> None:
        self.model = unwrapped(model)
        self.backbone: LocalBackbone = self.model.backbone
        self.family = self.backbone.local.family
        self.segments = self.backbone.local.blocks[0].segments
        self.local_cfg = local_cfg
        with LiveBytes(tensors_of(self.model)) as live:
            start = live.current
            batch = self.model.data_preprocessor(copy.deepcopy(batch), True)
            self.batch_bytes = live.current - start
        # Of the size that the whole batch was padded to.
        self.inputs, self.data_samples = batch['inputs'][:num_images], batch['data_samples'][:num_images]
        with torch.no_grad():
            self.xs = [self.inputs, *self._outputs(self.inputs)]
            self.backbone.eval()
            self.example = self.family.example_input(self.backbone)
            self.examples = self._outputs(self.example)
            self.model.train()

    def measure(self, meter: Callable[[_Part], Any]) -> dict[tuple, Any]:
        """What a meter says of every part, by the part's place. Parts that are alike are measured once."""
        found, by_look = {}, {}
        for place, look, part in self._parts():
            if look not in by_look:
                by_look[look] = meter(part)
            found[place] = by_look[look]
        return found

    def _parts(self) -> Iterator[tuple[tuple, tuple, _Part]]:
        for i, segment in enumerate(self.segments):
            modules = list(self.family.modules(self.backbone, segment))
            yield ('segment', i), (i == 0, repr(modules), _shapes(self.xs[i])), self._segment(i, modules)
        for i in range(len(self.segments) - 1):
            for last in (False, True):
                for recomputed in (False, True):
                    local = self._branch(i, last, recomputed)
                    look = (repr(local), recomputed, _shapes(self.xs[i + 1]))
                    yield ('local', i, last, recomputed), look, self._local(local, i)
        for recomputed in (False, True):
            model = copy.deepcopy(self.model) if recomputed else self.model
            for name in neck_and_heads(model) if recomputed else ():
                recompute_part(model, name)
            for one_block in (True, False):
                place = ('neck_and_heads', one_block, recomputed)
                yield place, place, self._neck_and_heads(model, one_block)

    def _outputs(self, x: State) -> list[State]:
        return [x := self.family.run(self.backbone, segment, x) for segment in self.segments]

    def _segment(self, i: int, modules: list[nn.Module]) -> _Part:
        learns_before = any(
            p.requires_grad for s in self.segments[:i] for p in self.family.parameters(self.backbone, s)
        )
        x = _leaf(self.xs[i], learns_before)
        params = list(self.family.parameters(self.backbone, self.segments[i]))
        return _Part(lambda: self.family.run(self.backbone, self.segments[i], x), modules, params, tensors(self.xs))

    def _branch(self, i: int, last: bool, recomputed: bool) -> LocalBranch:
        """The auxiliary network and the local head of a block that ends with segment i."""
        head = self.local_cfg['local_head']
        local = LocalBranch(
            self.local_cfg.get('auxiliary', dict(type='mmman.MomentumAuxiliary')),
            [self.family.module(self.backbone, segment) for segment in self.segments[i + 1 :]],
            head[-1 if last else 0] if isinstance(head, (list, tuple)) else head,
            self.examples[i],
            self.example,
            Position(
                1,
                2 if last else 3,
                i,
                tuple(self.family.feature(x).shape for x in self.examples[i + 1 :]),
                self.family.extra_tokens(self.backbone),
            ),
            self.family.feature,
            recomputed,
        )
        local.head.adapt_to(self.model)
        return revert_sync_batchnorm(local).train()

    def _local(self, local: LocalBranch, i: int) -> _Part:
        x = _leaf(self.xs[i + 1])
        mean, std = normalisation_of(self.model)
        step = LocalStep(update=None, data_samples=self.data_samples, mean=mean, std=std)
        run = lambda: self.model.parse_losses(local(x, self.inputs, step))[0]  # noqa: E731
        return _Part(run, [local], list(local.parameters()), tensors(self.xs))

    def _neck_and_heads(self, model: nn.Module, one_block: bool) -> _Part:
        closing = {
            segment.closes: self.xs[i] for i, segment in enumerate(self.segments, 1) if segment.closes is not None
        }
        features = {i: _leaf(x, one_block or i == max(closing)) for i, x in closing.items()}
        x = features.get(self.segments[-1].closes, self.xs[-1])
        made = self.family.outputs(model.backbone, features, x, self.inputs)

        run = lambda: loss_of_features(model, made, self.inputs, self.data_samples)  # noqa: E731
        modules = [module for name, module in model.named_children() if module is not model.backbone]
        return _Part(run, modules, [p for module in modules for p in module.parameters()], tensors(self.xs))


def _count(part: _Part, states: float) -> PartCost:
    """Bytes and FLOPs of a part; ``states`` are the bytes of optimizer states for each byte of a parameter."""
    gc.collect()  # mmdet's sampling results lie in reference cycles
    with LiveBytes([*part.given, *part.params, *tensors_of(*part.modules)]) as live:
        start = live.current
        out = tensors(part.run())
        output, kept, forward = _bytes(out), live.current - start, live.take_peak().bytes - start
        learning = [x for x in out if x.requires_grad]
        if learning:
            out = _End.apply(*learning)
            del learning
            out.backward()
        backward = live.peak - start
        gradients = sum(p.grad.nbytes for p in part.params if p.grad is not None)
        _drop_gradients(part)
    with FlopCounterMode(display=False) as counter:  # apart: it keeps tensors
        learning = [x for x in tensors(part.run()) if x.requires_grad]
        forward_flops = counter.get_total_flops()
        if learning:
            torch.autograd.backward(learning, [torch.empty_like(x) for x in learning])
        backward_flops = counter.get_total_flops() - forward_flops
        _drop_gradients(part)
    trained = sum(p.nbytes for p in part.params if p.requires_grad)
    resident = sum(p.nbytes for p in part.params) + sum(b.nbytes for m in part.modules for b in m.buffers())
    return PartCost(
        output=output,
        kept=kept,
        forward=forward,
        backward=backward,
        gradients=gradients,
        resident=resident + round(states * trained),
        flops=(forward_flops, backward_flops),
    )


class _End(torch.autograd.Function):
    """What follows a part: its backward makes a gradient that nobody else holds."""

    @staticmethod
    def forward(ctx: Any, *outputs: Tensor) -> Tensor:
        ctx.like = [(x.shape, dict(dtype=x.dtype, device=x.device)) for x in outputs]
        return outputs[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(grad.new_empty(shape, **options) for shape, options in ctx.like)


def _time(part: _Part) -> tuple[float, float]:
    """Seconds of a part's forward and backward: the shorter of two runs each, the first of which warms up."""
    forward, backward = [], []
    for _ in range(2):
        start = _now()
        learning = [x for x in tensors(part.run()) if x.requires_grad]
        middle = _now()
        if learning:
            torch.autograd.backward(learning, [torch.ones_like(x) for x in learning])
        forward.append(middle - start)
        backward.append(_now() - middle)
        _drop_gradients(part)
    return min(forward), min(backward)


def _leaf(x: State, learns: bool = True) -> State:
    """The same state without a graph, its tensors wanting a gradient or not."""
    return tree_map_only(Tensor, lambda t: t.detach().requires_grad_(learns and t.is_floating_point()), x)


def _shapes(x: State) -> tuple[torch.Size, ...]:
    return tuple(tensor.shape for tensor in tensors(x))


def _bytes(outputs: Sequence[Tensor]) -> int:
    return sum({id(x): x.nbytes for x in outputs}.values())


def _drop_gradients(part: _Part) -> None:
    for p in part.params:
        p.grad = None


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _extrapolate(costs: Sequence[PartCost], more: int) -> PartCost:
    """The cost of so many more images than the first cost's, from that of one more."""
    one, two = costs[0], costs[-1]

    def at(a: int, b: int) -> int:
        return a + more * (b - a)

    return PartCost(
        output=at(one.output, two.output),
        kept=at(one.kept, two.kept),
        forward=at(one.forward, two.forward),
        backward=at(one.backward, two.backward),
        gradients=one.gradients,
        resident=one.resident,
        flops=(at(one.flops[0], two.flops[0]), at(one.flops[1], two.flops[1])),
    )
