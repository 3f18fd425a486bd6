"""Find out whether a backbone's forward pass is a chain of its submodules, by running it once."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from .families.base import image_channels
from .families.chain import Chain, ChainFamily, Link
from .states import tensors

# Pixels: small images first. Some backbones take only those that they were made for, which they often tell.
SIDES = (64, 128, 224, 256, 384, 32)
MOST_BEHIND = 2 / 3  # of the parameters: the last block, which has what is behind the chain, would be nearly all
FEW = 4  # links: a chain of fewer is looked for inside of submodules


@dataclass(eq=False)
class _Call:
    """A submodule that ran.

    Args:
        name (str): Its qualified name.
        stage (str): The stage it belongs to.
        weight (int): Number of its parameters, and 1.
        given (Tensor, optional): What it was given, if that was one tensor and constants.
        extra (tuple): The constants: positional arguments, and named ones.
        order (int): How many had begun before.
        output (Any): What it gave.
        done (int): How many had begun before it was done.
        best (tuple): Of the chains that begin with it, the number of parameters of the heaviest, and its second link.
    """

    name: str
    stage: str
    weight: int
    given: Tensor | None
    extra: tuple[tuple, tuple]
    order: int
    output: Any = None
    done: int = 0
    best: tuple[int, '_Call | None'] = field(default=(0, None), repr=False)


def find_chain(backbone: nn.Module) -> ChainFamily | None:
    """Find a chain of submodules, each of which takes what the one before gave and nothing else.

    ``nn.Sequential`` and lists are taken apart, other submodules where the chain would have few links. Norms,
    activations and pooling belong to the link before them. Of several chains the one with the most parameters counts.

    Args:
        backbone (nn.Module): A backbone; a copy of it runs.

    Returns:
        ChainFamily, optional: How the chain is cut, not yet proven. None if there is no chain of two links, or if the
        backbone does not run on images alone.
    """
    kind = type(backbone).__bases__[-1] if 'local' in backbone._modules else type(backbone)
    module = revert_sync_batchnorm(copy.deepcopy(backbone)).requires_grad_(True)
    module.eval()  # which returns nothing where it is the toolbox's own
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    if weight is None:
        return None
    for size in _sizes(backbone):
        images = torch.rand(1, image_channels(module), *size, generator=torch.Generator().manual_seed(0)).to(weight)
        try:
            return _find_chain(module, images, kind)
        except _DoesNotRun:
            continue
    return None


class _DoesNotRun(Exception):
    """The backbone takes no images of this size."""


def _find_chain(module: nn.Module, images: Tensor, kind: type[nn.Module]) -> ChainFamily | None:
    best: ChainFamily | None = None
    opened: set[str] = set()
    most = 0
    while best is None or len(best.chain.links) < FEW:
        calls = _record(module, images, opened)
        path = _heaviest_path(calls)
        weight = path[0].best[0] if path else 0
        # Chains inside of one submodule may be longer, and of little weight.
        family = (
            _family(Chain(kind, (), tuple(images.shape[2:])), module, path, calls, images)
            if 2 * weight > most
            else None
        )
        if family is not None and (best is None or len(family.chain.links) > len(best.chain.links)):
            best = family
        most = max(most, weight)
        closed = [
            call for call in calls if call.name not in opened and list(module.get_submodule(call.name).children())
        ]
        if not closed or len(opened) == FEW:
            break
        opened.add(max(closed, key=lambda call: call.weight).name)
    return best


def _sizes(backbone: nn.Module) -> Iterator[tuple[int, int]]:
    own = getattr(backbone, 'img_size', None)
    if isinstance(own, int):
        yield (own, own)
    elif isinstance(own, (tuple, list)) and len(own) == 2:
        yield tuple(own)
    else:
        yield from ((side, side) for side in SIDES)


def _record(module: nn.Module, images: Tensor, opened: set[str]) -> list[_Call]:
    """Run a module; the calls of submodules that may be links, in their order."""
    called: set[nn.Module] = set()
    with _hooked(module.modules(), after=lambda m, output: called.add(m)), torch.no_grad():
        try:
            module(images)
        except Exception as error:  # whatever it raises that is given images of a size that it cannot take
            raise _DoesNotRun from error
    named = {part: (name, stage) for name, stage, part in _parts(module, called, opened)}
    calls: list[_Call] = []

    def before(part: nn.Module, args: tuple, kwargs: dict) -> None:
        extra = (args[1:], tuple(kwargs.items()))
        alone = args and isinstance(args[0], Tensor) and all(map(_is_constant, (*args[1:], *kwargs.values())))
        weight = 1 + sum(p.numel() for p in part.parameters())
        calls.append(_Call(*named[part], weight, args[0] if alone else None, extra, len(calls)))

    def after(part: nn.Module, output: Any) -> None:
        call = next(call for call in reversed(calls) if call.name == named[part][0])
        call.output, call.done = output, len(calls)

    with _hooked(named, before, after):
        module(images)
    names = [call.name for call in calls]
    # One activation may stand in many places.
    return [call for call in calls if names.count(call.name) == 1 or call.weight == 1]


def _parts(
    module: nn.Module, called: set[nn.Module], opened: set[str], prefix: str = '', stage: str | None = None
) -> Iterator[tuple[str, str, nn.Module]]:
    """Submodules that may be links, with their stages: of what is a list or a sequence of units, its children."""
    for name, child in module.named_children():
        name = f'{prefix}{name}'
        plain = isinstance(child, nn.Sequential) and type(child).forward is nn.Sequential.forward
        units = plain and any(len(list(unit.children())) for unit in child)
        if child in called and not units and name not in opened:
            yield name, stage or name, child
        else:
            yield from _parts(child, called, opened, f'{name}.', stage or (name if units else None))


def _is_constant(value: Any) -> bool:
    """Whether a value cannot follow from the size of the images."""
    return value is None or isinstance(value, (bool, str))


@contextmanager
def _hooked(
    modules: Iterator[nn.Module],
    before: Callable[[nn.Module, tuple, dict], None] | None = None,
    after: Callable[[nn.Module, Any], None] | None = None,
) -> Iterator[None]:
    """Inside, call functions before and after each of the modules runs."""
    handles = []
    for module in modules:
        if before is not None:
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(lambda module, args, output: after(module, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _heaviest_path(calls: list[_Call]) -> list[_Call]:
    """Of the calls that follow from one another, those with the most parameters."""
    usable = [call for call in calls if call.given is not None and isinstance(call.output, Tensor)]
    for call in reversed(usable):
        following = [other for other in usable if other.given is call.output and other.order >= call.done]
        best = max(following, key=lambda other: other.best[0], default=None)
        call.best = call.weight + (best.best[0] if best else 0), best
    path = []
    call = max(usable, key=lambda call: call.best[0], default=None)
    while call is not None:
        path.append(call)
        call = call.best[1]
    return path


def _family(
    chain: Chain, module: nn.Module, path: list[_Call], calls: list[_Call], images: Tensor
) -> ChainFamily | None:
    """Make a family of a path.

    None if it has less than two links, if most parameters lie behind it, or if the stem would learn from the outputs.
    """
    while path and path[0].weight == 1:  # dropout of what the stem made
        path = path[1:]
    if len(path) < 2:
        return None
    chain = replace(chain, stem=() if path[0].given is images else _stem(module, path[0], calls))
    covered = (*chain.stem, *(call.name for call in path))
    sizes = {name: p.numel() for name, p in module.named_parameters()}
    rest = sum(n for name, n in sizes.items() if not _lies_in(name, covered))
    if MOST_BEHIND * sum(sizes.values()) < rest:
        return None
    sources = _sources(chain, module, path, images)
    if sources is None:
        return None
    links = _links(path, module, _needed(chain, module, path, images, frozenset().union(*sources)))
    return ChainFamily(replace(chain, links=links, sources=tuple(sources))) if len(links) > 1 else None


def _links(path: list[_Call], module: nn.Module, used: frozenset[int]) -> tuple[Link, ...]:
    """Share the calls out among links. A call of which an output is made ends its link, and gives it its number."""
    links: list[Link] = []
    waiting: tuple[_Call, ...] = ()
    for i, call in enumerate(path):
        key = i if i in used else None
        part = module.get_submodule(call.name)
        small = not list(part.children()) and not any(p.dim() > 1 for p in part.parameters())
        if links and (small or call.output.dim() not in (3, 4)):
            if links[-1].key is None and not waiting:
                last = links[-1]
                links[-1] = replace(last, parts=(*last.parts, call.name), extra=(*last.extra, call.extra), key=key)
                continue
            if key is None and i < len(path) - 1:
                waiting = (*waiting, call)
                continue
        parts = (*waiting, call)
        links.append(
            Link(call.name, tuple(part.name for part in parts), call.stage, key, tuple(part.extra for part in parts))
        )
        waiting = ()
    stages = [link.stage for link in links]
    following = stages[1:] + stages[-1:]
    # What stands alone between stages begins the next one: the stem, what halves a map.
    alone = [stages.count(a) == 1 and stages.count(b) > 1 for a, b in zip(stages, following, strict=True)]
    return tuple(
        replace(link, stage=b) if is_alone else link for link, b, is_alone in zip(links, following, alone, strict=True)
    )


def _stem(module: nn.Module, first: _Call, calls: list[_Call]) -> tuple[str, ...]:
    """What the first link's input is made with: submodules that ran before, and parameters outside of them."""
    names = [call.name for call in calls if call.order < first.order]
    params = [(name, p) for name, p in module.named_parameters() if not _lies_in(name, names)]
    found = _depends(first.given, [p for _, p in params])
    return (*names, *(name for (name, _), is_used in zip(params, found, strict=True) if is_used))


def _sources(chain: Chain, module: nn.Module, path: list[_Call], images: Tensor) -> list[frozenset[int]] | None:
    """Of each of the backbone's outputs, the numbers of the calls that it follows from.

    None if its forward pass cannot be finished with what they gave, or if what comes before them would learn from it.
    """
    leaves = [call.output.detach().clone().requires_grad_() for call in path]
    links = _one_by_one(path, frozenset(range(len(path))))
    with torch.enable_grad():
        try:
            outputs = ChainFamily(replace(chain, links=links)).finish(
                module, dict(enumerate(leaves)), leaves[-1], images
            )
        except Exception:  # more is made of what they gave than a few outputs
            return None
    outputs = [sum(x.sum() for x in tensors(o)) for o in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]
    stem = [p for name, p in module.named_parameters() if _lies_in(name, chain.stem)]
    if any(any(_depends(output, stem)) for output in outputs):
        return None
    return [frozenset(i for i, found in enumerate(_depends(output, leaves)) if found) for output in outputs]


def _needed(chain: Chain, module: nn.Module, path: list[_Call], images: Tensor, used: frozenset[int]) -> frozenset[int]:
    """The numbers of the calls whose outputs the backbone's forward pass cannot be finished without.

    These are what outputs follow from, and one more, or all, where it asks for the sizes of others.
    """

    def suffices(keys: frozenset[int]) -> bool:
        links = _one_by_one(path, keys)
        features = {i: path[i].output for i in keys}
        try:
            ChainFamily(replace(chain, links=links)).outputs(module, features, path[-1].output, images)
        except Exception:  # whatever comes of wrong sizes
            return False
        return True

    candidates = [used, *(used | {i} for i in reversed(range(len(path))))]
    return next(filter(suffices, candidates), frozenset(range(len(path))))


def _one_by_one(path: list[_Call], keys: frozenset[int]) -> tuple[Link, ...]:
    """A link for each call; those with these numbers have them as their key."""
    return tuple(Link(call.name, (call.name,), call.stage, i if i in keys else None) for i, call in enumerate(path))


def _lies_in(name: str, parts: Iterable[str]) -> bool:
    """Whether a parameter is one of some parts, or lies in one."""
    return any(f'{name}.'.startswith(f'{part}.') for part in parts)


def _depends(output: Any, inputs: list[Tensor]) -> list[bool]:
    """Whether an output follows from each of the inputs."""
    if not isinstance(output, Tensor) or not output.requires_grad or not inputs:
        return [False] * len(inputs)
    gradients = torch.autograd.grad(output.sum(), inputs, allow_unused=True, retain_graph=True)
    return [gradient is not None for gradient in gradients]
