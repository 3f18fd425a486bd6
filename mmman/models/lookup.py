"""From what a runner holds to the model, and from the model to its local backbone."""

from mmengine.model import is_model_wrapper
from torch import nn

from .local_backbone import LocalBackbone


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without the wrapper that a runner puts around it on several processes."""
    return model.module if is_model_wrapper(model) else model


def find_local_backbone(model: nn.Module) -> LocalBackbone:
    """Find the one LocalBackbone of a model; of several the one that learns, as a student beside its teacher.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = [module for module in model.modules() if isinstance(module, LocalBackbone)]
    if len(found) > 1:
        found = [module for module in found if any(p.requires_grad for p in module.parameters())] or found
    if len(found) != 1:
        raise ValueError(
            f'{type(model).__name__} has {len(found)} backbones of type mmman.LocalBackbone; local learning needs one: '
            "set model = dict(backbone=dict(type='mmman.LocalBackbone', backbone=..., partition=..., local_head=...))"
        )
    return found[0]
