"""Count what each block of a real model costs in a training step: parameters, operations, activations."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mmman.models import LocalBackbone, LocalBranch, find_local_backbone

from .training_step import TrainingStep

# What a block consists of. The head of the last block is all that follows the backbone, LB includes the scale s.
PARTS = ('layers', 'learnable_bias', 'ema', 'head')


@dataclass
class Cost:
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

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(self.params + other.params, self.flops + other.flops, self.activations + other.activations)


@dataclass(frozen=True)
class CountedCost:
    """What a model costs, trained in blocks and end to end.

    Args:
        blocks (list[dict[str, Cost]]): Of each block, the cost of its ``PARTS``. What is kept of a block is kept at
            once; what two of its parts keep counts for the first.
        end_to_end (Cost): The same model in one block, the same batch.
        segment_params (list[int]): Parameters of each layer that a block could end with.
    """

    blocks: list[dict[str, Cost]]
    end_to_end: Cost
    segment_params: list[int]

    def of_block(self, index: int) -> Cost:
        """The cost of a whole block, by its index from 0."""
        return sum(self.blocks[index].values(), Cost())


def count_cost(cfg: Config) -> CountedCost:
    """Count a training step of a config on the first batch of its data.

    Args:
        cfg (Config): A config of local learning; its modules are registered.

    Raises:
        ValueError: If its backbone is none of local learning, or it recomputes activations.
    """
    local = _StepCount(cfg)
    plain = copy.deepcopy(cfg)
    plain.model.backbone.partition = dict(num_blocks=1)
    plain.model.backbone.local_head = None
    end_to_end = _StepCount(plain).blocks[0]
    backbone = find_local_backbone(local.model)
    segments = [
        sum(p.numel() for p in backbone.local.family.parameters(backbone, segment))
        for block in backbone.local.blocks
        for segment in block.segments
    ]
    return CountedCost(local.blocks, sum(end_to_end.values(), Cost()), segments)


class _StepCount:
    """Runs one step, and knows at any moment which part of which block is at work.

    In the forward pass that follows from the order of the modules. In the backward it follows from the nodes of
    autograd's graph: each was noted, when it was made, for the part that made it.
    """

    def __init__(self, cfg: Config) -> None:
        step = TrainingStep(cfg)
        self.model = step.model
        self.backbone = find_local_backbone(step.model)
        _check_keeps_activations(step.model, self.backbone)
        self.blocks = [{part: Cost() for part in PARTS} for _ in self.backbone.local.blocks]
        self._count_params()
        self._at = self.blocks[0]['layers']
        self._nodes: set[Node] = set()
        self._storages: dict[int, Any] = {}
        self._resident = {t.untyped_storage()._cdata for t in (*self.model.parameters(), *self.model.buffers())}
        self._counted = 0
        with FlopCounterMode(display=False) as self._counter:
            self._run(step)
            self._switch(self._at)
        self.model.zero_grad()

    def _count_params(self) -> None:
        backbone, rest = self.backbone, sum(p.numel() for p in self.model.parameters())
        for block, costs in zip(backbone.local.blocks, self.blocks, strict=True):
            modules: dict[str, Iterable[nn.Parameter]] = {}
            modules['layers'] = [p for s in block.segments for p in backbone.local.family.parameters(backbone, s)]
            if block is not backbone.local.blocks[-1]:
                local: LocalBranch = backbone.local.branch(block)
                modules['head'] = local.head.parameters()
                if local.auxiliary is not None:
                    names = dict(local.auxiliary.named_parameters())
                    modules['ema'] = [p for name, p in names.items() if name.startswith('ema.')]
                    modules['learnable_bias'] = [p for name, p in names.items() if not name.startswith('ema.')]
            for part, params in modules.items():
                costs[part].params = sum(p.numel() for p in params)
                rest -= costs[part].params
        self.blocks[-1]['head'].params += rest

    def _run(self, step: TrainingStep) -> None:
        data = self.model.data_preprocessor(copy.deepcopy(step.batch), True)
        wrapper = step.optim_wrapper
        with (
            self._hooks(),
            wrapper.main.optim_context(self.model),
            wrapper.local_step(self.model) as local_step,
            self.backbone.local.bind(local_step),
        ):
            local_step.data_samples = data['data_samples']
            local_step.update = self._learn
            with saved_tensors_hooks(self._keep, lambda kept: kept):
                losses = self.model(**data, mode='loss')
            self._backward(len(self.blocks), losses)

    def _learn(self, index: int, losses: dict[str, Tensor], after_step: Any) -> None:
        """What a block's update is here: its backward, and on to the next block."""
        self._backward(index, losses)
        self._switch(self.blocks[index]['layers'])

    def _backward(self, index: int, losses: dict[str, Tensor]) -> None:
        loss, _ = self.model.parse_losses(losses)
        self._note_nodes(loss, self.blocks[index - 1]['head'])
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
        self._nodes.clear()
        self._storages.clear()

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        """Inside, the modules tell when they begin and end."""
        with ExitStack() as stack:

            def around(module: nn.Module, before: Cost, part: Cost, after: Cost) -> None:
                def begin(module: nn.Module, args: tuple) -> None:
                    self._note_nodes(args, before)
                    self._switch(part)

                def end(module: nn.Module, args: tuple, output: Any) -> None:
                    self._note_nodes(output, part)
                    self._switch(after)

                for handle in (module.register_forward_pre_hook(begin), module.register_forward_hook(end)):
                    stack.callback(handle.remove)

            around(self.backbone, Cost(), self.blocks[0]['layers'], self.blocks[-1]['head'])
            if len(self.blocks) > 1:
                for costs, local in zip(self.blocks, self.backbone.local.values(), strict=False):
                    around(local, costs['layers'], costs['head'], costs['head'])
                    if local.auxiliary is not None:
                        around(local.auxiliary, costs['layers'], costs['learnable_bias'], costs['head'])
                        if getattr(local.auxiliary, 'ema', None) is not None:
                            lb = costs['learnable_bias']
                            around(local.auxiliary.ema, lb, costs['ema'], lb)
            yield

    def _switch(self, part: Cost) -> None:
        """From now on another part is at work."""
        total = self._counter.get_total_flops()
        self._at.flops += total - self._counted
        self._counted, self._at = total, part

    def _note_nodes(self, outputs: Any, part: Cost) -> None:
        """Let the new nodes behind some tensors switch to a part in the backward."""
        stack = [t.grad_fn for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.grad_fn is not None]
        while stack:
            node = stack.pop()
            if node not in self._nodes:
                self._nodes.add(node)
                node.register_prehook(lambda grads: self._switch(part))
                stack += [following for following, _ in node.next_functions if following is not None]

    def _keep(self, tensor: Tensor) -> Tensor:
        """Autograd keeps a tensor for the backward."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._storages and key not in self._resident:
            self._storages[key] = storage  # alive until the backward is done: no other gets its place
            self._at.activations += storage.nbytes()
        return tensor.detach()


def _check_keeps_activations(model: nn.Module, backbone: LocalBackbone) -> None:
    names = [name for name, module in model.named_modules() if getattr(module, 'with_cp', False) is True]
    if backbone.local.recomputed or names:
        where = 'the LocalBackbone' if backbone.local.recomputed else names[0]
        raise ValueError(
            f'the cost model is about activations that are kept, but {where} recomputes them: set its with_cp=False '
            '(tools/analysis/step_cost.py measures what recomputation saves)'
        )
