"""What the contract tests of the tiny detector and those of every other case share."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmman.auxiliary import AuxiliaryNetwork
from mmman.models import LocalStep, find_local_backbone
from mmman.optim import LocalOptimWrapper


def gradients_of_each_loss(model: nn.Module, batch: dict) -> tuple[dict[int, set[str]], tuple[Tensor, ...]]:
    """Run each loss of one step backward by itself, and look whom it reaches.

    Args:
        model (nn.Module): A model on a LocalBackbone, in training mode.
        batch (dict): A training batch.

    Returns:
        tuple: Names of the parameters that the loss of each block gives a gradient other than zero, K for the model's
        own; and the outputs of the backbone.
    """
    reached: dict[int, set[str]] = {}
    backbone = find_local_backbone(model)

    def take(index: int) -> None:
        reached[index] = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        model.zero_grad()

    def update(index: int, losses: dict[str, Tensor], after_step: Callable) -> None:
        model.parse_losses(losses)[0].backward()
        take(index)

    data = model.data_preprocessor(copy.deepcopy(batch), True)
    features: list[Tensor] = []
    handle = backbone.register_forward_hook(lambda module, args, out: features.extend(out))
    with backbone.local.bind(LocalStep(update=update, data_samples=data['data_samples'])):
        losses = model(**data, mode='loss')
    handle.remove()
    model.parse_losses(losses)[0].backward()
    take(len(backbone.local.blocks))
    return reached, tuple(features)


def auxiliaries(model: nn.Module) -> list[tuple[AuxiliaryNetwork, list[nn.Module]]]:
    """The auxiliary network of every block but the last, each with the segments of the next block."""
    local = find_local_backbone(model).local
    return [(local.branch(block).auxiliary, local.next_segments(block)) for block in local.blocks[:-1]]


def move_ema_away(model: nn.Module) -> None:
    """Set EMA where it is after some steps; while LB = EMA, s has no gradient, and an update would not show."""
    torch.manual_seed(1)
    with torch.no_grad():
        for auxiliary, _ in auxiliaries(model):
            for p in auxiliary.averaged_parameters():
                p.add_(0.1 * torch.randn_like(p))


class StepAtTheEnd(LocalOptimWrapper):
    """The released code's order: all backwards, all auxiliary updates, then the steps of all blocks."""

    def _update_block(self, model: nn.Module, index: int, losses: dict[str, Tensor], after_step: Callable) -> None:
        model.parse_losses(losses)[0].backward()
        self.local = find_local_backbone(model).local

    def update_params(self, loss: Tensor) -> None:
        """Step all blocks."""
        loss.backward()
        for block in self.local.blocks[:-1]:
            self.local.branch(block).update_auxiliary(self.local.next_segments(block))
        for wrapper in self.values():
            wrapper.step()
            wrapper.zero_grad()
