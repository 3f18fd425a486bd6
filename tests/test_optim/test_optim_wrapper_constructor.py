"""Which optimizer a parameter belongs to, and with which options; what of the config's constructor is kept."""

import copy
from functools import partial

import mmpretrain.engine  # noqa: F401 (registers its constructors)
import mmseg.engine  # noqa: F401
import pytest
import torch
from mmdet.engine.optimizers import LearningRateDecayOptimizerConstructor as MmdetLayerDecay
from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from scenarios.contracts import auxiliaries
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.models import find_local_backbone
from mmman.optim import CPUAmpOptimWrapper
from mmman.testing import tiny_batch, tiny_classifier, tiny_cls_batch, tiny_retinanet, tiny_seg_batch, tiny_segmentor

LR, DECAY = 0.01, 1e-4
ADAMW = dict(type='AdamW', lr=LR, weight_decay=DECAY)


@MMPRETRAIN_MODELS.register_module()
class TinyMAE(VisionTransformer):
    """mmseg's layer-wise decay goes by the backbone's name."""


@MMPRETRAIN_MODELS.register_module()
class TinyConvNeXtLike(VisionTransformer):
    """mmdet's, too. Its layers are called unlike a ConvNeXt's, so they learn as the head does."""


def groups_of(model, wrapper):
    """By the parameter's name: the number of its block, and the options of its group."""
    names = {param: name for name, param in model.named_parameters()}
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    groups = [(i, group) for i, inner in enumerate(wrappers, start=1) for group in inner.optimizer.param_groups]
    found = [(names[p], (i, {k: v for k, v in g.items() if k != 'params'})) for i, g in groups for p in g['params']]
    assert len(found) == len(dict(found))
    return dict(found)


def rates(model, **paramwise):
    """Of each kind of parameter the learning rates, as parts of the config's."""
    found = {}
    for name, (_, group) in groups_of(model, optim_wrapper_for(model, paramwise_cfg=dict(paramwise))).items():
        parts = name.split('.')
        kind = parts[0] if parts[1] != 'local' else 'local heads' if parts[3] == 'head' else parts[4]
        found.setdefault(kind, set()).add(round(group['lr'] / LR, 6))
    return found


# ------------------------------------------------------------------------------------------------------------- members


def frozen_norms():
    return tiny_retinanet(4, dict(norm_cfg=dict(type='BN', requires_grad=False), frozen_stages=1))


@pytest.mark.parametrize('paramwise', [None, dict(norm_decay_mult=0.0)], ids=['plain', 'paramwise_cfg'])
@pytest.mark.parametrize(
    'cfg',
    [
        frozen_norms,
        partial(tiny_classifier, auxiliary=dict(type='mmman.TwoBiasesAuxiliary')),
        partial(tiny_classifier, auxiliary=None),
        partial(tiny_classifier, 'vit', 2, auxiliary=dict(type='mmman.MomentumAuxiliary', num_layers=2)),
    ],
    ids=['frozen', 'two biases', 'no auxiliary', 'two layers'],
)
def test_every_parameter_but_ema_belongs_to_its_block_frozen_or_not(cfg, paramwise):
    model = build_model(cfg())
    if paramwise:
        model.requires_grad_(False)
    frozen = {name for name, param in model.named_parameters() if not param.requires_grad}
    backbone = find_local_backbone(model)
    owners, last = backbone.local.block_of_parameters(), len(backbone.local.blocks)
    ema = {p for auxiliary, _ in auxiliaries(model) if auxiliary is not None for p in auxiliary.averaged_parameters()}
    expected = {name: owners.get(p, last) for name, p in model.named_parameters() if p not in ema}

    found = groups_of(model, optim_wrapper_for(model, paramwise_cfg=paramwise))
    assert {name: block for name, (block, _) in found.items()} == expected
    assert {name for name, param in model.named_parameters() if not param.requires_grad} == frozen


def stages_of(model):
    return model.backbone.conv1, model.backbone.bn1, model.backbone.layer1, model.backbone.layer2


@pytest.mark.parametrize('paramwise', [None, dict(custom_keys={'layer1': dict(lr_mult=0.5)})])
def test_what_is_unfrozen_later_trains_as_in_one_block(paramwise):
    moved = []
    for num_blocks in (None, 1, 4):
        if paramwise and num_blocks != 4:
            continue  # mmengine leaves out what is frozen where there is a paramwise_cfg
        model = build_model(tiny_retinanet(num_blocks, dict(frozen_stages=2)))
        model.neck.requires_grad_(False)
        model.bbox_head.requires_grad_(False)
        wrapper = optim_wrapper_for(model, local=num_blocks is not None, paramwise_cfg=paramwise)
        before = copy.deepcopy(dict(model.named_parameters()))
        train(model, wrapper, [tiny_batch(0)])
        frozen = {name for name, param in model.named_parameters() if not param.requires_grad}
        assert all(torch.equal(model.get_parameter(name), before[name]) for name in frozen)

        model.backbone.frozen_stages = -1
        for module in (*stages_of(model), model.neck, model.bbox_head):
            module.requires_grad_(True)
        train(model, wrapper, [tiny_batch(1)])
        parts = dict(model.named_parameters()).items()
        moved.append({name for name, p in parts if '.local.' not in name and not torch.equal(p, before[name])})
        assert moved[-1] >= {'backbone.conv1.weight', 'backbone.layer2.0.conv1.weight', 'neck.fpn_convs.0.conv.weight'}
        assert 'bbox_head.retina_cls.weight' in moved[-1]
    assert all(names == moved[0] for names in moved)


def test_ema_gets_no_gradient_from_a_hook_that_unfreezes_all():
    model, expected = (build_model(tiny_retinanet(4)) for _ in range(2))
    for each in (model, expected):
        wrapper = optim_wrapper_for(each)
        if each is model:
            model.requires_grad_(True)
        train(each, wrapper, [tiny_batch(seed) for seed in range(2)])
    followers = [param for auxiliary, _ in auxiliaries(model) for param in auxiliary.averaged_parameters()]
    assert followers and not any(param.requires_grad or param.grad is not None for param in followers)
    assert_same_state(model, expected)


@pytest.mark.parametrize('counts', [1, 2])
@pytest.mark.parametrize('what', ['backbone', 'backbone.layer1', 'backbone.local', 'neck'])
def test_what_is_frozen_later_stays_and_the_rest_trains_on(what, counts):
    model = build_model(tiny_retinanet(4))
    wrapper = optim_wrapper_for(model, accumulative_counts=counts)
    batches = [tiny_batch(seed) for seed in range(counts)]
    train(model, wrapper, batches)
    frozen = model.get_submodule(what)
    frozen.requires_grad_(False)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    train(model, wrapper, batches)
    still = {name for name, param in model.named_parameters() if torch.equal(param, before[name])}
    learnable = {name for name in before if '.ema.' not in name}
    assert still & learnable == {name for name in learnable if name.startswith(f'{what}.')}
    assert len({inner.inner_count for inner in wrapper.values()}) == 1


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ('custom_keys', 'expected'),
    [
        # backbone and neck, LB, s, local heads, the model's head
        ({'backbone': dict(lr_mult=0.1)}, (0.1, 0.1, 1, 1, 1)),
        ({'backbone': dict(lr_mult=0)}, (0, 0, 1, 1, 1)),
        ({'head': dict(lr_mult=10)}, (1, 1, 10, 10, 10)),
        ({'backbone': dict(lr_mult=0.1), 'backbone.local': dict(lr_mult=1)}, (0.1, 1, 1, 1, 1)),
        # Although it is shorter than the other: it is meant for them.
        ({'backbone': dict(lr_mult=0.1), 'local': dict(lr_mult=2)}, (0.1, 2, 2, 2, 1)),
        ({'head': dict(lr_mult=10), '.local.': dict(lr_mult=2)}, (1, 2, 2, 2, 10)),
        ({'auxiliary.learnable_bias': dict(lr_mult=3), 'local': dict(lr_mult=2)}, (1, 3, 2, 2, 1)),
        ({'auxiliary.scale': dict(lr_mult=3)}, (1, 1, 3, 1, 1)),
        # Those of one place: the local heads at the others are as the model's own.
        ({'layer1_1.head': dict(lr_mult=4), 'local.layer1_1': dict(lr_mult=2)}, (1, {1, 2}, {1, 2}, {1, 2}, 1)),
        ({'layer1_1.head.head': dict(lr_mult=4), 'layer1_1': dict(lr_mult=2)}, (1, {1, 2}, {1, 2}, {1, 4}, 1)),
    ],
    ids=str,
)
def test_custom_keys_hold_for_copies_and_what_starts_fresh_is_as_the_head(custom_keys, expected):
    model = build_model(tiny_classifier())
    found = rates(model, custom_keys=custom_keys)
    assert 'layer1_1' in model.backbone.local
    kinds = dict(zip(('backbone', 'learnable_bias', 'scale', 'local heads', 'head'), expected, strict=True))
    assert found == {kind: rate if isinstance(rate, set) else {rate} for kind, rate in kinds.items()}


def test_a_key_for_a_layer_does_not_hold_for_the_branch_that_stands_there():
    model = build_model(tiny_classifier(num_blocks=4))
    found = groups_of(model, optim_wrapper_for(model, paramwise_cfg=dict(custom_keys={'layer1': dict(lr_mult=0.5)})))
    for auxiliary, sources in auxiliaries(model):
        names = {param: name for name, param in model.named_parameters()}
        for param, source in zip(auxiliary.learnable_bias.parameters(), sources[0].parameters(), strict=True):
            assert found[names[param]][1]['lr'] == found[names[source]][1]['lr']
    fresh = [group['lr'] for name, (_, group) in found.items() if '.head.' in name or name.endswith('scale')]
    assert len(fresh) > 3 and set(fresh) == {LR}


@pytest.mark.parametrize(
    ('cfg', 'batch'),
    [(tiny_retinanet, tiny_batch), (tiny_segmentor, tiny_seg_batch), (tiny_classifier, tiny_cls_batch)],
)
def test_s_takes_no_weight_decay_and_norms_as_paramwise_cfg_says(cfg, batch):
    model = build_model(cfg(num_blocks=4))
    found = groups_of(model, optim_wrapper_for(model, paramwise_cfg=dict(norm_decay_mult=0.0, bias_lr_mult=2.0)))
    for name, (_, group) in found.items():
        module = model.get_submodule(name.rpartition('.')[0])
        is_norm = isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        assert group['weight_decay'] == (0 if is_norm or name.endswith('auxiliary.scale') else DECAY), name
        assert group['lr'] == (2 * LR if name.endswith('.bias') and not is_norm else LR), name
    train(model, optim_wrapper_for(model), [batch(0)])


@pytest.mark.parametrize('num_blocks', [1, 2, 4])
@pytest.mark.parametrize(
    ('base', 'kind', 'paramwise', 'names'),
    [
        (
            'mmpretrain.LearningRateDecayOptimWrapperConstructor',
            'mmpretrain.VisionTransformer',
            dict(layer_decay_rate=0.5, norm_decay_mult=0.0, custom_keys={'.cls_token': dict(decay_mult=0.0)}),
            'param_name',
        ),
        (
            'mmseg.LearningRateDecayOptimizerConstructor',
            'TinyMAE',
            dict(num_layers=4, decay_rate=0.5, decay_type='layer_wise'),
            'param_names',
        ),
        ('mmseg.LayerDecayOptimizerConstructor', 'TinyMAE', dict(num_layers=4, layer_decay_rate=0.5), 'param_names'),
        (
            MmdetLayerDecay,
            'TinyConvNeXtLike',
            dict(num_layers=4, decay_rate=0.5, decay_type='layer_wise'),
            'param_names',
        ),
    ],
    ids=['mmpretrain', 'mmseg', 'mmseg, deprecated', 'mmdet'],
)
def test_layer_wise_decay_is_that_of_the_plain_model(base, kind, paramwise, names, num_blocks):
    """Every option: rates, scales that schedulers read, the groups' names, and names of parameters."""
    cfgs = [tiny_classifier('vit', k) for k in (None, num_blocks)]
    cfgs[0].backbone.type = cfgs[1].backbone.backbone.type = kind
    plain, model = (build_model(cfg) for cfg in cfgs)
    options = dict(optimizer=ADAMW, paramwise_cfg=paramwise)
    expected = groups_of(plain, optim_wrapper_for(plain, local=False, constructor=base, **options))
    found = groups_of(model, optim_wrapper_for(model, base_constructor=base, **options))

    def without_names(name, group):
        assert name in group[names] if names == 'param_names' else name == group[names]
        return {key: value for key, value in group.items() if key != names}

    for name, (_, group) in expected.items():
        assert without_names(name, found[name][1]) == without_names(name, group), name
    first, last = found['backbone.cls_token'][1]['lr'], found['head.fc.weight'][1]['lr']
    assert last == LR and first == pytest.approx(LR * 0.5**5)
    all_names = {param: name for name, param in model.named_parameters()}
    for auxiliary, sources in auxiliaries(model):
        for param, source in zip(auxiliary.learnable_bias.parameters(), sources[0].parameters(), strict=True):
            copied, original = found[all_names[param]][1], found[all_names[source]][1]
            assert without_names(all_names[param], copied) == without_names(all_names[source], original)
    for name, (_, group) in found.items():
        if '.head.' in name:
            assert (group['lr'], group['lr_scale']) == (LR, 1), name
    train(model, optim_wrapper_for(model, base_constructor=base, **options), [tiny_cls_batch(0)])


@pytest.mark.parametrize('paramwise', [None, dict(custom_keys={'backbone': dict(lr_mult=0.1)}, norm_decay_mult=0.0)])
def test_one_block_is_what_the_base_constructor_builds(paramwise):
    plain, model = (build_model(tiny_classifier(num_blocks=k)) for k in (None, 1))
    wrappers = [optim_wrapper_for(m, local=m is model, paramwise_cfg=paramwise) for m in (plain, model)]
    (inner,) = wrappers[1].values()
    assert inner.optimizer.state_dict() == wrappers[0].optimizer.state_dict()
    for each, wrapper in zip((plain, model), wrappers, strict=True):
        train(each, wrapper, [tiny_cls_batch(seed) for seed in range(2)])
    assert_same_state(model, plain)


# ------------------------------------------------------------------------------------------------------------- refused


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ReadsWhenBuilt(DefaultOptimWrapperConstructor):
    """Keeps what it needs of ``paramwise_cfg`` when it is built."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.bias_rate = paramwise_cfg['bias_rate']
        super().__init__(optim_wrapper_cfg, paramwise_cfg)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoOptimizers(DefaultOptimWrapperConstructor):
    """One optimizer for the backbone, one for the head."""

    def __call__(self, model):
        return OptimWrapperDict(
            **{
                part: OptimWrapper(torch.optim.SGD(getattr(model, part).parameters(), lr=LR))
                for part in ('backbone', 'head')
            }
        )


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FirstStageOnly(DefaultOptimWrapperConstructor):
    """Trains the first stage alone."""

    def __call__(self, model):
        return OptimWrapper(torch.optim.SGD(model.backbone.layer1.parameters(), lr=LR))


@pytest.mark.parametrize('num_blocks', [1, 4])
@pytest.mark.parametrize(
    ('base', 'paramwise', 'lost'),
    [
        (
            {},
            dict(layer_decay_rate=0.5),
            "DefaultOptimWrapperConstructor does not read 'layer_decay_rate'. Drop it, or",
        ),
        ({}, dict(norm_decay=0.0, bias_decay_mult=0.0), "does not read 'norm_decay'"),
        ({}, dict(decay_rate=0.5, num_layers=4), "does not read 'decay_rate', 'num_layers'"),
        (
            dict(base_constructor='LearningRateDecayOptimizerConstructor'),  # mmdet's: the default scope
            dict(num_layers=4, decay_rate=0.5, custom_keys={'head': dict(lr_mult=2.0)}),
            "LearningRateDecayOptimizerConstructor does not read 'custom_keys'",
        ),
    ],
    ids=['layer decay', 'misspelt', 'two', 'custom_keys'],
)
def test_keys_that_nobody_reads_are_refused(base, paramwise, lost, num_blocks):
    cfg = tiny_classifier('vit', num_blocks)
    cfg.backbone.backbone.type = 'TinyConvNeXtLike'
    with pytest.raises(ValueError, match=lost) as raised:
        optim_wrapper_for(build_model(cfg), paramwise_cfg=paramwise, optimizer=ADAMW, **base)
    assert 'base_constructor' in str(raised.value) and '\n' not in str(raised.value)


def test_keys_of_mmengine_that_another_constructor_passes_by_are_told(monkeypatch):
    """A config that inherits them trains without them end to end as well, as RTMDet-L ConvNeXt-B."""
    cfg = tiny_classifier('vit', 4)
    cfg.backbone.backbone.type = 'TinyConvNeXtLike'
    base = 'mmpretrain.LearningRateDecayOptimWrapperConstructor'
    # mmengine looks whether the first two are right, and reads neither.
    paramwise = dict(dwconv_decay_mult=0.0, bias_lr_mult=2.0, layer_decay_rate=0.5)
    said = []
    monkeypatch.setattr('mmman.optim.optim_wrapper_constructor.print_log', lambda text, **_: said.append(text))
    optim_wrapper_for(build_model(cfg), paramwise_cfg=paramwise, optimizer=ADAMW, base_constructor=base)
    text = "LearningRateDecayOptimWrapperConstructor does not read 'dwconv_decay_mult', 'bias_lr_mult', neither here"
    assert any(text in line for line in said)


@pytest.mark.parametrize(
    ('base', 'paramwise'),
    [
        (
            {},
            dict.fromkeys(
                ['bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult'], 1.0
            )
            | dict(dcn_offset_lr_mult=0.1, bypass_duplicate=True, custom_keys={}),
        ),
        (dict(base_constructor=ReadsWhenBuilt), dict(bias_rate=1.0, norm_decay_mult=0.0)),
        (
            dict(base_constructor='mmseg.ForceDefaultOptimWrapperConstructor'),
            dict(bias_decay_mult=0, force_default_settings=True, custom_keys={'backbone': dict(lr_mult=0.1)}),
        ),
    ],
    ids=['default', 'read when built', 'mmseg'],
)
def test_keys_that_are_read_are_not_refused(base, paramwise):
    model = build_model(tiny_classifier())
    assert len(optim_wrapper_for(model, paramwise_cfg=paramwise, **base)) == 4


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(base_constructor=TwoOptimizers), TypeError, 'TwoOptimizers builds a OptimWrapperDict, but blocks need'),
        (dict(base_constructor='mmman.LocalOptimWrapperConstructor'), ValueError, 'without local learning, not Local'),
        (
            dict(base_constructor=FirstStageOnly),
            ValueError,
            r'block 3 \(layer2.2 to layer3.0\) would have no',
        ),
        (
            dict(paramwise_cfg=dict(custom_keys={'backbone.local.block1': dict(lr_mult=1.0)})),
            ValueError,
            "'backbone.local.block1' is a part of no parameter's name; what local learning adds stands under local",
        ),
    ],
    ids=['two optimizers', 'itself', 'one stage only', 'no such place'],
)
def test_what_cannot_be_shared_out_is_refused(options, error, message):
    with pytest.raises(error, match=message) as raised:
        optim_wrapper_for(build_model(tiny_classifier()), **options)
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('kind', ['AmpOptimWrapper', 'mmengine.AmpOptimWrapper', AmpOptimWrapper])
@pytest.mark.parametrize('num_blocks', [1, 4])
@pytest.mark.skipif(torch.cuda.is_available(), reason='AmpOptimWrapper needs no replacement')
def test_mixed_precision_without_an_accelerator_by_name_or_class(kind, num_blocks):
    wrapper = optim_wrapper_for(build_model(tiny_classifier(num_blocks=num_blocks)), type=kind)
    assert len(wrapper) == num_blocks
    assert all(type(inner) is CPUAmpOptimWrapper for inner in wrapper.values())
