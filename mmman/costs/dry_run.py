"""Run a training step for its tensors' sizes alone: nothing is computed."""

import mmap
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_map_only, tree_unflatten

from mmman.memory.operations import tensors_given, written_by

aten = torch.ops.aten

TRAINING = 5  # the position of native_batch_norm's argument
TORCH_NAMESPACES = ('aten', 'prims')
# Bytes from which on memory is asked of the system itself.
PAGES = 2**17
MASKS = (torch.bool, torch.uint8)
# Operations that write to a tensor's sizes, not to its values.
RESHAPING = {getattr(aten.set_, overload) for overload in aten.set_.overloads()}


class CannotRunDry(RuntimeError):
    """An operation whose results cannot be told without values; the message is one line for the user."""


class DryRun(TorchDispatchMode):
    """Inside, operations on *dry* tensors allocate their results and compute nothing.

    Dry are the given tensors and all that is made from or written by one. Everything else is computed as ever: images'
    sizes, ground truths, anchors and their assignment. So a training step takes the same way and allocates the same
    tensors as a real one, in a fraction of the time; and as memory that is never touched takes no room, a step can be
    larger than the machine. The given tensors keep their values.

    Where values decide how many tensors there are, or their sizes, a dry step takes the most: a dry truth value is
    True, and a dry mask chooses everything. A two-stage detector keeps as many proposals and samples as many positive
    RoIs as its config allows, and every RoI counts at every level of the pyramid. Its bytes and FLOPs are therefore
    estimates, above those of most real steps; those of models that match ground truths without predictions are exact.

    A dry number that is read (``item()``) is 0, so losses are finite and no loss scale overflows. What is not torch's
    own runs on zeros: compiled operations of mmcv (NMS, RoIAlign), numpy, scipy (Hungarian matching). Sorted numbers
    go from 0 to 1 instead.

    Args:
        tensors (Iterable[Tensor]): What is dry at the start, but for tensors without dimensions: a model's parameters
            and buffers, an optimizer's states.

    Raises:
        CannotRunDry: If an operation knows no meta tensors.

    Example:
        >>> with DryRun([*model.parameters(), *model.buffers()]), LiveBytes(model.parameters()) as live:
        ...     model.train_step(batch, optim_wrapper)
        >>> live.peak
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._dry: set[int] = set()
        self._results: dict[tuple, Any] = {}  # of operations that were met before
        for tensor in tensors:
            if tensor.dim():  # a step that Adam counts is a number like any other
                self._mark(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation if no dry tensor takes part in it, else allocate its results."""
        kwargs = kwargs or {}
        if not any(map(self._is_dry, tensors_given(args, kwargs))):
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return True if args[0].dtype is torch.bool else 0.0 if args[0].is_floating_point() else 0
        if func is aten.equal.default:
            return True
        if func is aten.index.Tensor:
            args = (args[0], [i for index in args[1] for i in self._positions(index)])
        elif torch.Tag.dynamic_output_shape in func.tags:
            return self._choose(func, args, kwargs)
        if func.namespace not in TORCH_NAMESPACES:
            return tree_map_only(Tensor, self._mark, func(*args, **kwargs))
        written = written_by(func, args, kwargs)
        for tensor in tree_leaves(written):
            self._mark(tensor)
        aliases = [result.alias_info for result in func._schema.returns]
        if func in RESHAPING or torch.Tag.inplace_view in func.tags:
            return func(*args, **kwargs)
        if all(alias is not None and alias.is_write for alias in aliases):
            return written[0] if len(aliases) == 1 else tuple(written[: len(aliases)]) or None
        if any(alias is not None for alias in aliases):
            return func(*args, **kwargs)  # a view computes nothing
        results = self._allocate(func, args, kwargs)
        if func is aten.new_zeros.default:
            return results  # its values are known
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._mark(result)
        if func.overloadpacket is aten.sort and results[0].dim() == 1 and results[0].is_floating_point():
            # Mixture models and the like cannot tell equal values apart.
            results[0].copy_(torch.linspace(0, 1, len(results[0])))
        return results

    def _allocate(self, func: Any, args: tuple, kwargs: dict) -> Any:
        tensors = list(tensors_given(args, kwargs))
        key = (func, *map(look, args), *((name, look(given)) for name, given in kwargs.items()))
        if key not in self._results:
            self._results[key] = _results(func, args, kwargs)
        found, out_spec = self._results[key]
        device = torch.device(kwargs.get('device') or tensors[0].device)
        return tree_unflatten([self._make(result, tensors, device) for result in found], out_spec)

    def _make(self, result: Any, tensors: list[Tensor], device: torch.device) -> Any:
        if not isinstance(result, _Result):
            return result
        if result.source is not None:  # a view that the schema does not tell of (_unsafe_view)
            source = tensors[result.source]
            return source.as_strided(result.size, result.stride, source.storage_offset() + result.offset)
        return _zeros(result.size, result.stride, result.dtype, device)

    def _positions(self, index: Tensor | None) -> tuple[Tensor | None, ...]:
        """The positions that a mask stands for: their number tells the result's size."""
        if index is None or index.dtype not in MASKS:
            return (index,)
        return self._value(index).nonzero().unbind(1)

    def _choose(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Run an operation that chooses by values (``nonzero``, ``unique``); positions it finds are known."""
        results = func(*tree_map_only(Tensor, self._value, args), **tree_map_only(Tensor, self._value, kwargs))
        for tensor in tree_leaves(results):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self._mark(tensor)
        return results

    def _value(self, tensor: Tensor) -> Tensor:
        """What a tensor counts as where values choose: itself if it is known, else True or 0."""
        return torch.full_like(tensor, tensor.dtype in MASKS) if self._is_dry(tensor) else tensor

    def _is_dry(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._dry

    def _mark(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._dry:
            self._dry.add(storage._cdata)
            weakref.finalize(storage, self._dry.discard, storage._cdata)
        return tensor


def _zeros(size: torch.Size, stride: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that take no room on a CPU until they are written.

    Large ones are pages that the system has not filled yet. What malloc gives may have been used before, and is filled
    with zeros then.
    """
    if device.type != 'cpu' or not size.numel():
        return torch.empty_strided(size, stride, dtype=dtype, device=device).zero_()
    count = span(size, stride) * dtype.itemsize
    room = bytearray(count) if count < PAGES else mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(room, dtype=dtype).as_strided(size, stride)


def span(size: torch.Size, stride: tuple[int, ...]) -> int:
    """How many numbers of its storage a tensor that has some reaches over."""
    return 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))


class _Result(NamedTuple):
    """A tensor that an operation returns; ``source`` is the number of the tensor whose storage it shares."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    source: int | None
    offset: int


def look(given: Any) -> Any:
    """All of an operation's argument that its result's size can depend on."""
    if isinstance(given, Tensor):
        return given.size(), given.stride(), given.dtype
    return tuple(map(look, given)) if isinstance(given, (list, tuple)) else (type(given), given)


def _results(func: Any, args: tuple, kwargs: dict) -> tuple[list[Any], TreeSpec]:
    """What an operation would return, found out on the meta device."""
    metas: list[Tensor] = []

    def to_meta(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device('meta')
        if not isinstance(leaf, Tensor):
            return leaf
        metas.append(torch.empty_strided(leaf.size(), leaf.stride(), dtype=leaf.dtype, device='meta'))
        return metas[-1]

    on_cpu = next(tensors_given(args, kwargs)).is_cpu
    args, kwargs = tree_map(to_meta, (args, kwargs))
    try:
        out = func(*args, **kwargs)
    except NotImplementedError as error:
        raise CannotRunDry(
            f'{func} cannot be run dry: its result depends on values, or it knows no meta tensors. Measure a real step'
        ) from error
    if func is aten.native_batch_norm.default and not args[TRAINING] and on_cpu:
        # A CPU's kernel keeps no statistics in evaluation mode, as with norm_eval; the meta kernel says it did.
        out = (out[0], *(statistics.new_empty(0) for statistics in out[1:]))
    sources = {meta.untyped_storage()._cdata: i for i, meta in enumerate(metas)}

    def describe(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        source = sources.get(leaf.untyped_storage()._cdata)
        return _Result(leaf.size(), leaf.stride(), leaf.dtype, source, leaf.storage_offset())

    out_leaves, out_spec = tree_flatten(out)
    return [describe(leaf) for leaf in out_leaves], out_spec
