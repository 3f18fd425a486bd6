"""Neck and heads, run on what the backbone gives; or a whole model, where the backbone cannot be told from it."""

import gc
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from mmman.partition import tensors

from .head_costs import Levels, MeasuredCalls, Train, find_calls
from .network import Batch, Network, drop_gradients, leaf
from .part_costs import Heads
from .timeline import Timeline

CONTAINERS = (nn.ModuleList, nn.ModuleDict)


class RunsOften(ValueError):
    """A backbone that does not run once in a step, as that of a tracker or of a semi-supervised detector."""


class BehindBackbone:
    """What is behind a network's backbone, run on what the backbone gives.

    Args:
        network (Network): The network.

    Attributes:
        used (set[int]): Keys of the features that it uses, as far as it has run.
        outputs_are_features (bool): Whether the backbone returns its features as they are; known when it has run.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.model, self.backbone = network.model, network.backbone
        path = next(name for name, module in self.model.named_modules() if module is self.backbone)
        closing = zip(network.segments, network.xs[1:], strict=True)
        self.features = {segment.closes: x for segment, x in closing if segment.closes is not None}
        self.used: set[int] = set()
        self.outputs_are_features = False
        self.names = [name for name in names_of_calls(self.model) if not f'{name}.'.startswith(f'{path}.')]
        # What the backbone has behind its segments, as the norms of Swin's outputs, learns with them.
        in_units = {p for s in network.segments for p in network.family.parameters(self.backbone, s)}
        self.params = [p for p in self.model.parameters() if p not in in_units]

    def find(self) -> Levels:
        """The calls that are worth to be recomputed; see :func:`find_calls`.

        Raises:
            RunsOften: If the model does not run its backbone once.
        """
        runs: list[Any] = []
        handle = self.backbone.register_forward_pre_hook(lambda *_: runs.append(None))
        try:
            levels = find_calls(
                self.model, self.names, partial(self._train, sorted(self.features)), self.network.timeline()
            )
        finally:
            handle.remove()
            vars(self.backbone).pop('forward', None)
        if len(runs) != 1:
            raise RunsOften(f'{type(self.model).__name__} runs its backbone {len(runs)} times in a step')
        return levels

    def measure(self, levels: Levels) -> dict[int, Heads]:
        """Measure it, by how many of the backbone's outputs want a gradient."""
        calls = MeasuredCalls(self.model, self.names, levels, self.network.timeline)
        all_learn = calls.measure(partial(self._train, sorted(self.features)))
        keys = sorted(self.used)
        found = {len(keys): all_learn}
        for count in range(len(keys) - 1, 0, -1):
            found[count] = calls.adapted(all_learn, partial(self._train, keys[len(keys) - count :]))
        return found

    def _train(self, learning: Sequence[int], timeline: Timeline) -> int:
        network, features = self.network, {key: leaf(x, key in learning) for key, x in self.features.items()}
        x = features.get(network.segments[-1].closes)
        x = leaf(network.xs[-1]) if x is None else x

        def finish(_: Any) -> Any:
            del self.backbone.forward  # for this once
            outputs = network.family.outputs(self.backbone, features, x, network.inputs)
            made = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            self.outputs_are_features = [id(y) for y in made] == [id(features[key]) for key in sorted(features)]
            return outputs

        self.backbone.forward = finish
        gradients = train_calls(self.network.batch, self.params, timeline)
        self.used.update(key for key, x in features.items() if any(t.grad is not None for t in tensors(x)))
        return gradients


class WholeModel:
    """A whole model, its backbone included.

    Args:
        batch (Batch): The model and its batch.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.names = names_of_calls(batch.model)

    def find(self) -> Levels:
        """The calls that are worth to be recomputed; see :func:`find_calls`."""
        return find_calls(self.batch.model, self.names, self._train, self.batch.timeline())

    def measure(self, levels: Levels) -> dict[int, Heads]:
        """Measure it."""
        return {0: MeasuredCalls(self.batch.model, self.names, levels, self.batch.timeline).measure(self._train)}

    @property
    def _train(self) -> Train:
        return partial(train_calls, self.batch, list(self.batch.model.parameters()))


def names_of_calls(model: nn.Module) -> list[str]:
    """Qualified names of the modules that a model may call."""
    return [name for name, module in model.named_modules() if name and not isinstance(module, CONTAINERS)]


def train_calls(batch: Batch, params: Sequence[nn.Parameter], timeline: Timeline) -> int:
    """Run a model forwards and backwards; see :func:`find_calls`.

    Args:
        batch (Batch): The model and its batch.
        params (Sequence[nn.Parameter]): The parameters whose gradients count.
        timeline (Timeline): The timeline.

    Returns:
        int: Bytes of the parameters' gradients.
    """
    gc.collect()  # mmdet's sampling results lie in reference cycles
    with timeline, timeline.watch_gradients(params):
        timeline.mark()
        loss = batch.loss()
        timeline.mark()
        loss.backward()
        timeline.mark()
    gradients = sum(p.grad.nbytes for p in params if p.grad is not None)
    drop_gradients(batch.model)
    return gradients
