"""Activation checkpointing for what lies behind the backbone."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmman.memory.recomputed_parts import recompute_part
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
            ``['neck', 'bbox_head.forward_single']`` recomputes a dense head of mmdet level by level, and
            ``'bbox_head.forward_single:0'`` its first level only. No part may lie in another one. Defaults to none.
        selective (Sequence[str]): Names of parts that also keep the results of convolutions and matrix products, so
            that only norms, activations and the like are computed again. Defaults to none.

    Raises:
        TypeError: If ``parts`` or ``selective`` is no list of names.
        ValueError: If both name the same part.
    """

    def __init__(self, parts: Sequence[str] = (), selective: Sequence[str] = ()) -> None:
        for name, names in (('parts', parts), ('selective', selective)):
            if isinstance(names, str) or not all(isinstance(part, str) for part in names):
                raise TypeError(f'RecomputeHook.{name} must be a list of names of modules or methods, got {names!r}')
        if both := sorted({*parts} & {*selective}):
            raise ValueError(f'RecomputeHook: parts and selective both name {both[0]!r}: leave one out')
        self.parts = list(parts)
        self.selective = list(selective)

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
        for part in self.selective:
            recompute_part(model, part, 'selective')
