"""What the data parallel wrapper is given: models with SyncBN, one block, other arguments of DistributedDataParallel.

Training on several processes is in tests/test_contracts/test_distributed.py. SyncBN's own exchange of statistics runs
nowhere here: torch has it for GPUs only.
"""

import pytest
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from scenarios.contracts import auxiliaries
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from mmman.models import LocalBackbone, find_local_backbone
from mmman.optim import LocalDistributedDataParallel
from mmman.testing import tiny_batch, tiny_retinanet, tiny_seg_batch, tiny_segmentor

SEVERAL_STEPS = range(3)


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(('make_model', 'make_batch'), [(tiny_retinanet, tiny_batch), (tiny_segmentor, tiny_seg_batch)])
def test_a_model_converted_to_sync_bn_is_cut_and_trained_as_before(make_model, make_batch):
    """mmengine converts it (``sync_bn='torch'``) once it is built, before it is wrapped and its optimizers are made."""
    plain, model = (build_model(make_model(4)) for _ in range(2))
    owners = {name: find_local_backbone(plain).block_of_parameters().get(p, 4) for name, p in plain.named_parameters()}
    model = convert_sync_batchnorm(model, 'torch').train()

    backbone = find_local_backbone(model)
    assert isinstance(backbone, LocalBackbone) and backbone is model.backbone
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert norms and all(isinstance(module, SyncBatchNorm) for module in norms)
    for auxiliary, sources in auxiliaries(model):
        for copied in (auxiliary.learnable_bias, auxiliary.ema, sources[0]):
            assert any(isinstance(module, SyncBatchNorm) for module in copied.modules())
        assert not any(p.requires_grad for p in auxiliary.ema.parameters())
    assert {name: backbone.block_of_parameters().get(p, 4) for name, p in model.named_parameters()} == owners
    assert_same_state(model, plain)

    # Outside of a process group SyncBN normalises as BN. EMA follows the converted layers, not those before.
    for each in (plain, model):
        torch.manual_seed(0)  # dropout
        train(each, optim_wrapper_for(each), [make_batch(seed) for seed in SEVERAL_STEPS])
    assert_same_state(model, plain)


def test_sync_bn_on_cpu_is_refused_by_torch(one_process):
    model = convert_sync_batchnorm(build_model(tiny_retinanet(4)), 'torch')
    with pytest.raises(ValueError, match='SyncBatchNorm layers only work with GPU modules'):
        LocalDistributedDataParallel(model)


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(find_unused_parameters=True),
        dict(broadcast_buffers=True),
        dict(gradient_as_bucket_view=True),
        dict(detect_anomalous_params=True),
    ],
    ids=str,
)
def test_arguments_of_torch_s_wrapper_are_taken(options, one_process):
    models = [build_model(tiny_retinanet(4)) for _ in range(2)]
    for model in (models[0], LocalDistributedDataParallel(models[1], **options)):
        train(model, optim_wrapper_for(model), [tiny_batch(seed) for seed in SEVERAL_STEPS])
    assert_same_state(models[1], models[0])


def test_one_block_is_torch_s_wrapper_s_alone(one_process):
    models = [build_model(tiny_retinanet(1)) for _ in range(2)]
    wrapped = [MMDistributedDataParallel(models[0]), LocalDistributedDataParallel(models[1])]
    assert not wrapped[1].parameters_to_ignore
    for model in wrapped:
        train(model, optim_wrapper_for(model), [tiny_batch(seed) for seed in SEVERAL_STEPS])
    assert_same_state(models[1], models[0])


def test_a_model_without_blocks_says_what_to_write(one_process):
    with pytest.raises(ValueError, match='has 0 backbones of type mmman.LocalBackbone'):
        LocalDistributedDataParallel(build_model(tiny_retinanet(None)))
