"""torch.compile for the parts of a backbone that learns in blocks."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmman.models import find_local_backbone, unwrapped
from mmman.registry import HOOKS


@HOOKS.register_module()
class CompileBlocksHook(Hook):
    """Compiles every segment of the backbone, and every auxiliary network, by ``torch.nn.Module.compile``.

    Not the whole step (mmengine's ``compile``): a block's backward and step happen inside of the forward pass, which no
    graph can hold. Names of parameters and checkpoints stay. Units of equal structure share their code.

    Args:
        **options: Arguments of ``torch.compile``: ``mode``, ``backend``, ``dynamic``, ...
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_train(self, runner: Runner) -> None:
        """Prepare the model; the code is compiled when it runs first.

        Args:
            runner (Runner): The runner.

        Raises:
            ValueError: If the model has no ``LocalBackbone``.
        """
        local = find_local_backbone(unwrapped(runner.model)).local
        modules = [
            module
            for block in local.blocks
            for segment in block.segments
            for module in local.family.modules(local.backbone, segment)
        ]
        modules += [branch.auxiliary for branch in local.values() if branch.auxiliary is not None]
        for module in modules:
            module.compile(**self.options)
