"""What an auxiliary network is to the rest of the package."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, initialize
from torch import Tensor, nn

from mmman.memory.recompute import recompute
from mmman.partition import State


class AuxiliaryNetwork(BaseModule):
    """Stands between a block's output x and its local head, and learns from the block's local loss.

    It may copy segments of the next block, of which it is given the modules: each takes what a segment gives, and gives
    what the next one takes (a tensor for most backbones; see :class:`mmman.partition.BackboneFamily`). A new one needs
    ``__init__``, ``forward`` and, if it copies, :meth:`copies`; from these follow how it starts, what a plain
    checkpoint means for it, and which learning rates its parameters have. A config names it in
    ``LocalBackbone(auxiliary=...)``.

    Args:
        init_cfg (dict, optional): How what is no copy starts; see mmengine's ``BaseModule``. Defaults to None.

    Attributes:
        with_cp (bool | str): Whether activations are to be recomputed; ``'full'`` (or True) keeps inputs only,
            ``'selective'`` the results of convolutions and matrix products, too. False at first.
        scale (nn.Parameter, optional): s, of shape (1,): how its branches are weighed. It is logged, and takes no
            weight decay. None unless a subclass sets it.

    Example:
        >>> @MODELS.register_module()
        ... class LearnableCopy(AuxiliaryNetwork):
        ...     def __init__(self, sources):
        ...         super().__init__()
        ...         self.layer = copy.deepcopy(sources[0])
        ...     def forward(self, x):
        ...         return self.layer(x)
        ...     def copies(self):
        ...         return dict(layer=0)
    """

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        self.with_cp: bool | str = False
        self.register_parameter('scale', None)

    @abstractmethod
    def forward(self, x: State) -> State:
        """Compute y, which the local head sees.

        Args:
            x (State): Output of the block with its graph: a map (N, C, H, W), tokens (N, L, C), or a structure of
                several tensors.

        Returns:
            State: y, such as a segment gives.
        """

    def recomputed(self, x: State) -> State:
        """As ``forward``, keeping less for the backward: what is called where ``with_cp`` is set."""
        return recompute(self, x, modules=[self], mode=self.with_cp)

    def copies(self) -> dict[str, int]:
        """Which submodules are copies of the next block's segments.

        They start from their sources, and their learnable parameters are given their sources' learning rates.

        Returns:
            dict[str, int]: By the name of the submodule, the number of the segment that it copies, from 0. Empty by
            default.
        """
        return {}

    def averaged_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that follow their source by averaging, and that no optimizer may have. None by default."""
        return iter(())

    @property
    def follows_source(self) -> bool:
        """Whether :meth:`update` reads the parameters of the first source; it may read no other's."""
        return any(True for _ in self.averaged_parameters())

    @torch.no_grad()
    def start_from(self, sources: Sequence[nn.Module]) -> None:
        """Set all to where training starts: the copies to the sources' weights and buffers, the rest by ``init_cfg``.

        Args:
            sources (Sequence[nn.Module]): The next block's segments, in order.
        """
        copies = self.copies()
        if self.init_cfg:
            initialize(self, self.init_cfg)
        for name, child in self.named_children():
            if hasattr(child, 'init_weights') and not any(f'{copied}.'.startswith(f'{name}.') for copied in copies):
                child.init_weights()
        for name, i in copies.items():
            self.get_submodule(name).load_state_dict(sources[i].state_dict())

    def start_state(self, source_states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """What a checkpoint that knows nothing of this network makes it start from.

        Args:
            source_states (Sequence[dict[str, Tensor]]): States of the next block's segments in that checkpoint.

        Returns:
            dict[str, Tensor]: Entries of this network's state dict; what it lacks stays as it was initialised. By
            default the copies are those of the sources, and s is 1.
        """
        state = {f'{name}.{key}': value for name, i in self.copies().items() for key, value in source_states[i].items()}
        if self.scale is not None:
            state['scale'] = torch.ones_like(self.scale)
        return state

    def update(self, sources: Sequence[nn.Module]) -> None:
        """Follow the next block by one step; called after the own block's optimizer step. Does nothing by default.

        Args:
            sources (Sequence[nn.Module]): The next block's segments, in order.
        """

    def upgrade_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Bring what an earlier version saved into today's form, in place: up to version 0.1, s had no dimension.

        Args:
            state_dict (dict): A state that is about to be loaded.
            prefix (str): Where this network lies in it.
        """
        scale = state_dict.get(f'{prefix}scale')
        if isinstance(scale, Tensor) and scale.dim() == 0:
            state_dict[f'{prefix}scale'] = scale.reshape(1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.upgrade_state(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)
