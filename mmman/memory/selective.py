"""Keep what took multiplications, compute again what did not: selective activation checkpointing.

Torch has it since 2.4 (``create_selective_checkpoint_contexts``). Ours, below, also runs in torch 2.3, and lets an
activation change the result of a convolution in place, as mmdet's towers do: torch refuses that.
"""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

from .operations import arguments_of, tensors_given, written_by


class KeptProducts:
    """The results of a function's convolutions and matrix products, from its forward to its second run.

    What counts as a product is what torch's counter gives FLOPs to: so the second run has none. Products that draw
    random numbers (attention with dropout) are computed again, since what follows draws from where they left.

    Attributes:
        outputs (list): Of each product, in order, its results; None if it is to be computed again.
    """

    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self._guards: dict[int, tuple[Tensor, int]] = {}

    def guard(self, results: Any) -> None:
        """Take note of what leaves the function: what its caller changes in place must be computed again.

        Args:
            results (Any): What the function returned.
        """
        places = {_storage(x): i for i, kept in enumerate(self.outputs) for x in _tensors(kept)}
        for x in _tensors(results):
            if (i := places.get(_storage(x))) is not None:
                same = x.detach()  # it counts changes of x, and knows nothing of its graph
                self._guards[i] = (same, same._version)

    def take(self, i: int) -> Any:
        """The results of product ``i``, for once; None if it is to be computed again."""
        guard = self._guards.pop(i, None)
        kept, self.outputs[i] = self.outputs[i], None
        return kept if guard is None or guard[0]._version == guard[1] else None


class KeepProducts(TorchDispatchMode):
    """Inside, what products give is kept.

    Args:
        kept (KeptProducts): Where.
    """

    def __init__(self, kept: KeptProducts) -> None:
        super().__init__()
        self.kept = kept
        self._maker: dict[int, int] = {}  # by the storage, the number of the product that made it
        self._read: set[int] = set()  # products whose results another operation has seen

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation; keep its results if it is a product."""
        kwargs = kwargs or {}
        self._watch(func, args, kwargs)
        out = func(*args, **kwargs)
        if _is_product(func):
            kept = None if _draws(func, args, kwargs) else tree_map_only(Tensor, Tensor.detach, out)
            for x in _tensors(kept):
                self._maker[_storage(x)] = len(self.kept.outputs)
            self.kept.outputs.append(kept)
        return out

    def _watch(self, func: Any, args: tuple, kwargs: dict) -> None:
        """Give up a result that is changed after it was seen: what saw it needs it as it was."""
        changed = {_storage(x) for x in _tensors(written_by(func, args, kwargs))}
        for storage in {_storage(x) for x in tensors_given(args, kwargs)} & self._maker.keys():
            maker = self._maker[storage]
            if storage not in changed:
                if not func.is_view:
                    self._read.add(maker)
            elif maker in self._read:
                self.kept.outputs[maker] = None
                del self._maker[storage]  # another tensor may get its place


class UseKeptProducts(TorchDispatchMode):
    """Inside, products give what was kept of them, where something was.

    Args:
        kept (KeptProducts): What.
    """

    def __init__(self, kept: KeptProducts) -> None:
        super().__init__()
        self.kept = kept
        self._number = 0
        self._done: set[int] = set()  # storages that were changed in place already, as they were kept

    def __enter__(self) -> 'UseKeptProducts':
        """Begin from the first product: torch enters the same mode for every backward through a graph."""
        self._number, self._done = 0, set()
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation, unless it has been run."""
        kwargs = kwargs or {}
        if _is_product(func):
            kept, self._number = self.kept.take(self._number), self._number + 1
            if kept is not None:
                for x in _tensors(kept):
                    storage = x.untyped_storage()
                    self._done.add(storage._cdata)
                    weakref.finalize(storage, self._done.discard, storage._cdata)
                return kept
        elif (changed := list(_tensors(written_by(func, args, kwargs)))) and _storage(changed[0]) in self._done:
            return changed[0]
        return func(*args, **kwargs)


def _is_product(func: Any) -> bool:
    return func.overloadpacket in flop_registry


def _draws(func: Any, args: tuple, kwargs: dict) -> bool:
    return bool(arguments_of(func, args, kwargs).get('dropout_p', 0))


def _tensors(nested: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
