"""What auxiliary network and local head cost at the end of any block."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmman.local_heads import BlockOutput, Position
from mmman.models import LocalBranch, normalisation_of
from mmman.partition import State, tensors

from .live_bytes import tensors_of
from .network import End, Network, drop_gradients, leaf
from .part_costs import KEEP, Branch, Option
from .unit_costs import WAYS


def measure_branches(network: Network, local_cfg: Mapping[str, Any], states: float) -> dict[tuple[int, bool], Branch]:
    """Measure what would stand at the end of every segment, as that of the last block but one or of an earlier one.

    Args:
        network (Network): The network.
        local_cfg (Mapping): ``auxiliary`` and ``local_head`` of a LocalBackbone's config.
        states (float): Bytes of optimizer states for each byte of a parameter.
    """
    found, known = {}, {}
    for i in range(len(network.segments) - 1):
        for is_last in (False, True):
            branch = _build(network, local_cfg, i, is_last)
            found[i, is_last] = _Measured(network, branch, i, known).cost(states)
    return found


def _build(network: Network, local_cfg: Mapping[str, Any], i: int, is_last: bool) -> LocalBranch:
    head, family = local_cfg['local_head'], network.family
    branch = LocalBranch(
        local_cfg.get('auxiliary'),
        [family.module(network.backbone, segment) for segment in network.segments[i + 1 :]],
        head[-1 if is_last else 0] if isinstance(head, (list, tuple)) else head,
        network.examples[i],
        network.example,
        Position(
            1,
            2 if is_last else 3,
            i,
            tuple(family.feature(x).shape for x in network.examples[i + 1 :]),
            family.extra_tokens(network.backbone),
        ),
        family.feature,
    )
    branch.head.adapt_to(network.model)
    return revert_sync_batchnorm(branch).train()


class _Measured:
    """A branch, its two parts run one after the other on the output of a segment.

    Args:
        network (Network): The network.
        branch (LocalBranch): The branch.
        i (int): The number of the segment.
        known (dict): What is known of parts that are alike, by their look.
    """

    def __init__(self, network: Network, branch: LocalBranch, i: int, known: dict) -> None:
        self.network, self.branch, self.known = network, branch, known
        self.x = network.xs[i + 1]

    def cost(self, states: float) -> Branch:
        """What the branch costs."""
        with torch.no_grad(), self.network.precise():
            y = self.x if self.branch.auxiliary is None else self.branch.auxiliary(self.x)
        head = self._once(('head', repr(self.branch.head)), y, lambda: self._measure(y, self._loss))
        auxiliary = {KEEP: Option(1, 2)}
        if (network := self.branch.auxiliary) is not None:
            auxiliary = {}
            for mode in WAYS:
                network.with_cp = mode if mode != KEEP else False
                run = network.recomputed if mode != KEEP else network
                auxiliary[mode] = self._once(
                    (mode, repr(network)), self.x, lambda run=run, mode=mode: self._measure(self.x, run, mode)
                )
        own_states = round(states * _trained(self.branch))
        return Branch(
            auxiliary=auxiliary,
            head=head,
            gradients=_trained(self.branch),
            gradients_of_head=_trained(self.branch.head),
            resident=sum(t.nbytes for t in tensors_of(self.branch)) + own_states,
            states=own_states,
        )

    def _once(self, look: tuple, x: State, measure: Callable[[], Option]) -> Option:
        look = (*look, *(t.shape for t in tensors(x)))
        if look not in self.known:
            self.known[look] = measure()
        return self.known[look]

    def _loss(self, y: State) -> Tensor:
        network, feature = self.network, self.branch.feature
        mean, std = normalisation_of(network.model)
        output = BlockOutput(x=feature(self.x), y=feature(y), inputs=network.inputs, mean=mean, std=std)
        losses = self.branch.head.loss(output, network.data_samples)
        return network.model.parse_losses(losses)[0]

    def _measure(self, x: State, run: Callable[[State], State], mode: str = KEEP) -> Option:
        timeline = self.network.timeline(tensors_of(self.branch), x)
        with timeline, timeline.watch_gradients(self.branch.parameters()):
            timeline.mark()
            given = leaf(x)
            with self.network.precise():
                results = run(given)
            timeline.mark()
            learning = [t for t in tensors(results) if t.requires_grad]
            end = learning[0] if learning[0].dim() == 0 else End.apply(*learning)
            del results, learning
            end.backward()
            timeline.mark()
        drop_gradients(self.branch)
        start, peak = timeline.live(0), timeline.peak(1, 2)
        return Option(
            first=1,
            stop=2,
            mode=mode,
            kept=timeline.live(1) - start,
            forward=timeline.peak(0, 1).bytes - start,
            backward=peak.bytes - start,
            work=timeline.work(0, 2),
            gradients=peak.gradients,
        )


def _trained(module: nn.Module) -> int:
    return sum(p.nbytes for p in module.parameters() if p.requires_grad)
