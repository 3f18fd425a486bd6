"""Which stage holds which parameters."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmman.models import LocalLearning, find_local_backbone

from .mesh import Mesh


class Placement:
    """Frees the parameters that other stages train, and brings them back.

    Parameters stay the same objects with the same names; those of others are empty in between. Buffers, which are
    small, stay everywhere, and are right on the stage that has their block.

    Besides its own, a stage keeps the weights that the EMA of its last block follows: a copy of the first segment of
    the next stage.

    Args:
        module (nn.Module): The whole model.
        mesh (Mesh): The place of this process.
        shares (Sequence[range]): The blocks of each stage, counted from 1.

    Attributes:
        is_whole (bool): Whether the parameters of all stages are here.
    """

    def __init__(self, module: nn.Module, mesh: Mesh, shares: Sequence[range]) -> None:
        local = find_local_backbone(module).local
        stage_of_block = {block: stage for stage, share in enumerate(shares) for block in share}
        self.mesh = mesh
        self.is_whole = True
        self._tensors: list[tuple[Tensor, int, torch.Size]] = [
            (tensor, stage_of_block[owners.get(tensor, len(local.blocks))], tensor.shape)
            for tensors, owners in (
                (module.parameters(), local.block_of_parameters()),
                (module.buffers(), local.block_of_buffers()),
            )
            for tensor in tensors
        ]
        own = shares[mesh.stage]
        self._followed = [] if mesh.is_last else _followed_by(local, own[-1])
        self._followed_by_previous = [] if mesh.is_first else _followed_by(local, own[0] - 1)

    @torch.no_grad()
    def free_others(self) -> None:
        """Empty the parameters of other stages."""
        kept = {id(param) for param in self._followed}
        for tensor, stage, _ in self._tensors:
            if stage != self.mesh.stage and isinstance(tensor, nn.Parameter) and id(tensor) not in kept:
                tensor.data = tensor.data.new_empty(0)
                tensor.grad = None
        self.is_whole = False

    @torch.no_grad()
    def gather(self) -> None:
        """Bring all parameters and buffers here, from the stages that train them."""
        for tensor, stage, shape in self._tensors:
            if tensor.shape != shape:
                tensor.data = tensor.data.new_empty(shape)
            dist.broadcast(tensor.data, self.mesh.rank_of(stage), group=self.mesh.pipeline)
        self.is_whole = True

    def weights_to_report(self) -> list[Tensor] | None:
        """A copy of the own weights that the previous stage's EMA follows; None where it has none."""
        return [param.detach().clone() for param in self._followed_by_previous] or None

    @torch.no_grad()
    def set_followed(self, weights: list[Tensor]) -> None:
        """Take what :meth:`weights_to_report` gave on the next stage."""
        torch._foreach_copy_(self._followed, weights)


def _followed_by(local: LocalLearning, index: int) -> list[nn.Parameter]:
    """The parameters that the auxiliary network of a block, counted from 1, follows."""
    block = local.blocks[index - 1]
    auxiliary = local.branch(block).auxiliary
    if auxiliary is None or not auxiliary.follows_source:
        return []
    return list(local.next_segments(block)[0].parameters())
