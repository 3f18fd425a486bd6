"""BatchNorm that can be given a single value for each channel: one image, behind a global pooling."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _TakesOneValue:
    """The deviation of one value is not known: such a batch is normalised by the running statistics and leaves them."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C) or (N, C, H, W)."""
        if self.training and self.track_running_stats and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


# _BatchNorm once more: by the names of a layer's direct bases, init_cfg finds what it is to initialise.
class BatchNorm1d(_TakesOneValue, nn.BatchNorm1d, _BatchNorm):
    """``nn.BatchNorm1d`` that trains on a batch of one image, where torch raises; the same for all other batches."""


class BatchNorm2d(_TakesOneValue, nn.BatchNorm2d, _BatchNorm):
    """``nn.BatchNorm2d`` that trains on one image's map of one position, where torch raises; else the same."""


KINDS = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d}


def take_one_value(module: nn.Module) -> nn.Module:
    """Let the BatchNorm layers of a module take a single value, as the last batch of an epoch may hold.

    Names, parameters, buffers and results on all other batches stay as they are.

    Args:
        module (nn.Module): The module; its children are replaced in place.

    Returns:
        nn.Module: The module, or what replaces it where it is a BatchNorm itself.
    """
    for name, child in module.named_children():
        replaced = take_one_value(child)
        if replaced is not child:
            module.add_module(name, replaced)
    if type(module) not in KINDS:
        return module
    norm = KINDS[type(module)](
        module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
    )
    for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
        setattr(norm, name, tensor)
    return norm.train(module.training)
