"""Count what each part of a real model costs in a training step: parameters, operations, kept activations."""

import copy
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from mmman.local_heads import BlockOutput
from mmman.models import LocalBackbone, LocalBranch, find_local_backbone, normalisation_of, unwrapped
from mmman.partition import State, detached, tensors

from .dry_run import DryRun
from .live_bytes import tensors_of
from .network import loss_of_features
from .training_step import TrainingStep

# What a block consists of. The head of the last block is all that follows the backbone, LB includes the scale s.
PARTS = ('layers', 'learnable_bias', 'ema', 'head')


@dataclass(frozen=True)
class Count:
    """What a part of the model costs in one training step.

    Args:
        params (int): Parameters, trained or not.
        flops (int): Floating point operations, forward and backward, by torch's counter (a multiply-add is two;
            convolutions and matrix products only). Those of recomputation are counted, the optimizer's are not.
        activations (int): Bytes that autograd keeps for the backward, parameters and buffers not counted.
    """

    params: int = 0
    flops: int = 0
    activations: int = 0

    def __add__(self, other: 'Count') -> 'Count':
        return Count(self.params + other.params, self.flops + other.flops, self.activations + other.activations)

    def __sub__(self, other: 'Count') -> 'Count':
        return self + Count(-other.params, -other.flops, -other.activations)


@dataclass(frozen=True)
class CountedCost:
    """What a model costs, trained in blocks and end to end.

    Args:
        blocks (list[dict[str, Count]]): Of each block, the cost of its ``PARTS``. What is kept of a block is kept at
            once; what two of its parts keep counts for the first.
        end_to_end (Count): The same model in one block, the same batch.
        segment_params (list[int]): Parameters of each layer that a block could end with.
    """

    blocks: list[dict[str, Count]]
    end_to_end: Count
    segment_params: list[int]

    def of_block(self, index: int) -> Count:
        """The cost of a whole block, by its index from 0."""
        return sum(self.blocks[index].values(), Count())


def count_cost(cfg: Config) -> CountedCost:
    """Count a training step of a config on the first batch of its data, part by part, each run dry.

    Args:
        cfg (Config): A config of local learning; its modules are registered.

    Raises:
        ValueError: If its backbone is none of local learning, or it recomputes activations.
    """
    local = _BlockCounter(cfg)
    plain = copy.deepcopy(cfg)
    plain.model.backbone.partition = dict(num_blocks=1)
    plain.model.backbone.local_head = None
    (end_to_end,) = _BlockCounter(plain).count()
    backbone = local.backbone
    segments = [
        _num(backbone.local.family.parameters(backbone, segment))
        for block in backbone.local.blocks
        for segment in block.segments
    ]
    return CountedCost(local.count(), sum(end_to_end.values(), Count()), segments)


class _BlockCounter:
    """A config's model and batch, and the counts of its blocks.

    Args:
        cfg (Config): A config of local learning.

    Raises:
        ValueError: See :func:`count_cost`.
    """

    def __init__(self, cfg: Config) -> None:
        step = TrainingStep(cfg, dry=True)
        self.model: nn.Module = unwrapped(step.model)
        self.backbone: LocalBackbone = find_local_backbone(self.model)
        self.precision = step.optim_wrapper.main.optim_context
        self.batch = step.batch
        _check_keeps_activations(self.model, self.backbone)

    def count(self) -> list[dict[str, Count]]:
        """Count the parts of every block."""
        local, found = self.backbone.local, []
        with DryRun(tensors_of(self.model)):
            batch = self.model.data_preprocessor(copy.deepcopy(self.batch), True)
            self.inputs, self.data_samples = batch['inputs'], batch['data_samples']
            x, features = self.inputs, {}
            for block in local.blocks[:-1]:
                parts = _ChainOfParts(self._precise, tensors_of(self.model))
                x, own = parts.run('layers', partial(local.run, block), x)
                self._count_branch(parts, local.branch(block), x)
                found.append(parts.counts())
                x = detached(x)
                features.update(detached(own))
            parts = _ChainOfParts(self._precise, tensors_of(self.model))
            outputs = parts.run('layers', partial(self._last_layers, features), x)
            parts.run('head', self._loss, outputs)
            found.append(parts.counts())
        return self._with_params(found)

    def _precise(self) -> AbstractContextManager:
        """The precision that the config's forward pass has."""
        return self.precision(self.model)

    def _last_layers(self, features: dict[int, State], x: State) -> Any:
        local = self.backbone.local
        x, own = local.run(local.blocks[-1], x)
        return local.family.outputs(self.backbone, {**features, **own}, x, self.inputs)

    def _loss(self, outputs: Any) -> Tensor:
        return loss_of_features(self.model, outputs, self.inputs, self.data_samples)

    def _count_branch(self, parts: '_ChainOfParts', branch: LocalBranch, x: State) -> None:
        mean, std = normalisation_of(self.model)

        def loss(x: State, y: State) -> Tensor:
            output = BlockOutput(x=branch.feature(x), y=branch.feature(y), inputs=self.inputs, mean=mean, std=std)
            return self.model.parse_losses(branch.head.loss(output, self.data_samples))[0]

        y = x
        if branch.auxiliary is not None:
            y = parts.run('learnable_bias', branch.auxiliary, x)
            if (ema := _ema_of(branch)) is not None:
                parts.split('learnable_bias', 'ema', ema, x)
        parts.run('head', loss, x, y)

    def _with_params(self, blocks: list[dict[str, Count]]) -> list[dict[str, Count]]:
        """The same with parameters; those that belong to no other part are the last head's."""
        backbone, local = self.backbone, self.backbone.local
        params: list[dict[str, int]] = []
        for block in local.blocks:
            own = {'layers': _num(p for s in block.segments for p in local.family.parameters(backbone, s))}
            if block is not local.blocks[-1]:
                branch = local.branch(block)
                own['head'] = _num(branch.head.parameters())
                own['ema'] = _num(_ema_of(branch).parameters()) if _ema_of(branch) is not None else 0
                own['learnable_bias'] = _num(branch.parameters()) - own['head'] - own['ema']
            params.append(own)
        params[-1]['head'] = _num(self.model.parameters()) - sum(sum(own.values()) for own in params)
        return [
            {part: replace(counts.get(part, Count()), params=own.get(part, 0)) for part in PARTS}
            for counts, own in zip(blocks, params, strict=True)
        ]


class _ChainOfParts:
    """Runs the parts of a block one after the other, each with a graph of its own: so each has its own backward.

    Args:
        precision (Callable): Gives the context that forward passes run in.
        resident (Iterable[Tensor]): What lives between steps: it does not count as kept.
    """

    def __init__(self, precision: Callable[[], AbstractContextManager], resident: Iterable[Tensor]) -> None:
        self._precision = precision
        self._resident = {tensor.untyped_storage()._cdata for tensor in resident}
        self._counts: dict[str, Count] = {}
        self._kept: dict[int, Any] = {}  # storages, alive so that no other gets their place
        self._done: list[tuple[str, list[Tensor]]] = []  # parts with their outputs that want a gradient
        self._leaves: dict[Tensor, list[Tensor]] = {}  # by such an output, what later parts were given in its place

    def run(self, name: str, part: Callable[..., Any], *given: Any) -> Any:
        """Run the next part.

        Args:
            name (str): Its name.
            part (Callable): What runs it.
            *given: Its arguments: tensors, or structures of them; outputs of earlier parts are cut off from those.

        Returns:
            What it returns.
        """
        output, count = self._forward(part, *tree_map_only(Tensor, self._cut, given))
        self._counts[name] = count
        learning = [x for x in tensors(output) if x.requires_grad]
        self._done.append((name, list(dict.fromkeys(learning))))
        return output

    def split(self, whole: str, name: str, part: Callable[..., Any], *given: Any) -> None:
        """Count a part that another one contains apart, by running it once more on its own.

        Args:
            whole (str): The name of the part that contains it, which has just run.
            name (str): Its own name.
            part (Callable): What runs it.
            *given: Its arguments.
        """
        leaves = tree_map_only(Tensor, lambda x: x.detach().requires_grad_(x.requires_grad), given)
        output, count = self._forward(part, *leaves)
        learning = [x for x in tensors(output) if x.requires_grad]
        count += self._backward(learning, [torch.ones_like(x) for x in learning])
        self._counts[name] = count
        self._counts[whole] -= count

    def counts(self) -> dict[str, Count]:
        """What each part costs. The last one that ran has returned the loss, from which all learn."""
        for name, outputs in reversed(self._done):
            gradients = [self._gradient(output) for output in outputs]
            self._counts[name] += self._backward(outputs, gradients)
        return self._counts

    def _cut(self, tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        self._leaves.setdefault(tensor, []).append(leaf := tensor.detach().requires_grad_())
        return leaf

    def _gradient(self, output: Tensor) -> Tensor | None:
        if output not in self._leaves:
            return torch.ones_like(output) if not output.dim() else None
        gradients = [leaf.grad for leaf in self._leaves[output] if leaf.grad is not None]
        return sum(gradients[1:], start=gradients[0]) if gradients else None

    def _forward(self, part: Callable[..., Any], *given: Any) -> tuple[Any, Count]:
        before = sum(storage.nbytes() for storage in self._kept.values())
        with self._precision(), saved_tensors_hooks(self._keep, lambda kept: kept), _flops() as counter:
            output = part(*given)
        kept = sum(storage.nbytes() for storage in self._kept.values()) - before
        return output, Count(flops=counter.get_total_flops(), activations=kept)

    @staticmethod
    def _backward(outputs: list[Tensor], gradients: list[Tensor | None]) -> Count:
        known = [
            (output, gradient) for output, gradient in zip(outputs, gradients, strict=True) if gradient is not None
        ]
        if not known:
            return Count()
        with _flops() as counter:
            torch.autograd.backward(*zip(*known, strict=True))
        return Count(flops=counter.get_total_flops())

    def _keep(self, tensor: Tensor) -> Tensor:
        """Autograd keeps a tensor for the backward."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._resident:
            self._kept[storage._cdata] = storage
        return tensor.detach()


def _flops() -> FlopCounterMode:
    return FlopCounterMode(display=False)


def _ema_of(branch: LocalBranch) -> nn.Module | None:
    return getattr(branch.auxiliary, 'ema', None)


def _num(params: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in params)


def _check_keeps_activations(model: nn.Module, backbone: LocalBackbone) -> None:
    names = [name for name, module in model.named_modules() if getattr(module, 'with_cp', False) is True]
    if backbone.local.modes or names:
        where = 'the LocalBackbone' if backbone.local.modes else names[0]
        raise ValueError(
            f'the cost model is about activations that are kept, but {where} recomputes them: set its with_cp=False '
            '(tools/analysis/step_cost.py measures what recomputation saves)'
        )
