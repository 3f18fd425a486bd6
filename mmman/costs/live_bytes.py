"""Count the bytes of live tensors: deterministic, on any machine."""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class Peak(NamedTuple):
    """The most that was alive at once.

    Args:
        bytes (int): All of it.
        gradients (int): Those of parameters, of these bytes.
    """

    bytes: int
    gradients: int


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensor storages that are alive, each once, as operations make them and they are freed.

    Counted are the storages given at the start and those that appear in any operation inside the context, forward,
    backward or optimizer step. What a kernel allocates and frees inside itself is not seen. Tensors of the meta device
    take no memory.

    Args:
        tensors (Iterable[Tensor]): What is alive at the start: parameters, buffers, the batch. Defaults to none.

    Attributes:
        current (int): Bytes alive now.
        gradients (int): Those among them that :meth:`watch_gradients` knows as a parameter's gradient.

    Example:
        >>> with LiveBytes(model.parameters()) as live:
        ...     model.train_step(batch, optim_wrapper)
        >>> live.peak
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.current = 0
        self.gradients = 0
        self._peak = Peak(0, 0)
        self._sizes: dict[int, int] = {}
        self._of_gradients: set[int] = set()
        for tensor in tensors:
            self._see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation and count its results."""
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self._see(out)
        else:
            tree_map_only(Tensor, self._see, out)
        return out

    @property
    def peak(self) -> int:
        """Largest value of ``current`` so far."""
        return self._peak.bytes

    def take_peak(self) -> Peak:
        """The peak so far; it starts again from what is alive now."""
        peak, self._peak = self._peak, Peak(self.current, self.gradients)
        return peak

    @contextmanager
    def watch_gradients(self, params: Iterable[nn.Parameter]) -> Iterator[None]:
        """Inside, the parameters' gradients are counted apart, too, as soon as they are accumulated."""
        handles = [p.register_post_accumulate_grad_hook(self._see_gradient) for p in params if p.requires_grad]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see_gradient(self, param: nn.Parameter) -> None:
        if param.grad is None:  # already used and freed (StepInBackward)
            return
        key = self._see(param.grad).untyped_storage()._cdata
        if key not in self._of_gradients:
            self._of_gradients.add(key)
            self.gradients += self._sizes[key]

    def _see(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        size = 0 if tensor.is_meta else storage.nbytes()
        if key not in self._sizes:
            weakref.finalize(storage, self._forget, key)
        self.current += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        if self.current > self._peak.bytes:
            self._peak = Peak(self.current, self.gradients)
        return tensor

    def _forget(self, key: int) -> None:
        size = self._sizes.pop(key, 0)
        self.current -= size
        if key in self._of_gradients:
            self._of_gradients.remove(key)
            self.gradients -= size


def tensors_of(*holders: Any) -> list[Tensor]:
    """All parameters, buffers and optimizer states of the given modules and optimizer wrappers."""
    tensors: list[Tensor] = []
    for holder in holders:
        if isinstance(holder, torch.nn.Module):
            tensors += [*holder.parameters(), *holder.buffers()]
        elif isinstance(holder, torch.optim.Optimizer):
            tensors += [v for state in holder.state.values() for v in state.values() if isinstance(v, Tensor)]
        elif hasattr(holder, 'values'):
            tensors += tensors_of(*holder.values())
        else:
            tensors += tensors_of(holder.optimizer)
    return tensors
