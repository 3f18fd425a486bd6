"""What passes from segment to segment: a map, tokens, or several tensors and what belongs to them."""

from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

# A tensor, or a structure (tuples, lists, dicts) of tensors and of what is none. The family decides.
State = Any


class TokenGrid(NamedTuple):
    """Tokens that lie on a grid.

    Args:
        tokens (Tensor): (N, E + H * W, C), row by row; E tokens before them belong to no patch.
        size (tuple[int, int]): The grid, (H, W).
    """

    tokens: Tensor
    size: tuple[int, int]

    @property
    def map(self) -> Tensor:
        """The tokens of the patches as a feature map, (N, C, H, W)."""
        height, width = self.size
        patches = self.tokens[:, self.tokens.shape[1] - height * width :]
        return patches.transpose(1, 2).unflatten(2, (height, width))


def detached(state: State) -> State:
    """The same state without its graph."""
    return tree_map_only(Tensor, Tensor.detach, state)


def tensors(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    return [leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
