"""Activation checkpointing for what lies behind the backbone."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmman.memory.recompute import recompute_part
from mmman.models import unwrapped
from mmman.registry import HOOKS


@HOOKS.register_module()
class RecomputeHook(Hook):
    """Lets parts of the model keep their inputs only, and compute again what their backward needs.

    Training stays the same to the last bit. It is for necks and heads, with local learning or end to end; a
    :class:`mmman.models.LocalBackbone` has ``with_cp``. mmengine's ``activation_checkpointing`` is for modules that
    take one tensor, and counts each batch twice in BatchNorm's statistics.

    Args:
        parts (Sequence[str]): Qualified names of modules, or of methods that a module calls:
            ``['neck', 'bbox_head.forward_single']`` recomputes a dense head of mmdet level by level.

    Raises:
        TypeError: If ``parts`` is no list of names.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        if isinstance(parts, str) or not all(isinstance(part, str) for part in parts):
            raise TypeError(f'RecomputeHook.parts must be a list of names of modules or methods, got {parts!r}')
        self.parts = list(parts)

    def before_train(self, runner: Runner) -> None:
        """Prepare the model.

        Args:
            runner (Runner): The runner.

        Raises:
            ValueError: If the model has no such part.
        """
        model = unwrapped(runner.model)
        for part in self.parts:
            recompute_part(model, part)
