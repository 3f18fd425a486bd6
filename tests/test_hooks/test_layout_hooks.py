from types import SimpleNamespace

import pytest
import torch
from scenarios.training import build_model, optim_wrapper_for, train

from mmman.hooks import ChannelsLastHook, CompileBlocksHook
from mmman.models import find_local_backbone
from mmman.testing import tiny_batch, tiny_retinanet


def trained(*hooks):
    model = build_model(tiny_retinanet(4))
    for hook in hooks:
        hook.before_train(SimpleNamespace(model=model))
    return model, train(model, optim_wrapper_for(model), [tiny_batch()] * 2)


def assert_close(model, expected):
    assert list(model.state_dict()) == list(expected.state_dict())
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_channels_are_last_in_weights_and_features():
    expected, _ = trained()
    model, _ = trained(ChannelsLastHook())
    assert_close(model, expected)
    layouts = []
    optim_wrapper = optim_wrapper_for(model)  # which looks at the outputs of an example
    backbone = find_local_backbone(model)
    backbone.layer2[0].register_forward_hook(
        lambda module, args, output: layouts.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    train(model, optim_wrapper, [tiny_batch()])
    assert layouts == [True]
    assert backbone.layer2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_compiled_blocks_train_as_they_would():
    expected, _ = trained()
    # Traced, but not compiled, which takes minutes: what is tested is that the step can be cut into graphs.
    model, _ = trained(CompileBlocksHook(backend='eager'))
    assert_close(model, expected)
    backbone = find_local_backbone(model)
    assert backbone.layer3[0]._compiled_call_impl is not None
    assert backbone.local['block1'].auxiliary._compiled_call_impl is not None
    assert backbone._compiled_call_impl is None


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match='RetinaNet has 0 backbones of type mmman.LocalBackbone'):
        CompileBlocksHook().before_train(SimpleNamespace(model=build_model(tiny_retinanet(None))))
