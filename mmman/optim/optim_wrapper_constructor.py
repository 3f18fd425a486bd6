"""Builds one optimizer per block from a plain ``optim_wrapper`` config."""

import logging
from typing import Any

from mmengine.device import is_cuda_available, is_mlu_available, is_musa_available, is_npu_available
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mmman.models import LocalBackbone, check_heads, find_local_backbone
from mmman.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmman.toolboxes import type_name

from .optim_wrapper import LocalOptimWrapper


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LocalOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Gives every block of a :class:`mmman.models.LocalBackbone` an optimizer wrapper of its own.

    Type and arguments of wrapper and optimizer are the config's, the same for all blocks, so that ``--amp``,
    ``accumulative_counts``, ``clip_grad`` (per block) and schedulers work as they are. ``paramwise_cfg`` is applied to
    the parameters' names in the whole model, as ever. The scales s take no weight decay.

    It is a constructor, not a wrapper type, because the toolboxes' ``tools/train.py --amp`` changes
    ``optim_wrapper.type``. On a machine without an accelerator, where ``AmpOptimWrapper`` refuses to be built,
    ``CPUAmpOptimWrapper`` takes its place.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper; see ``DefaultOptimWrapperConstructor``.
        paramwise_cfg (dict, optional): Parameter-wise options; see ``DefaultOptimWrapperConstructor``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if type_name(self.optim_wrapper_cfg.get('type')) == 'AmpOptimWrapper' and not _has_accelerator():
            print_log(
                'No accelerator: AmpOptimWrapper is replaced by mmman.CPUAmpOptimWrapper (autocast on CPU, to bfloat16 '
                'unless dtype says float16)',
                logger='current',
                level=logging.WARNING,
            )
            self.optim_wrapper_cfg['type'] = 'mmman.CPUAmpOptimWrapper'

    def __call__(self, model: nn.Module) -> LocalOptimWrapper:
        """Build the wrapper.

        Args:
            model (nn.Module): The model, or a wrapper around it.

        Returns:
            LocalOptimWrapper: One inner wrapper per block.
        """
        model = getattr(model, 'module', model)
        backbone = find_local_backbone(model)
        if len(backbone.local.blocks) == 1:
            return LocalOptimWrapper(block1=super().__call__(model))
        check_heads(model, backbone)
        return LocalOptimWrapper(
            **{
                f'block{i}': self._build(groups)
                for i, groups in enumerate(self._groups_by_block(model, backbone), start=1)
            }
        )

    def _groups_by_block(self, model: nn.Module, backbone: LocalBackbone) -> list[list[dict[str, Any]]]:
        """Parameter groups of the whole model, shared out among the blocks that own the parameters."""
        groups: list[dict[str, Any]] = []
        if self.paramwise_cfg:
            self.add_params(groups, model)
        else:
            groups.append(dict(params=[p for p in model.parameters() if p.requires_grad]))

        owners = backbone.local.block_of_parameters()
        scales = {
            branch.auxiliary.scale
            for branch in backbone.local.values()
            if branch.auxiliary is not None and branch.auxiliary.scale is not None
        }
        shared: list[list[dict[str, Any]]] = [[] for _ in backbone.local.blocks]
        for group in groups:
            for i, block_groups in enumerate(shared, start=1):
                own = [p for p in group['params'] if owners.get(p, len(shared)) == i]
                plain, scale = [p for p in own if p not in scales], [p for p in own if p in scales]
                if plain:
                    block_groups.append({**group, 'params': plain})
                if scale:
                    block_groups.append({**group, 'params': scale, 'weight_decay': 0.0})
        return shared

    def _build(self, groups: list[dict[str, Any]]) -> Any:
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': groups})
        cfg = {'type': 'OptimWrapper', **self.optim_wrapper_cfg}
        if cfg.get('clip_grad'):
            # OptimWrapper pops from this dict; the next block needs it whole.
            cfg['clip_grad'] = dict(cfg['clip_grad'])
        return OPTIM_WRAPPERS.build(cfg, default_args=dict(optimizer=optimizer))


def _has_accelerator() -> bool:
    """Whether ``AmpOptimWrapper`` can be built: the same test as its own."""
    return is_cuda_available() or is_npu_available() or is_mlu_available() or is_musa_available()
