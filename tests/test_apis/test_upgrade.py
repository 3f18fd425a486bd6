"""A training checkpoint of version 0.1 goes on exactly once it is upgraded."""

import copy
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from scenarios.contracts import move_ema_away
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.apis.upgrade import upgrade_checkpoint
from mmman.models import find_local_backbone
from mmman.testing import tiny_batch, tiny_retinanet

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/model_converters/upgrade_checkpoint.py'
TWO_BIASES = dict(type='mmman.TwoBiasesAuxiliary')


def config(num_blocks=4, **local):
    return Config(dict(default_scope='mmdet', model=tiny_retinanet(num_blocks, **local)))


def as_of_version_0_1(model, optim_wrapper):
    """Blocks by their number, scales and what optimizers keep of them without dimension, LB' under EMA's name."""
    state = {}
    numbers = {f'.{block.place}.': f'.{block.name}.' for block in find_local_backbone(model).local.blocks[:-1]}
    for key, value in copy.deepcopy(model.state_dict()).items():
        for place, number in numbers.items():
            key = key.replace(f'local{place}', f'local{number}')
        state[key.replace('.second_bias.', '.ema.')] = value[0] if key.endswith('.scale') else value
    scales = {p for name, p in model.named_parameters() if name.endswith('.scale')}
    optimizers = copy.deepcopy(optim_wrapper.state_dict())
    for name, wrapper in optim_wrapper.items():
        params = [p for group in wrapper.optimizer.param_groups for p in group['params']]
        for i, kept in optimizers[name]['state'].items():
            if params[i] in scales:
                kept.update({k: v[0] for k, v in kept.items() if isinstance(v, torch.Tensor) and v.dim()})
    average = {f'module.{key}': value.clone() for key, value in state.items()}
    return dict(
        state_dict=state,
        ema_state_dict={**average, 'steps': torch.tensor(3)},
        optimizer=optimizers,
        meta=dict(iter=2, dataset_meta=dict(classes=('a',))),
    )


@pytest.fixture(scope='module')
def old(tmp_path_factory):
    init_default_scope('mmdet')
    path = tmp_path_factory.mktemp('old') / 'iter_2.pth'
    model = build_model(config().model)
    torch.save(as_of_version_0_1(model, optim_wrapper_for(model)), path)
    return path


@pytest.mark.parametrize(
    ('optimizer', 'local'),
    [
        (dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4), {}),
        (dict(type='NAdam', lr=0.001), {}),  # keeps numbers without dimension of every parameter
        (dict(type='AdamW', lr=0.001), dict(auxiliary=TWO_BIASES)),
    ],
    ids=['SGD', 'NAdam', 'TwoBiases'],
)
def test_a_run_goes_on_to_the_last_bit(tmp_path, optimizer, local):
    cfg = config(**local)
    model = build_model(cfg.model)
    move_ema_away(model)
    optim_wrapper = optim_wrapper_for(model, optimizer=optimizer)
    train(model, optim_wrapper, [tiny_batch(seed) for seed in range(2)])
    torch.save(as_of_version_0_1(model, optim_wrapper), tmp_path / 'old.pth')

    renamed = upgrade_checkpoint(cfg, tmp_path / 'old.pth', tmp_path / 'new.pth')
    assert renamed == ['block1 -> layer1_1', 'block2 -> layer2_1', 'block3 -> layer3_1']
    checkpoint = torch.load(tmp_path / 'new.pth', weights_only=False)
    assert checkpoint['meta'] == dict(iter=2, dataset_meta=dict(classes=('a',)))
    for name, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
        expected = {f'{prefix}{key}': value for key, value in model.state_dict().items()}
        found = {key: value for key, value in checkpoint[name].items() if key != 'steps'}
        assert found.keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in found.items())

    resumed = build_model(cfg.model, seed=1)
    resumed.load_state_dict(checkpoint['state_dict'])
    resumed_wrapper = optim_wrapper_for(resumed, optimizer=optimizer)
    resumed_wrapper.load_state_dict(checkpoint['optimizer'])
    batches = [tiny_batch(seed) for seed in (2, 3)]
    assert train(resumed, resumed_wrapper, batches) == train(model, optim_wrapper, batches)
    assert_same_state(resumed, model)


def small(num_blocks):
    cfg = config(num_blocks)
    cfg.model.backbone.backbone.base_channels = 16
    cfg.model.neck.in_channels = [16, 32, 64, 128]
    return cfg


@pytest.mark.parametrize(
    ('cfg', 'text'),
    [
        (config(2), r'has auxiliary networks and local heads for 3 block\(s\), the config for 1: give the config that'),
        (config(1), r'for 3 block\(s\), the config for 0'),
        (
            config(4, auxiliary=None),
            r'has another auxiliary network or local head at block 1 \(stem to layer1.1\)',
        ),
        (small(4), r'has another auxiliary network or local head at block 1'),
    ],
    ids=['K=2', 'K=1', 'no auxiliary', 'wider'],
)
def test_a_config_of_other_blocks_is_refused_in_one_line(old, tmp_path, cfg, text):
    with pytest.raises(ValueError, match=text) as error:
        upgrade_checkpoint(cfg, old, tmp_path / 'new.pth')
    assert '\n' not in str(error.value) and not (tmp_path / 'new.pth').exists()


def test_what_is_not_of_version_0_1_is_refused(old, tmp_path):
    model = build_model(config().model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'today.pth')
    with pytest.raises(ValueError, match='has no numbered blocks, as version 0.1 wrote them: there is nothing'):
        upgrade_checkpoint(config(), tmp_path / 'today.pth', tmp_path / 'new.pth')
    with pytest.raises(ValueError, match='would replace'):
        upgrade_checkpoint(config(), old, old)
    with pytest.raises(FileNotFoundError, match='there is no checkpoint'):
        upgrade_checkpoint(config(), tmp_path / 'missing.pth', tmp_path / 'new.pth')


def test_the_tool_says_what_it_did_or_why_not(old, tmp_path, monkeypatch, capsys):
    main = runpy.run_path(str(TOOL))['main']
    config().dump(tmp_path / 'config.py')
    monkeypatch.setattr('sys.argv', ['tool', str(tmp_path / 'config.py'), str(old), str(tmp_path / 'new.pth')])
    main()
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'The upgraded checkpoint is saved at {tmp_path}/new.pth: '
        'block1 -> layer1_1, block2 -> layer2_1, block3 -> layer3_1'
    )
    monkeypatch.setattr('sys.argv', ['tool', str(tmp_path / 'config.py'), 'missing.pth', 'new.pth'])
    with pytest.raises(SystemExit, match=r"^upgrade_checkpoint.py: there is no checkpoint 'missing.pth'$"):
        main()
    monkeypatch.setattr('sys.argv', ['tool', 'missing.py', str(old), 'new.pth'])
    with pytest.raises(SystemExit, match=r'^upgrade_checkpoint.py: .*missing.py'):
        main()
