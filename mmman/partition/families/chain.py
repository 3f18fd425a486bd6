"""Any backbone whose forward pass is a chain of its submodules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..segments import Segment
from ..states import State
from .base import STEM, BackboneFamily


@dataclass(frozen=True)
class Link:
    """A segment of a chain.

    Args:
        name (str): Its name: the qualified name of one of its parts.
        parts (tuple[str, ...]): Qualified names of the submodules that run one after the other.
        stage (str): The stage it belongs to.
        key (int, optional): A number, where the backbone makes more of what it gives than the next link's input.
        extra (tuple): Of each part, what it is given behind the tensor: positional arguments, and named ones.
    """

    name: str
    parts: tuple[str, ...]
    stage: str
    key: int | None = None
    extra: tuple[tuple[tuple, tuple], ...] = ()


@dataclass(frozen=True)
class Chain:
    """A chain as :func:`mmman.partition.chains.find_chain` found it.

    Args:
        kind (type): The backbone's class.
        links (tuple[Link, ...]): What runs one after the other.
        size (tuple[int, int]): Height and width of images that the backbone takes.
        stem (tuple[str, ...]): What the first link's input is made with: qualified names of submodules and parameters.
            Empty if it is the images.
        sources (tuple[frozenset[int], ...]): Of each of the backbone's outputs, the keys of the links it follows from.
    """

    kind: type[nn.Module]
    links: tuple[Link, ...]
    size: tuple[int, int]
    stem: tuple[str, ...] = ()
    sources: tuple[frozenset[int], ...] = ()


class ChainFamily(BackboneFamily):
    """Segments: the links of a chain, each of which takes what the one before gives and nothing else.

    What comes before the first link, as a patch embedding with its positions, is the segment ``'stem'``: the backbone's
    own forward pass as far as that link. What the backbone makes of the links besides (norms, pooling, other branches)
    follows the last segment, and learns in the last block: it is the backbone's own forward pass, in which every link
    stands for what it gave.

    Args:
        chain (Chain): The chain.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._links = {link.name: link for link in chain.links}

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'any whose forward pass is a chain of its submodules'

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`."""
        return self._blank_image(backbone, *self.chain.size)

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        chain = self.chain
        stem = [Segment(STEM, chain.links[0].stage, chain.stem)] if chain.stem else []
        return [*stem, *(Segment(name, link.stage, link.parts, link.key) for name, link in self._links.items())]

    def run(self, backbone: nn.Module, segment: Segment, x: State) -> State:
        """See :class:`BackboneFamily`."""
        if self._is_stem(segment):
            return self.run_stem(backbone, x)
        return self.module(backbone, segment)(x)

    def run_stem(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        try:
            self._shell(backbone, {self.chain.links[0].parts[0]: _Stops()}).forward(images)
        except _Reached as reached:
            return reached.x
        raise RuntimeError(f'{self.chain.kind.__name__} did not reach {self.chain.links[0].parts[0]}')

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`."""
        if self._is_stem(segment):
            return super().module(backbone, segment)
        link = self._links[segment.name]
        parts = [backbone.get_submodule(name) for name in link.parts]
        if any(map(any, link.extra)):
            parts = [_With(part, *extra) for part, extra in zip(parts, link.extra, strict=True)]
        return parts[0] if len(parts) == 1 else nn.Sequential(*parts)

    def extra_tokens(self, backbone: nn.Module) -> int:
        """See :class:`BackboneFamily`."""
        return getattr(backbone, 'num_extra_tokens', 0) if getattr(backbone, 'cls_token', None) is not None else 0

    def sources_of_outputs(self, backbone: nn.Module) -> Sequence[frozenset[int]]:
        """See :class:`BackboneFamily`."""
        return self.chain.sources

    def outputs(self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor) -> Any:
        """See :class:`BackboneFamily`."""
        parts = {name: part for name, part in backbone.named_modules() if name in self.chain.stem}
        return self.finish(backbone, features, x, images, {name: _Again(part) for name, part in parts.items()})

    def finish(
        self,
        backbone: nn.Module,
        features: Mapping[int, Tensor],
        x: Tensor,
        images: Tensor,
        stem: Mapping[str, nn.Module] | None = None,
    ) -> Any:
        """Finish the backbone's forward pass with what the links have given; see :meth:`outputs`.

        Args:
            backbone (nn.Module): The backbone.
            features (Mapping): What links with a key have given.
            x (Tensor): What the last link has given.
            images (Tensor): The images.
            stem (Mapping, optional): What stands for parts of the stem. Defaults to themselves.
        """
        given = dict(stem or {})
        # Nothing is made of what the other links would give.
        for link in self.chain.links:
            for name in link.parts:
                closes = link.key is not None and name == link.parts[-1]
                given[name] = _Gives(backbone.get_submodule(name), features[link.key] if closes else x)
        return self._shell(backbone, given).forward(images)

    def _is_stem(self, segment: Segment) -> bool:
        return bool(self.chain.stem) and segment.name == STEM

    def _shell(self, backbone: nn.Module, replaced: Mapping[str, nn.Module]) -> nn.Module:
        """The backbone with other modules in some places; it shares all else with the backbone, which stays as it is.

        It shares its hooks, too: what is called is its ``forward``.
        """
        copies = {'': _shallow(backbone, self.chain.kind)}
        for name, module in replaced.items():
            parent, _, child = name.rpartition('.')
            _copy_of(parent, copies)._modules[child] = module
        return copies['']


class _StandsFor(nn.Module):
    """Stands for a submodule, whose attributes it has.

    Args:
        part (nn.Module): The submodule.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        # Not a child: it would take the backbone's modes with it.
        self.__dict__['part'] = part

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['part'], name)


class _Gives(_StandsFor):
    """Stands for a submodule that has run already, and given ``output``."""

    def __init__(self, part: nn.Module, output: Tensor) -> None:
        super().__init__(part)
        self.output = output

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Give its output."""
        return self.output


class _Again(_StandsFor):
    """Runs a part of the stem once more, which leaves no trace: nothing but sizes is taken from what it gives."""

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the part in evaluation mode."""
        if not self.part.training:
            return self.part(*args, **kwargs)
        modes = [(module, module.training) for module in self.part.modules()]
        self.part.eval()
        try:
            return self.part(*args, **kwargs)
        finally:
            self.part.train()
            for module, training in modes:  # frozen ones, too
                module.training = training


class _With(nn.Module):
    """A submodule that is given constants behind the tensor."""

    def __init__(self, part: nn.Module, args: tuple, kwargs: tuple) -> None:
        super().__init__()
        self.part, self.args, self.kwargs = part, args, dict(kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        return self.part(x, *self.args, **self.kwargs)


class _Reached(Exception):
    """A forward pass has come to the first link, whose input is ``x``."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x


class _Stops(nn.Module):
    """Ends the forward pass where it stands."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise what it is given."""
        raise _Reached(x)


def _shallow(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A module with the same attributes, whose children can be exchanged."""
    copy = object.__new__(kind)
    copy.__dict__ = {**vars(module), '_modules': dict(module._modules)}
    return copy


def _copy_of(name: str, copies: dict[str, nn.Module]) -> nn.Module:
    """The shallow copy of a submodule, put in its place in the copies of the modules that it lies in."""
    if name not in copies:
        parent, _, child = name.rpartition('.')
        parent_copy = _copy_of(parent, copies)
        original = parent_copy._modules[child]
        copies[name] = parent_copy._modules[child] = _shallow(original, type(original))
    return copies[name]
