"""What LocalRunner fills in, and that the stock way to start it trains in blocks."""

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from scenarios.runner import tiny_run_cfg

from mmman import ExactCheckpointHook, LocalLossHook, LocalOptimWrapper, LocalRunner
from mmman.apis import complete_config
from mmman.testing import tiny_retinanet


def config(tmp_path, bccd, **cfg):
    """A config that names the runner, and nothing else of local learning but its backbone."""
    data_root, _, classes = bccd
    base = tiny_run_cfg(None, tmp_path, data_root, max_iters=1, classes=classes)
    base.model = tiny_retinanet(4)
    base.merge_from_dict(dict(runner_type='mmman.LocalRunner', **cfg))
    return base


def test_a_config_that_names_the_runner_trains_in_blocks(tmp_path, bccd):
    cfg = config(tmp_path, bccd, custom_hooks=[dict(type='EMAHook')], local_learning=dict(auxiliary=None))
    runner = RUNNERS.build(cfg)  # as the train scripts of the toolboxes do
    runner.train()
    assert isinstance(runner, LocalRunner) and isinstance(runner.optim_wrapper, LocalOptimWrapper)
    kinds = [type(hook) for hook in runner.hooks]
    assert ExactCheckpointHook in kinds and LocalLossHook in kinds and CheckpointHook not in kinds
    assert 'EMAHook' in [kind.__name__ for kind in kinds]
    assert 'train/local3.loss_cls' in runner.message_hub.log_scalars
    (dumped,) = tmp_path.glob('*.py')
    assert 'local_learning' not in Config.fromfile(dumped)


@pytest.mark.parametrize('kind', ['strings', 'classes'])
def test_what_a_config_says_itself_stays(kind, tmp_path, bccd):
    own = dict(constructor='LearningRateDecayOptimizerConstructor')
    hooks = [dict(type='mmman.LocalLossHook' if kind == 'strings' else LocalLossHook, grad_norm=True)]
    checkpoint = dict(type='mmman.PipelineCheckpointHook')
    cfg = config(tmp_path, bccd, custom_hooks=hooks, optim_wrapper=own, default_hooks=dict(checkpoint=checkpoint))
    completed = complete_config(cfg)
    assert completed.custom_hooks == hooks
    assert completed.optim_wrapper.constructor == 'mmman.LocalOptimWrapperConstructor'
    assert completed.optim_wrapper.base_constructor == own['constructor']
    assert completed.default_hooks.checkpoint.type == checkpoint['type']
    assert cfg.optim_wrapper.constructor == own['constructor'] and 'runner_type' in cfg


def test_checkpoints_inside_of_epochs_get_the_loop_that_goes_on_there(tmp_path, bccd):
    checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=5)
    cfg = config(tmp_path, bccd, default_hooks=dict(checkpoint=checkpoint))
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2)
    assert complete_config(cfg).train_cfg == dict(type='mmman.ResumableEpochBasedTrainLoop', max_epochs=2)


@pytest.mark.parametrize('option', [dict(save_optimizer=False), dict(save_param_scheduler=False)])
def test_a_checkpoint_hook_that_saves_less_stays(option, tmp_path, bccd):
    cfg = config(tmp_path, bccd, default_hooks=dict(checkpoint=dict(type='CheckpointHook', **option)))
    assert complete_config(cfg).default_hooks.checkpoint.type == 'CheckpointHook'
