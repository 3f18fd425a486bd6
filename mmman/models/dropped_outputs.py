"""Outputs of a backbone that nothing uses: they need not live until the last block has run."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmman.partition import BackboneFamily, State

# What a tensor tells of itself without its values.
OF_ITSELF = frozenset(
    getattr(Tensor, name).__get__ for name in ('shape', 'dtype', 'device', 'ndim', 'requires_grad', 'is_leaf')
) | {Tensor.size, Tensor.dim, Tensor.is_floating_point}


class DroppedOutput(Tensor):
    """Stands for an output that was dropped: it has the output's shape, and refuses to be computed with."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Tell the shape and the like; refuse all else.

        Raises:
            RuntimeError: If somebody wants its values.
        """
        if func in OF_ITSELF:
            return super().__torch_function__(func, types, args, kwargs or {})
        raise RuntimeError(
            'LocalBackbone.drop_outputs names an output of the backbone that the model uses '
            f'({getattr(func, "__name__", func)}): leave it out'
        )


def dropped(x: Tensor) -> Tensor:
    """What stands for a dropped output, without its values.

    Args:
        x (Tensor): The output.
    """
    return torch.empty((), dtype=x.dtype, device=x.device).expand(x.shape).as_subclass(DroppedOutput)


def keys_to_drop(
    family: BackboneFamily, backbone: nn.Module, drop_outputs: Sequence[int], features: Mapping[int, State], last: State
) -> frozenset[int]:
    """The keys of the features that are outputs to be dropped.

    Args:
        family (BackboneFamily): The backbone's family.
        backbone (nn.Module): The backbone.
        drop_outputs (Sequence[int]): Numbers of outputs.
        features (Mapping[int, State]): An example of all features.
        last (State): An example of the last segment's output.

    Raises:
        ValueError: If there is no such output, or it is none of the features as it is.
    """
    if not drop_outputs:
        return frozenset()
    outputs = family.outputs(backbone, features, last, family.example_input(backbone))
    keys = set()
    for i in drop_outputs:
        same = [key for key, x in features.items() if type(i) is int and i in range(len(outputs)) and outputs[i] is x]
        if not same:
            raise ValueError(
                f'LocalBackbone.drop_outputs names {i!r}: it takes numbers of outputs, from 0 to {len(outputs) - 1}, '
                'which a segment gives as they are'
            )
        keys.update(same)
    return frozenset(keys)
