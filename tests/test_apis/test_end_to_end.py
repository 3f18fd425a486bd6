import pytest
from scenarios.lazy_configs import lazy
from scenarios.runner import tiny_run_cfg

from mmman.apis.end_to_end import end_to_end
from mmman.apis.localization import localize
from mmman.toolboxes import type_name


@pytest.fixture(params=['strings', 'classes'])
def cfg(request, tmp_path, bccd):
    found = tiny_run_cfg(4, tmp_path, *bccd)
    return found if request.param == 'strings' else lazy(found)


def test_end_to_end_has_nothing_of_local_learning(cfg):
    plain = end_to_end(cfg)
    assert type_name(plain.model.backbone.type) == 'ResNet'
    assert 'mmman' not in plain.dump()
    assert type_name(cfg.model.backbone.type) == 'LocalBackbone'  # the config itself stays
    assert end_to_end(plain).to_dict() == plain.to_dict()


def test_end_to_end_has_the_optimizer_constructor_that_the_config_named(cfg):
    own = 'LearningRateDecayOptimizerConstructor'
    cfg.optim_wrapper.base_constructor = own
    wrapper = end_to_end(cfg).optim_wrapper
    assert wrapper.constructor == own and 'base_constructor' not in wrapper
    # A config for LocalRunner names its own constructor: the runner puts ours around it.
    cfg.runner_type = 'mmman.LocalRunner'
    cfg.optim_wrapper.pop('base_constructor')
    cfg.optim_wrapper.constructor = own
    plain = end_to_end(cfg)
    assert plain.optim_wrapper.constructor == own and 'runner_type' not in plain


def test_what_a_plan_has_written_is_left_out(tmp_path, bccd):
    stock = tiny_run_cfg(None, tmp_path, *bccd)
    planned = localize(stock, num_blocks=2, with_cp=dict(full=['layer1']), recompute=dict(full=['neck']))
    planned.default_hooks.recompute = dict(type='mmman.RecomputeHook', parts=['bbox_head.forward_single'])
    planned.default_hooks.plan = dict(type='mmman.PlanHook', peak=10**6)
    plain = end_to_end(planned)
    assert plain.model == stock.model and plain.custom_hooks == []
    assert plain.default_hooks.recompute is None and plain.default_hooks.plan is None
    stock.runner_type, stock.local_learning = 'mmman.LocalRunner', dict(num_blocks=4)
    assert not {'runner_type', 'local_learning'} & {*end_to_end(stock)}
