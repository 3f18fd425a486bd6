"""What the parts of a network cost in training: the numbers that a plan is made from.

Bytes are those beyond what was alive before a part's forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from .timeline import Work

KEEP = 'keep'


@dataclass(frozen=True)
class Option:
    """A way to run some consecutive steps of a chain.

    Args:
        first (int): The first step.
        stop (int): The step after the last.
        mode (str): ``'keep'`` keeps all that autograd wants, ``'full'`` and ``'selective'`` are those of
            :func:`mmman.memory.recompute`.
        part (str, optional): The part that is recomputed, as a config names it.
        kept (int): Bytes alive after its forward, its output included; less than none where it frees what came before.
        forward (int): The most during its forward.
        backward (int): The most during its backward, with what it kept.
        work (Work): Forward and backward.
        gradients (int): Of ``backward``, the parameters' gradients.
        forward_work (Work): Of ``work``, the forward. A recomputation may do less: it ends where the last tensor that
            the backward needs is there.
    """

    first: int
    stop: int
    mode: str = KEEP
    part: str | None = None
    kept: int = 0
    forward: int = 0
    backward: int = 0
    work: Work = Work()
    gradients: int = 0
    forward_work: Work = Work()


@dataclass(frozen=True)
class Unit:
    """A segment of the backbone.

    Args:
        name (str): Its name.
        stage (str): The stage it belongs to.
        closes (int, optional): The key of the feature that it completes.
        output (int): Bytes of its output.
        used (bool): Whether anybody uses the feature that it completes.
        gradients (int): Bytes of its parameters' gradients.
        ways (Mapping[str, Option]): How it runs, by mode. The backward has what the unit itself needs, without the
            gradients of later parts.
        ways_first (Mapping[str, Option]): The same as the first of a block, whose input wants no gradient.
    """

    name: str
    stage: str
    closes: int | None
    output: int
    used: bool
    gradients: int
    ways: Mapping[str, Option]
    ways_first: Mapping[str, Option]


@dataclass(frozen=True)
class Branch:
    """Auxiliary network and local head at the end of a block.

    Args:
        auxiliary (Mapping[str, Option]): How the auxiliary network runs, by mode; a free way if there is none.
        head (Option): The local head with its loss. The backward has all that is alive then.
        gradients (int): Bytes of its parameters' gradients.
        gradients_of_head (int): Of these, the local head's.
        resident (int): Bytes of its parameters, buffers and optimizer states.
        states (int): Of these, the optimizer states.
    """

    auxiliary: Mapping[str, Option]
    head: Option
    gradients: int
    gradients_of_head: int
    resident: int
    states: int


@dataclass(frozen=True)
class Heads:
    """Neck, heads and loss, as a chain of steps.

    Args:
        length (int): The number of steps.
        options (tuple[Option, ...]): How steps can run; ``work`` is what an option does beyond keeping all. The
            backward has all that is alive then, the gradients of later steps included.
        gradients (int): Bytes of gradients after their backward: the parameters'.
        work (Work): Forward and backward, all kept.
    """

    length: int
    options: tuple[Option, ...]
    gradients: int
    work: Work


@dataclass(frozen=True)
class PartCosts:
    """The costs of all parts of a network for one batch.

    Args:
        units (tuple[Unit, ...]): The backbone's segments, in the order of the forward pass. None of a backbone that
            cannot be taken apart: it belongs to the heads then.
        heads (Mapping[int, Heads]): Neck, heads and loss, by how many of the backbone's outputs want a gradient, the
            last ones.
        branches (Mapping[tuple[int, bool], Branch]): Auxiliary network and local head, by the number of the block's
            last unit, and whether it is the last block but one. None without local heads.
        resident (int): Bytes of the plain model, its optimizer states, and the batch.
        states (int): Of these, the optimizer states.
        batch (int): Of these, the batch.
        stepping (int): Bytes that an optimizer's step makes and frees again.
        largest (int): Bytes of the largest parameter, for which it makes them.
        accumulates (bool): Whether gradients stay from step to step.
        outputs_are_features (bool): Whether the backbone returns features as its segments give them.
        efficient_conv_bn_eval (bool): Whether convolutions and norms in eval mode ran as one.
    """

    units: tuple[Unit, ...]
    heads: Mapping[int, Heads]
    branches: Mapping[tuple[int, bool], Branch] = field(default_factory=dict)
    resident: int = 0
    states: int = 0
    batch: int = 0
    stepping: int = 0
    largest: int = 0
    accumulates: bool = False
    outputs_are_features: bool = False
    efficient_conv_bn_eval: bool = False


def extrapolated(one: Any, two: Any, steps: float) -> Any:
    """The costs of a batch that has more images than ``one`` was measured with, from those of some images more.

    Images are of one size, so costs go on in a straight line.

    Args:
        one (Any): Costs, or a number.
        two (Any): The same with some images more.
        steps (float): How often so many images more.
    """
    if one is two:
        return one
    if isinstance(one, Work):
        return one + (two - one) * steps
    if isinstance(one, Heads):
        known = {(o.first, o.stop, o.mode, o.part): o for o in two.options}
        pairs = [(o, known.get((o.first, o.stop, o.mode, o.part))) for o in one.options]
        one = replace(one, options=tuple(o for o, same in pairs if same))
        two = replace(two, options=tuple(same for _, same in pairs if same))
    if isinstance(one, Option):
        one = replace(one, gradients=two.gradients)  # another peak has others; more images make no more of them
    if is_dataclass(one):
        return type(one)(*(extrapolated(a, b, steps) for a, b in zip(_values(one), _values(two), strict=True)))
    if isinstance(one, Mapping):
        return {key: extrapolated(value, two[key], steps) for key, value in one.items()}
    if isinstance(one, tuple):
        return tuple(extrapolated(a, b, steps) for a, b in zip(one, two, strict=True))
    if isinstance(one, bool) or not isinstance(one, (int, float)):
        return one
    found = one + steps * (two - one)
    return round(found) if isinstance(one, int) else found


def _values(costs: Any) -> list[Any]:
    return [getattr(costs, each.name) for each in fields(costs)]
