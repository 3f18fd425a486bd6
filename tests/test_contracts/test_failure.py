"""Contract 8: what is wrong is said in one line that helps, and nothing is lost."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from scenarios.distributed import on_processes
from scenarios.distributed_scenarios import local_loss_not_finite
from scenarios.fail_on_one_process import MESSAGE
from scenarios.training import build_model, optim_wrapper_for, train

from mmman.models import LocalBackbone, find_local_backbone
from mmman.testing import tiny_batch, tiny_retinanet

HEAD = tiny_retinanet(4).backbone.local_head
RESNET = dict(type='mmdet.ResNet', depth=18, base_channels=8, out_indices=(0, 1, 2, 3), norm_eval=False)


def local_backbone(backbone=None, **kwargs):
    arguments = dict(partition=dict(num_blocks=4), local_head=HEAD)
    return LocalBackbone({**RESNET, **(backbone or {})}, **{**arguments, **kwargs})


@pytest.mark.parametrize(
    ('kwargs', 'text'),
    [
        (dict(partition=dict(num_blocks=5)), "num_blocks=5, but the backbone has 4 stages .*by='unit' allows up to 9"),
        (dict(partition=dict(num_blocks=10, by='unit')), 'num_blocks=10, but the backbone has 9 units'),
        (dict(partition=dict(num_blocks=0)), 'must be a positive integer, got 0'),
        (dict(partition=dict(num_blocks=2, by='layer')), "partition.by must be one of .*, got 'layer'"),
        (dict(partition=dict(ends=['layer3.9'])), "names 'layer3.9', which is none of the segments: .*layer3.1"),
        (dict(partition=dict(ends=['layer3', 'layer2'])), 'must follow the order of the forward pass'),
        (dict(partition=dict(ends=['layer4'])), "'layer4', the end of the backbone"),
        (dict(partition=dict(ends=['layer2'], num_blocks=3)), 'num_blocks=3 contradicts the 1 ends'),
        (dict(partition=dict(ends='layer2')), "must be a list of segment names, got the string 'layer2'"),
        (dict(local_head=None), r'4 blocks need 3 local head\(s\), got none'),
        (dict(local_head=[HEAD]), 'lists 1 configs, but 4 blocks need 3'),
    ],
)
def test_a_wrong_config_is_named(kwargs, text):
    with pytest.raises(ValueError, match=text) as error:
        local_backbone(**kwargs)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('backbone', ['mmseg.CGNet', 'mmpretrain.RevVisionTransformer'])
def test_an_unsupported_backbone_is_refused(backbone):
    import mmseg.models  # noqa: F401

    arguments = {'mmseg.CGNet': {}, 'mmpretrain.RevVisionTransformer': dict(arch='deit-tiny')}[backbone]
    with pytest.raises(TypeError, match=f'{backbone.split(".")[1]} cannot be cut into blocks; supported: ResNet'):
        LocalBackbone(dict(type=backbone, **arguments), partition=dict(num_blocks=2), local_head=HEAD)


def test_a_backbone_is_wrapped_once():
    with pytest.raises(TypeError, match='already is a LocalBackbone'):
        LocalBackbone(local_backbone(), partition=dict(num_blocks=2), local_head=HEAD)


def test_frozen_blocks_are_merged_aloud(caplog, monkeypatch):
    said = []
    monkeypatch.setattr('mmman.models.local_backbone.print_log', lambda text, **_: said.append(text))
    backbone = local_backbone(dict(frozen_stages=1))
    assert [str(b) for b in backbone.blocks] == [
        'block 1 (stem to layer2.1)',
        'block 2 (layer3.0 to layer3.1)',
        'block 3 (layer4.0 to layer4.1)',
    ]
    assert len(said) == 1 and 'nothing to train (frozen)' in said[0] and 'stem to layer2.1' in said[0]


def test_local_heads_without_strides_or_with_too_fine_ones_are_named():
    head = dict(HEAD, head=dict(HEAD.head, anchor_generator=dict(type='AnchorGenerator')))
    with pytest.raises(ValueError, match='the config of RetinaHead names no strides'):
        local_backbone(local_head=head)
    fine = dict(HEAD.head, anchor_generator=dict(HEAD.head.anchor_generator, strides=[8]))
    with pytest.raises(ValueError, match=r'ends at stride 16, but the strides of RetinaHead are \[8\]'):
        local_backbone(local_head=dict(HEAD, head=fine))


def test_training_without_the_optim_wrapper_says_what_to_write():
    model = build_model(tiny_retinanet(4))
    with pytest.raises(RuntimeError, match="constructor='mmman.LocalOptimWrapperConstructor'"):
        train(model, optim_wrapper_for(model, local=False), [tiny_batch()])


def test_the_constructor_without_a_local_backbone_says_what_to_write():
    with pytest.raises(ValueError, match="has 0 backbones of type mmman.LocalBackbone.*type='mmman.LocalBackbone'"):
        optim_wrapper_for(build_model(tiny_retinanet(None)))


def test_plain_ddp_on_several_processes_is_refused(monkeypatch):
    from mmengine.registry import MODEL_WRAPPERS

    @MODEL_WRAPPERS.register_module(name='PretendDDP', force=True)
    class PretendDDP(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = build_model(tiny_retinanet(4))
    optim_wrapper = optim_wrapper_for(model)
    monkeypatch.setattr('mmman.optim.optim_wrapper.get_world_size', lambda: 2)
    with (
        pytest.raises(RuntimeError, match='PretendDDP cannot train 4 blocks on 2 .*LocalDistributedDataParallel'),
        optim_wrapper.optim_context(PretendDDP(model)),
    ):
        pass


def test_a_second_forward_in_one_step_is_refused():
    model = build_model(tiny_retinanet(4))
    model.loss = lambda inputs, samples: [model.extract_feat(inputs) for _ in range(2)]
    with pytest.raises(RuntimeError, match='ran twice in one training step'):
        train(model, optim_wrapper_for(model), [tiny_batch()])


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('accumulative_counts', [1, 2])
def test_a_local_loss_that_is_not_finite_stops_before_its_step_and_names_the_block(value, accumulative_counts):
    model = build_model(tiny_retinanet(4))
    optim_wrapper = optim_wrapper_for(model, accumulative_counts=accumulative_counts)
    head = find_local_backbone(model).local['block2'].head
    loss = head.loss
    head.loss = lambda *args: {name: [v[0] * value] for name, v in loss(*args).items()}
    before = {name: p.clone() for name, p in model.named_parameters()}
    owners = find_local_backbone(model).block_of_parameters()
    with pytest.raises(FloatingPointError, match='the local loss of block 2 is not finite') as error:
        train(model, optim_wrapper, [tiny_batch()])
    assert '\n' not in str(error.value)
    for name, p in model.named_parameters():
        if owners.get(p, 4) != 1:
            assert torch.equal(p, before[name]), name

    # The model stays usable: no gradient is left, no count is off, the next step works.
    head.loss = loss
    assert not any(p.grad is not None for p in model.parameters())
    assert [wrapper.inner_count for wrapper in optim_wrapper.values()] == [0] * 4
    train(model, optim_wrapper, [tiny_batch()] * 2)
    assert [wrapper.inner_count for wrapper in optim_wrapper.values()] == [2] * 4


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    """What two processes returned; by the number of accumulated steps. Block 2's loss is not finite on the second."""
    scenarios = {str(counts): partial(local_loss_not_finite, counts) for counts in (1, 2)}
    return on_processes(scenarios, tmp_path_factory.mktemp('processes'))


@pytest.mark.parametrize('counts', [1, 2])
def test_a_local_loss_that_is_not_finite_on_one_process_stops_both(counts, two_processes):
    first, second = two_processes[str(counts)]
    text = 'the local loss of block 2 is not finite ('
    assert f'{text}on another process; here ' in first['error'] and f'{text}loss=nan' in second['error']
    for result in (first, second):
        stepped = {name for name, value in result['before'].items() if not torch.equal(value, result['after'][name])}
        assert {result['owners'][name] for name in stepped} == {1}
        assert result['grads'] == 0
        # In the last step of a window the blocks fall back to what they were before it.
        assert result['counts'] == [counts - 1] * 4
        # Usable: the following steps train all blocks.
        moved = {name for name, value in result['after'].items() if not torch.equal(value, result['end'][name])}
        assert {result['owners'][name] for name in moved} == {1, 2, 3, 4}
    for part in ('after', 'end'):
        assert all(torch.equal(value, second[part][name]) for name, value in first[part].items())


@pytest.mark.parametrize('wrapper', ['LocalDistributedDataParallel', 'PipelineParallel'])
def test_an_error_on_one_process_ends_the_job_while_the_other_waits(wrapper):
    """The other process hangs until torchrun ends it; that the job ends is torchrun's doing."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    command += ['-m', 'scenarios.fail_on_one_process', f'mmman.{wrapper}']
    tests = Path(__file__).parents[1]  # where the module is found
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tests)
    assert done.returncode != 0
    assert f'RuntimeError: {MESSAGE}' in done.stderr
    assert 'process 0 did step 0' in done.stdout and 'process 1 did step 1' not in done.stdout
    assert 'process 0 did step 2' not in done.stdout


@pytest.mark.parametrize('num_items', [(0, 0), (0, 3), (1,)], ids=['no box', 'an image without boxes', 'batch of one'])
def test_unusual_batches_train(num_items):
    model = build_model(tiny_retinanet(4))
    optim_wrapper = optim_wrapper_for(model)
    train(model, optim_wrapper, [tiny_batch(num_items=num_items)])
    # Images without boxes are background: the classification loss of every block is there.
    assert all(optim_wrapper.local_log_vars[f'local{i}.loss_cls'] > 0 for i in (1, 2, 3))


def test_resuming_with_another_partition_is_named():
    state = optim_wrapper_for(build_model(tiny_retinanet(4))).state_dict()
    other = optim_wrapper_for(build_model(tiny_retinanet(3)))
    with pytest.raises(ValueError, match='resume with the same partition'):
        other.load_state_dict(state)


def test_models_build_through_the_root_registry():
    assert isinstance(
        MODELS.build(dict(type='mmman.LocalBackbone', backbone=RESNET, partition=dict(num_blocks=1))), LocalBackbone
    )
