"""What every config of local learning says, filled in."""

import copy

from mmengine.config import Config, ConfigDict

from mmman.toolboxes import type_name

from .resuming import go_on_inside_epochs


def complete_config(cfg: Config | ConfigDict) -> Config | ConfigDict:
    """Fill in what every config of local learning says.

    - ``optim_wrapper.constructor`` becomes ``mmman.LocalOptimWrapperConstructor``; a constructor that the config names
      goes to ``base_constructor``, and says what each parameter is trained with.
    - ``custom_hooks`` get ``mmman.LocalLossHook``, beside those that are there.
    - ``default_hooks.checkpoint`` of type ``CheckpointHook`` becomes ``mmman.ExactCheckpointHook``, unless it leaves
      out the optimizer or the schedules; where it saves inside of epochs, an ``EpochBasedTrainLoop`` becomes
      ``mmman.ResumableEpochBasedTrainLoop``.
    - ``local_learning``, from which configs copy dicts, goes: :class:`LocalRunner` has read it.

    Args:
        cfg (Config | ConfigDict): The config; it stays as it is.

    Returns:
        Config | ConfigDict: A copy without ``runner_type``.
    """
    cfg = copy.deepcopy(cfg)
    cfg.pop('runner_type', None)
    cfg.pop('local_learning', None)
    constructor = cfg.optim_wrapper.get('constructor')
    if type_name(constructor) != 'LocalOptimWrapperConstructor':
        if constructor is not None:
            cfg.optim_wrapper.base_constructor = constructor
        cfg.optim_wrapper.constructor = 'mmman.LocalOptimWrapperConstructor'
    hooks = cfg.get('custom_hooks') or []
    if not any(type_name(hook.get('type')) == 'LocalLossHook' for hook in hooks if isinstance(hook, dict)):
        cfg.custom_hooks = [*hooks, dict(type='mmman.LocalLossHook')]
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoint is not None and type_name(checkpoint.get('type')) == 'CheckpointHook' and _saves_all(checkpoint):
        checkpoint.type = 'mmman.ExactCheckpointHook'
    go_on_inside_epochs(cfg)
    return cfg


def _saves_all(checkpoint: dict) -> bool:
    """Whether a ``CheckpointHook`` writes all that training needs to go on, in a way that has not gone out of use."""
    saved = (checkpoint.get(name, True) for name in ('save_optimizer', 'save_param_scheduler'))
    return all(saved) and checkpoint.get('file_client_args') is None
