"""Builds one optimizer wrapper per block from an ordinary ``optim_wrapper`` config."""

import copy
import inspect
import logging
from typing import Any

from mmengine.device import is_cuda_available, is_mlu_available, is_musa_available, is_npu_available
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ALL_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn
from torch.optim import Optimizer

from mmman.local_heads import LocalHead
from mmman.models import check_heads, find_local_backbone, unwrapped
from mmman.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmman.toolboxes import type_name

from .asked_keys import AskedKeys
from .optim_wrapper import LocalOptimWrapper
from .parameter_groups import groups_by_block

# Keys of mmengine's constructor. A config that inherits them and names another constructor, as RTMDet-L ConvNeXt-B,
# trains without them end to end as well.
OF_MMENGINE = frozenset(
    ['bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult', 'dwconv_decay_mult']
    + ['dcn_offset_lr_mult', 'bypass_duplicate']
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LocalOptimWrapperConstructor:
    """Gives every block of a :class:`mmman.models.LocalBackbone` an optimizer wrapper of its own.

    Type and arguments of wrapper and optimizer are the config's, the same for all blocks, so that ``--amp``,
    ``accumulative_counts``, ``clip_grad`` (per block) and schedulers work as they are. With one block the wrapper is
    what the base constructor builds.

    With more, the base constructor says which options each parameter has, as if the model was trained end to end:
    layer-wise decay and ``paramwise_cfg`` hold as ever. Local heads and the scales s start fresh: they get what the
    model's own head gets, and s no weight decay. LB gets the options of the layer that it copies. Keys of
    ``custom_keys`` that name local learning (``'backbone.local'``, ``'local.layer1_2'``, ``'auxiliary'``) hold for
    what they name. Frozen parameters belong to their block's optimizer, too, and train once a hook has unfrozen them.

    It is a constructor, not a wrapper type, because the toolboxes' ``tools/train.py --amp`` changes
    ``optim_wrapper.type``. On a machine without an accelerator, where ``AmpOptimWrapper`` refuses to be built,
    ``CPUAmpOptimWrapper`` takes its place.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper; see ``DefaultOptimWrapperConstructor``. Its entry
            ``base_constructor`` (str | type) names the constructor that the config would have without local learning,
            as ``'mmpretrain.LearningRateDecayOptimWrapperConstructor'``. Defaults to
            ``'DefaultOptimWrapperConstructor'``.
        paramwise_cfg (dict, optional): Parameter-wise options of the base constructor.

    Raises:
        ValueError: If ``base_constructor`` is this class, or (when called) does not read a key of ``paramwise_cfg``.
        TypeError: If (when called) the base constructor builds more than one optimizer.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.optim_wrapper_cfg = {'type': 'OptimWrapper', **optim_wrapper_cfg}
        self.base_constructor = self.optim_wrapper_cfg.pop('base_constructor', 'DefaultOptimWrapperConstructor')
        self.paramwise_cfg = paramwise_cfg
        if type_name(self.base_constructor) == type(self).__name__:
            raise ValueError(
                'optim_wrapper.base_constructor is the constructor that the config has without local learning, not '
                f'{type(self).__name__} itself'
            )
        if type_name(self.optim_wrapper_cfg['type']) == 'AmpOptimWrapper' and not _has_accelerator():
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
        model = unwrapped(model)
        backbone = find_local_backbone(model)
        blocks = backbone.local.blocks
        if len(blocks) == 1:
            wrappers = [self._build_base(model)]
        else:
            check_heads(model, backbone)
            for head in [module for module in model.modules() if isinstance(module, LocalHead)]:
                head.adapt_to(model)
            custom_keys = (self.paramwise_cfg or {}).get('custom_keys', {})
            wrappers = [
                self._build(groups) for groups in groups_by_block(model, backbone, custom_keys, self._optimizer_of_base)
            ]
        wrapper = LocalOptimWrapper(**{block.name: inner for block, inner in zip(blocks, wrappers, strict=True)})
        wrapper.segments = {block.name: str(block) for block in blocks}
        return wrapper

    def _optimizer_of_base(self, model: nn.Module, custom_keys: dict[str, dict] | None) -> Optimizer:
        if custom_keys is not None:
            print_log(
                f'paramwise_options of local learning where a key names it: {list(custom_keys.values())}, under the '
                'names of the layers that are copied, or as parts of the head',
                logger='current',
            )
        return self._build_base(model, custom_keys).optimizer

    def _build_base(self, model: nn.Module, custom_keys: dict[str, dict] | None = None) -> OptimWrapper:
        """What the base constructor builds; given ``custom_keys``, with these in the place of the config's."""
        paramwise_cfg = copy.deepcopy(self.paramwise_cfg)
        if custom_keys is not None:
            paramwise_cfg['custom_keys'] = custom_keys
        if isinstance(paramwise_cfg, dict):
            paramwise_cfg = AskedKeys(paramwise_cfg)
        constructor = ALL_CONSTRUCTORS.build(
            dict(
                type=self.base_constructor,
                optim_wrapper_cfg=copy.deepcopy(self.optim_wrapper_cfg),
                paramwise_cfg=paramwise_cfg,
            )
        )
        wrapper = constructor(model)
        if isinstance(wrapper, OptimWrapperDict) or not isinstance(wrapper, OptimWrapper):
            raise TypeError(
                f'optim_wrapper.base_constructor={type(constructor).__name__} builds a {type(wrapper).__name__}, but '
                'blocks need a constructor that builds one OptimWrapper with one optimizer, which is shared out among '
                'them: name another'
            )
        if paramwise_cfg:
            self._refuse_lost_keys(constructor, paramwise_cfg)
        return wrapper

    def _refuse_lost_keys(self, constructor: Any, paramwise_cfg: AskedKeys) -> None:
        validated = AskedKeys(self.paramwise_cfg)
        if isinstance(constructor, DefaultOptimWrapperConstructor):
            # It validates some entries when it is built, for all that inherit from it; whether they read them or not.
            DefaultOptimWrapperConstructor(copy.deepcopy(self.optim_wrapper_cfg), validated)
        left = dict.keys(paramwise_cfg)
        lost = [key for key in self.paramwise_cfg if key in left and paramwise_cfg.asked[key] <= validated.asked[key]]
        # An underscore is the config language's, as in `_delete`, which mmpretrain's Twins have for `_delete_`.
        lost = [key for key in lost if not key.startswith('_')]
        passed_by = [key for key in lost if key in OF_MMENGINE]
        lost = [key for key in lost if key not in OF_MMENGINE]
        if passed_by:
            print_log(
                f'optim_wrapper.paramwise_cfg: {type(constructor).__name__} does not read '
                f'{", ".join(map(repr, passed_by))}, neither here nor end to end',
                logger='current',
                level=logging.WARNING,
            )
        if lost:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg: {type(constructor).__name__} does not read '
                f'{", ".join(map(repr, lost))}. Drop it, or let optim_wrapper.base_constructor name the constructor '
                "that does, as 'mmpretrain.LearningRateDecayOptimWrapperConstructor'"
            )

    def _build(self, groups: list[dict[str, Any]]) -> OptimWrapper:
        """An optimizer wrapper for these parameter groups."""
        cfg = copy.deepcopy(self.optim_wrapper_cfg)
        optimizer_cfg = cfg.pop('optimizer')
        kind = optimizer_cfg['type']
        if isinstance(kind, str):
            with OPTIMIZERS.switch_scope_and_registry(None) as registry:
                kind = registry.get(kind)
        # Not all call it params; so DefaultOptimWrapperConstructor finds it.
        argument = next(iter(inspect.signature(kind).parameters))
        optimizer = OPTIMIZERS.build({**optimizer_cfg, argument: groups})
        return OPTIM_WRAPPERS.build(cfg, default_args=dict(optimizer=optimizer))


def _has_accelerator() -> bool:
    """Whether ``AmpOptimWrapper`` can be built: the same test as its own."""
    return is_cuda_available() or is_npu_available() or is_mlu_available() or is_musa_available()
