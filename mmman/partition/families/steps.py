"""Segments that are several submodules one after the other, each called in its own way."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..segments import Segment
from ..states import State, TokenGrid
from .base import STEM, BackboneFamily

# How a submodule is called with what the one before it gave.
WAYS: dict[str, Callable[[nn.Module, State], State]] = {
    'whole': lambda module, x: module(x),
    'first': lambda module, x: module(x)[0],
    'embed': lambda module, x: TokenGrid(*module(x)),
    'embed with height and width': lambda module, x: _grid(*module(x)),
    'tokens': lambda module, x: TokenGrid(module(x.tokens), x.size),
    'tokens and None': lambda module, x: TokenGrid(module(x.tokens, None), x.size),
    'tokens and size': lambda module, x: TokenGrid(module(x.tokens, x.size), x.size),
    'tokens, height and width': lambda module, x: TokenGrid(module(x.tokens, *x.size), x.size),
    'grid': lambda module, x: TokenGrid(*module(x.tokens, x.size)),
    'norm of map': lambda module, x: _over_channels(module, x),
    'map and tokens': lambda module, x: _map_and_tokens(x[1].size, *module(x[0], x[1].tokens)),
    'pixels and patches': lambda module, x: module(x[0], x[1].clone()),  # TNT's writes into the patches
}


def _grid(tokens: Tensor, height: int, width: int) -> TokenGrid:
    return TokenGrid(tokens, (height, width))


def _map_and_tokens(size: tuple[int, int], maps: Tensor, tokens: Tensor) -> tuple[Tensor, TokenGrid]:
    return maps, TokenGrid(tokens, size)


def _over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """A norm of tokens on a map (N, C, H, W)."""
    tokens = norm(x.flatten(2).transpose(1, 2))
    return tokens.reshape(-1, *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2).contiguous()


class ToMap(nn.Module):
    """Makes a map (N, C, H, W) of the tokens on a grid.

    Args:
        contiguous (bool): Whether it is written anew, or is another view of the tokens: what follows may compute in
            another order, and give other last bits.
    """

    def __init__(self, contiguous: bool) -> None:
        super().__init__()
        self.contiguous = contiguous

    def forward(self, x: TokenGrid) -> Tensor:
        """See the class."""
        return x.map.contiguous() if self.contiguous else x.map


class Steps(nn.Module):
    """Submodules of a backbone as one module.

    Args:
        ways (Sequence[str]): How each is called, a key of ``WAYS``.
        modules (Sequence[nn.Module]): The submodules.
    """

    def __init__(self, ways: Sequence[str], modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.ways = tuple(ways)
        self.steps = nn.ModuleList(modules)

    def forward(self, x: State) -> State:
        """Run one after the other.

        Args:
            x (State): What the segment before gave.
        """
        for way, module in zip(self.ways, self.steps, strict=True):
            x = WAYS[way](module, x)
        return x


@dataclass(frozen=True)
class Unit:
    """A segment but the stem.

    Args:
        name (str): Its name: the qualified name of the submodule that gives it its kind.
        stage (str): Its stage.
        steps (tuple[tuple[str, str], ...]): The way that each submodule is called, and its qualified name.
        closes (int, optional): See :class:`Segment`.
        to_map (ToMap, optional): What makes a map of the tokens behind the last one. Defaults to None.
    """

    name: str
    stage: str
    steps: tuple[tuple[str, str], ...]
    closes: int | None = None
    to_map: ToMap | None = None


class StepsFamily(BackboneFamily):
    """A family of backbones that are a stem, where :attr:`STEM_OWNS` says so, and units."""

    # Names of the submodules and parameters that the stem runs, where the backbone has them. Empty: there is no stem.
    STEM_OWNS: tuple[str, ...] = ()

    @abstractmethod
    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """All segments behind the stem, in the order of the forward pass."""

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        units = list(self.units(backbone))
        owned = tuple(name for name in self.STEM_OWNS if _is_there(backbone, name))
        stem = [Segment(STEM, units[0].stage, owned)] if self.STEM_OWNS else []
        return stem + [Segment(unit.name, unit.stage, _owned(unit), unit.closes) for unit in units]

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`."""
        if segment.name == STEM:
            return super().module(backbone, segment)
        unit = next(unit for unit in self.units(backbone) if unit.name == segment.name)
        steps = [(way, self.step(backbone, name)) for way, name in unit.steps]
        if unit.to_map is not None:
            steps.append(('whole', unit.to_map))
        return Steps(*zip(*steps, strict=True))

    def step(self, backbone: nn.Module, name: str) -> nn.Module:
        """One step of a unit: a submodule, or what is made of a parameter of the backbone's own."""
        return backbone.get_submodule(name)


def _is_there(backbone: nn.Module, name: str) -> bool:
    return isinstance(getattr(backbone, name, None), (nn.Module, nn.Parameter))


def _owned(unit: Unit) -> tuple[str, ...]:
    return tuple(name for _, name in unit.steps)


def features_in_order(features: Mapping[int, State]) -> list[State]:
    """The features by what they close, in order."""
    return [features[i] for i in sorted(features)]
