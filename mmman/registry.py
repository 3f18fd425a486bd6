"""Registries of mmman: children of mmengine's, so that configs of every OpenMMLab toolbox reach them as ``mmman.X``."""

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import Registry, build_runner_from_cfg

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmman',
    locations=['mmman.auxiliary', 'mmman.local_heads', 'mmman.memory', 'mmman.models'],
)
MODEL_WRAPPERS = Registry(
    'model_wrapper', parent=MMENGINE_MODEL_WRAPPERS, scope='mmman', locations=['mmman.optim', 'mmman.pipeline']
)
HOOKS = Registry(
    'hook', parent=MMENGINE_HOOKS, scope='mmman', locations=['mmman.hooks', 'mmman.pipeline', 'mmman.resume']
)
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmman', locations=['mmman.pipeline', 'mmman.resume'])
OPTIM_WRAPPERS = Registry('optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='mmman', locations=['mmman.optim'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmman',
    locations=['mmman.optim'],
)
RUNNERS = Registry(
    'runner', build_func=build_runner_from_cfg, parent=MMENGINE_RUNNERS, scope='mmman', locations=['mmman.apis']
)
