"""Short training without a runner."""

import copy
from collections.abc import Iterable

import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS
from torch import Tensor, nn


def build_model(cfg: dict, seed: int = 0) -> nn.Module:
    """Build a model with initialised weights, in training mode; the same for the same seed."""
    torch.manual_seed(seed)
    model = MODELS.build(copy.deepcopy(cfg))
    model.init_weights()
    return model.train()


def optim_wrapper_for(model: nn.Module, local: bool = True, optimizer: dict | None = None, **cfg) -> OptimWrapper:
    """Build an optimizer wrapper.

    Args:
        model (nn.Module): The model.
        local (bool): Whether by ``LocalOptimWrapperConstructor``. Defaults to True.
        optimizer (dict, optional): The optimizer's config. Defaults to SGD with momentum and weight decay.
        **cfg: Further entries of the ``optim_wrapper`` config.

    Returns:
        OptimWrapper: The wrapper.
    """
    optimizer = optimizer or dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
    cfg = {'type': 'OptimWrapper', 'optimizer': optimizer, **cfg}
    if local:
        cfg['constructor'] = 'mmman.LocalOptimWrapperConstructor'
    return build_optim_wrapper(model, ConfigDict(cfg))


def counted_optim_wrapper(model: nn.Module, options: dict, steps: int) -> OptimWrapper:
    """:func:`optim_wrapper_for` with the given options, which knows that training has so many steps."""
    optim_wrapper = optim_wrapper_for(model, **options)
    optim_wrapper.initialize_count_status(model, 0, steps)
    return optim_wrapper


def train(model: nn.Module, optim_wrapper: OptimWrapper, batches: Iterable[dict]) -> list[dict[str, Tensor]]:
    """Run one training step on every batch; returns the model's log variables of each."""
    return [model.train_step(copy.deepcopy(batch), optim_wrapper) for batch in batches]


def assert_same_state(module: nn.Module, expected: nn.Module) -> None:
    """Assert that two modules have the same state dict: the same keys in the same order, equal to the last bit."""
    state, expected_state = module.state_dict(), expected.state_dict()
    assert list(state) == list(expected_state)
    for key, value in expected_state.items():
        assert torch.equal(state[key], value), key


def predictions(model: nn.Module, batch: dict) -> list[Tensor]:
    """What a model of any toolbox predicts in evaluation mode (in which it is left).

    Args:
        model (nn.Module): A detector, segmentor or classifier.
        batch (dict): Its images.

    Returns:
        list[Tensor]: Boxes, scores and labels; logits; or scores, of all images.
    """
    model.eval()
    with torch.no_grad():
        results = model.test_step(copy.deepcopy(batch))
    tensors = []
    for result in results:
        if 'pred_instances' in result:
            found = result.pred_instances
            tensors += [found.bboxes, found.scores, found.labels]
        else:
            tensors.append(result.seg_logits.data if 'seg_logits' in result else result.pred_score)
    return tensors
