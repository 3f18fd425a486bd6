"""After every load, LB and EMA are what was saved for their source, or equal the loaded source (contract 3)."""

import copy
import logging
import types

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.runner import load_state_dict
from scenarios.contracts import auxiliaries
from scenarios.training import assert_same_state, build_model
from torch import nn

from mmman.models import find_local_backbone
from mmman.testing import tiny_classifier, tiny_retinanet

TWO_LAYERS = dict(type='mmman.MomentumAuxiliary', num_layers=2)
BIASES = dict(type='mmman.TwoBiasesAuxiliary')


def units(num_blocks, **local):
    return tiny_classifier('resnet', num_blocks, **local)


def stages(num_blocks=4, backbone=None, **local):
    return tiny_retinanet(num_blocks, backbone, **local)


def ends(*names, **local):
    model = tiny_retinanet(4, **local)
    model.backbone.partition = dict(ends=list(names))
    return model


# The model that was saved, the one that is loaded, and the blocks whose auxiliary networks and local heads start anew.
# (A detection head's shapes depend on the number of levels behind its block, too.)
LOADS = {
    'the same': (stages(), stages(), [], []),
    'K=8 to 4, by unit': (units(8), units(4), [1], [1]),
    'K=4 to 8, by unit': (units(4), units(8), [1, 2, 3, 5, 7], [1, 2, 3, 5, 7]),
    'K=2 to 4': (stages(2), stages(4), [1, 3], [1, 2, 3]),
    'K=4 to 2': (stages(4), stages(2), [], [1]),
    'K=1 to 4': (stages(1), stages(4), [1, 2, 3], [1, 2, 3]),
    'K=4 to 1': (stages(4), stages(1), [], []),
    'other ends of the same shapes': (ends('layer1.0', 'layer3'), ends('stem', 'layer3'), [1], [1]),
    'other ends': (stages(4), ends('layer2', 'layer3.0'), [2], [2]),
    'frozen stages': (stages(4), stages(4, dict(frozen_stages=1)), [], []),
    'no frozen stages': (stages(4, dict(frozen_stages=1)), stages(4), [1], [1]),
    'no auxiliary to MAN++': (units(4, auxiliary=None), units(4), [1, 2, 3], []),
    'MAN++ to no auxiliary': (units(4), units(4, auxiliary=None), [], []),
    'MAN to MAN++': (stages(auxiliary=dict(type='mmman.MomentumAuxiliary', scale=False)), stages(), [1, 2, 3], []),
    'two biases to MAN++': (stages(auxiliary=BIASES), stages(), [1, 2, 3], []),
    'one layer to two': (stages(3), stages(3, auxiliary=TWO_LAYERS), [1, 2], []),
    'two layers to one': (stages(3, auxiliary=TWO_LAYERS), stages(3), [1, 2], []),
    'another host': (tiny_classifier('resnet', 4, 'dgl'), units(4), [], [1, 2, 3]),
}
LOAD = dict(torch=nn.Module.load_state_dict, mmengine=load_state_dict)


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    logger = MMLogger.get_instance('test_checkpoint_loading')
    monkeypatch.setattr(MMLogger, 'get_current_instance', classmethod(lambda cls: logger))
    monkeypatch.setattr(logger, 'log', lambda level, text: lines.append(text) if level == logging.WARNING else None)
    return lines


def trained(cfg):
    """A model of which everything has values of its own, as after training."""
    model = build_model(cfg, seed=1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    return model


def branches(model):
    local = find_local_backbone(model).local
    return {block.place: (block.index, local.branch(block)) for block in local.blocks[:-1]}


def assert_saved_or_equal_to_the_source(model, saved, anew):
    """``anew`` names the blocks whose auxiliary networks and those whose local heads are not what was saved."""
    saved = {place: branch for place, (_, branch) in branches(saved).items()}
    sources = dict(auxiliaries(model))
    for place, (index, branch) in branches(model).items():
        if index not in anew[1]:
            assert_same_state(branch.head, saved[place].head)
        if branch.auxiliary is None:
            continue
        if index not in anew[0]:
            assert_same_state(branch.auxiliary, saved[place].auxiliary)
            continue
        for name, i in branch.auxiliary.copies().items():
            assert_same_state(branch.auxiliary.get_submodule(name), sources[branch.auxiliary][i])
        assert branch.auxiliary.scale.item() == 1


def plain_part(model):
    return {key: value for key, value in model.state_dict().items() if '.local.' not in key}


@pytest.mark.parametrize('name', LOADS)
def test_what_is_a_copy_of_its_source_or_was_saved_for_it(warnings, name):
    saved, cfg, auxiliary, heads = LOADS[name]
    load = list(LOAD.values())[list(LOADS).index(name) % 2]  # torch's and mmengine's in turn
    saved, model = trained(saved), build_model(cfg)
    before = copy.deepcopy({place: branch.head.state_dict() for place, (_, branch) in branches(model).items()})
    state = copy.deepcopy(saved.state_dict())
    load(model, state, strict=False)
    plain = plain_part(model)
    assert plain.keys() == plain_part(saved).keys()
    assert all(torch.equal(value, saved.state_dict()[key]) for key, value in plain.items())
    assert_saved_or_equal_to_the_source(model, saved, (auxiliary, heads))
    for place, (index, branch) in branches(model).items():
        if index in heads:
            assert all(torch.equal(value, before[place][key]) for key, value in branch.head.state_dict().items())
    assert state.keys() == saved.state_dict().keys()  # what is given does not change
    lines = [line for line in warnings if 'start anew' in line]
    assert len(lines) == bool((auxiliary or heads) and branches(saved))
    for index, _ in branches(model).values():
        if lines:
            assert (f'block {index} (' in lines[0]) is (index in auxiliary + heads)


def test_strict_loading_takes_other_blocks_whose_parts_are_all_there():
    saved, model = trained(units(10)), build_model(units(4))
    model.load_state_dict(saved.state_dict())
    assert_saved_or_equal_to_the_source(model, saved, ([], []))


def test_one_line_says_what_starts_anew_and_why(warnings):
    build_model(stages(4)).load_state_dict(trained(stages(2)).state_dict(), strict=False)
    assert [line for line in warnings if 'anew' in line] == [
        'LocalBackbone: auxiliary networks and local heads of block 1 (stem to layer1.1), block 3 (layer3.0 to layer3.1'
        '), and local heads of block 2 (layer2.0 to layer2.1) start anew: the checkpoint has none that fit these '
        'layers (it has layer2_1)'
    ]


def test_a_numbered_checkpoint_starts_anew_and_names_the_tool(warnings):
    saved, model = trained(stages(4)), build_model(stages(4))
    numbers = {place: f'block{index}' for place, (index, _) in branches(saved).items()}
    state = saved.state_dict()
    for key in [key for key in state if '.local.' in key]:
        place = key.split('.')[2]
        state[key.replace(place, numbers[place])] = state.pop(key)
    keys = model.load_state_dict(state, strict=False)
    assert not keys.unexpected_keys and all('.head.' in key for key in keys.missing_keys)
    assert_saved_or_equal_to_the_source(model, saved, ([1, 2, 3], [1, 2, 3]))
    (line,) = [line for line in warnings if 'anew' in line]
    assert 'numbers its blocks' in line and 'tools/model_converters/upgrade_checkpoint.py' in line


@pytest.mark.parametrize('load', LOAD.values(), ids=LOAD)
def test_scales_without_dimension_are_no_reason_to_start_anew(warnings, load):
    saved, model = trained(stages(4)), build_model(stages(4))
    state = {key: value[0] if key.endswith('.scale') else value for key, value in saved.state_dict().items()}
    load(model, state, strict=True)
    assert_same_state(model, saved)
    assert not [line for line in warnings if 'anew' in line]


@pytest.mark.parametrize('depth', [18, 34])
def test_a_checkpoint_of_another_depth_is_loaded_by_half_nowhere_else_than_in_the_plain_model(depth):
    """mmengine leaves out what has another shape; from R18 to R34 whole units are not in the checkpoint."""
    cfgs = {18: stages(4), 34: stages(4, dict(depth=34))}
    saved, model = trained(cfgs[depth]), build_model(cfgs[52 - depth])
    load_state_dict(model, saved.state_dict(), strict=False)
    assert torch.equal(model.backbone.layer2[0].conv1.weight, saved.backbone.layer2[0].conv1.weight)
    assert not set(branches(model)) & set(branches(saved))
    anew = [index for index, _ in branches(model).values()]
    assert_saved_or_equal_to_the_source(model, saved, (anew, anew))


def test_a_source_that_is_loaded_in_part_is_copied_as_it_is():
    plain, model = trained(tiny_retinanet(None)), build_model(stages(4))
    state = plain.state_dict()
    state['backbone.layer2.0.conv1.weight'] = state['backbone.layer2.0.conv1.weight'].repeat(2, 1, 1, 1)
    load_state_dict(model, state, strict=False)
    assert not torch.equal(model.backbone.layer2[0].conv1.weight, plain.backbone.layer2[0].conv1.weight)
    assert torch.equal(model.backbone.layer2[0].conv2.weight, plain.backbone.layer2[0].conv2.weight)
    for auxiliary, (source, *_) in auxiliaries(model):
        assert_same_state(auxiliary.ema, source)
        assert_same_state(auxiliary.learnable_bias, source)


def test_assigned_tensors_are_not_shared():
    """``assign=True`` makes the given tensors the parameters: LB, EMA and source must not be one."""
    model = build_model(stages(4))
    model.load_state_dict(build_model(tiny_retinanet(None), seed=1).state_dict(), strict=False, assign=True)
    for auxiliary, (source, *_) in auxiliaries(model):
        weights = [m.conv1.weight for m in (auxiliary.learnable_bias, auxiliary.ema, source)]
        assert torch.equal(weights[0], weights[2]) and torch.equal(weights[1], weights[2])
        assert len({weight.data_ptr() for weight in weights}) == 3
        assert not weights[1].requires_grad


def test_weights_of_something_else_leave_the_copies_alone():
    model = trained(stages(4))
    before = copy.deepcopy(model.state_dict())
    model.load_state_dict({k: v for k, v in before.items() if k.startswith('bbox_head.')}, strict=False)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize('resume', [False, True])
def test_the_averaged_model_of_emahook_follows_the_same_rule(resume):
    """In the order of mmengine's runner; in a checkpoint of EMAHook the model's state and the average are swapped."""
    saved, average, model = trained(stages(2)), trained(stages(2)), build_model(stages(4))
    with torch.no_grad():
        average.backbone.layer2[0].conv1.weight.add_(1)
    checkpoint = dict(state_dict=average.state_dict() if resume else saved.state_dict())
    if resume:
        state = {f'module.{key}': value for key, value in saved.state_dict().items()}
        checkpoint['ema_state_dict'] = {**state, 'steps': torch.tensor(1)}
    runner = types.SimpleNamespace(model=model, _resume=resume)
    hook = EMAHook(strict_load=False)
    hook.before_run(runner)
    hook.after_load_checkpoint(runner, checkpoint)
    load_state_dict(model, checkpoint['state_dict'])
    for found, expected in ((model, saved), (hook.ema_model.module, average if resume else saved)):
        weights = [m.backbone.layer2[0].conv1.weight for m in (found, expected)]
        assert torch.equal(*weights)
        assert_saved_or_equal_to_the_source(found, expected, ([1, 3], [1, 2, 3]))
