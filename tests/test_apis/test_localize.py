"""Contract 10: a stock config becomes an ordinary config of local learning, or one line says why not."""

import copy

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from scenarios.lazy_configs import lazy
from scenarios.runner import run, tiny_run_cfg

from mmman import LocalRunner, localize, validate
from mmman.apis import NotLocalizableError, complete_config
from mmman.apis.config_text import short_config
from mmman.apis.launch import config_file, load_config, localize_as_asked
from mmman.models import find_local_backbone
from mmman.testing import tiny_classifier, tiny_segmentor


@pytest.fixture
def stock(tmp_path, bccd):
    data_root, _, classes = bccd
    return tiny_run_cfg(None, tmp_path, data_root, max_iters=1, classes=classes)


def model_only(model, scope):
    return Config(dict(default_scope=scope, model=model, optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01))))


def test_a_stock_detector_trains_in_blocks_under_the_stock_runner(stock):
    before = copy.deepcopy(stock.to_dict())
    cfg = localize(stock, num_blocks=4)
    assert stock.to_dict() == before
    head = cfg.model.backbone.local_head
    assert head.type == 'mmman.DetectionLocalHead' and head.channels == 128
    assert (head.head.type, head.head.stacked_convs, head.head.feat_channels) == ('RetinaHead', 1, 128)
    runner = run(cfg)
    assert type(runner) is Runner
    assert len(find_local_backbone(runner.model).local.blocks) == 4
    assert 'train/local3.loss_cls' in runner.message_hub.log_scalars


def test_what_the_config_had_stays(stock):
    stock.custom_imports = dict(imports=['mmdet'], allow_failed_imports=False)
    stock.custom_hooks = [dict(type='EMAHook')]
    stock.optim_wrapper.constructor = 'LearningRateDecayOptimizerConstructor'
    stock.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone': dict(lr_mult=0.1)})
    stock.find_unused_parameters = True
    stock.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet18')
    cfg = localize(stock, num_blocks=2)
    assert cfg.custom_imports == dict(imports=['mmdet', 'mmman'], allow_failed_imports=False)
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook', 'mmman.LocalLossHook']
    assert cfg.optim_wrapper.base_constructor == 'LearningRateDecayOptimizerConstructor'
    assert cfg.optim_wrapper.paramwise_cfg == stock.optim_wrapper.paramwise_cfg
    assert cfg.model_wrapper_cfg == dict(type='mmman.LocalDistributedDataParallel', find_unused_parameters=True)
    assert cfg.model.backbone.backbone == stock.model.backbone
    assert {key: value for key, value in cfg.model.items() if key != 'backbone'} == {
        key: value for key, value in stock.model.items() if key != 'backbone'
    }


def test_the_result_can_be_dumped_and_read(stock, tmp_path):
    cfg = localize(stock)
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()


def test_a_lazy_config(stock):
    cfg = localize(lazy(stock), num_blocks=3)
    assert cfg.model.backbone.type == 'mmman.LocalBackbone' and cfg.model.backbone.partition.num_blocks == 3
    assert len(find_local_backbone(run(cfg).model).local.blocks) == 3


def test_every_choice_can_be_made(stock):
    head = dict(
        type='mmman.DetectionLocalHead', channels=16, head=stock.model.bbox_head, train_cfg=stock.model.train_cfg
    )
    cfg = localize(stock, partition=dict(ends=['layer2']), auxiliary=None, local_head=head)
    backbone = cfg.model.backbone
    assert (backbone.partition, backbone.auxiliary, backbone.local_head.channels) == (dict(ends=['layer2']), None, 16)


def test_a_head_that_cannot_be_cut_gives_place_to_a_light_one(stock):
    stock.model.bbox_head = dict(type='DETRHead', num_classes=3)
    assert localize(stock).model.backbone.local_head.head.type == 'mmdet.RetinaHead'


def test_classes_are_those_of_a_two_stage_detector(stock):
    del stock.model['bbox_head']
    stock.model.roi_head = dict(type='CascadeRoIHead', bbox_head=[dict(num_classes=1203), dict(num_classes=1203)])
    head = localize(stock).model.backbone.local_head.head
    assert head.num_classes == 1203
    assert head.type == 'mmdet.ATSSHead'  # one anchor for a position, where RetinaNet's nine have all classes each


def test_a_segmentor_s_auxiliary_head_learns_with_the_last_block():
    cfg = localize(model_only(tiny_segmentor(None), 'mmseg'), num_blocks=4)
    # The auxiliary head sees layer3, of two units.
    assert cfg.model.backbone.partition == dict(ends=['layer1', 'layer2', 'layer3.0'])
    assert cfg.model.backbone.local_head.head.type == 'mmseg.FCNHead'
    assert cfg.model.auxiliary_head == tiny_segmentor(None).auxiliary_head


@pytest.mark.parametrize(('family', 'convs'), [('resnet', [(128, 3, 1)]), ('vit', [])])
def test_a_classifier_s_local_heads_have_its_loss(family, convs):
    model = tiny_classifier(family, None)
    model.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1)
    head = localize(model_only(model, 'mmpretrain')).model.backbone.local_head
    assert (head.type, head.convs, head.head.loss) == ('mmman.ClassificationLocalHead', convs, model.head.loss)


def test_a_classifier_s_loss_may_take_scores_only():
    model = tiny_classifier('resnet', None)
    model.head.loss = dict(type='CrossEntropyLoss', use_sigmoid=True)  # images are mixed
    head = localize(model_only(model, 'mmpretrain')).model.backbone.local_head
    assert (head.head.type, head.head.loss) == (model.head.type, model.head.loss)


def test_fewer_stages_are_said_aloud(stock, monkeypatch):
    said = []
    monkeypatch.setattr('mmman.apis.default_partition.print_log', lambda text, **_: said.append(text))
    stock.model.backbone.update(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2))
    assert localize(stock, num_blocks=4).model.backbone.partition == dict(num_blocks=3)
    assert 'has 3 stages (layer1, layer2, layer3), so there are 3 blocks, not 4' in said[0]


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda cfg: cfg.model.pop('backbone'), 'RetinaNet has no backbone (it has '),
        (lambda cfg: cfg.model.backbone.update(type='mmman.LocalBackbone'), 'is a LocalBackbone already'),
        (lambda cfg: cfg.model.backbone.update(type='mmseg.CGNet'), 'CGNet cannot be cut into blocks'),
        (lambda cfg: cfg.update(model_wrapper_cfg=dict(type='MMFullyShardedDataParallel')), 'leave it out'),
    ],
)
def test_what_cannot_be_localised_is_refused_in_one_line(stock, change, reason):
    import mmseg.models  # noqa: F401

    change(stock)
    if stock.model.get('backbone', {}).get('type') == 'mmseg.CGNet':
        stock.model.backbone = dict(type='mmseg.CGNet')
    with pytest.raises(NotLocalizableError) as error:
        localize(stock)
    assert reason in str(error.value) and '\n' not in str(error.value)


def test_where_one_stage_learns_the_blocks_end_inside_of_it(stock):
    stock.model.backbone.frozen_stages = 3
    backbone = localize(stock, num_blocks=4).model.backbone
    assert backbone.partition == dict(ends=['layer4.0'])
    assert len(find_local_backbone(run(localize(stock)).model).local.blocks) == 2
    stock.model.backbone.frozen_stages = 4
    with pytest.raises(NotLocalizableError, match='0 segment.s. that learn, two are the least'):
        localize(stock)


def test_number_and_partition_contradict_each_other(stock):
    with pytest.raises(NotLocalizableError, match='not both'):
        localize(stock, num_blocks=2, partition=dict(ends=['layer2']))


def test_lean_is_the_same_training_in_less_memory(stock):
    losses = [run(localize(stock, lean=lean)).message_hub.get_scalar('train/loss').data[0].tolist() for lean in (0, 1)]
    assert losses[0] == losses[1]
    backbone = localize(stock, lean=True).model.backbone
    assert backbone.with_cp == [1] and backbone.local_head.head.loss_cls.type == 'mmman.LeanFocalLoss'


def test_a_config_without_an_optimizer_trains_nothing(stock):
    stock.pop('optim_wrapper')
    with pytest.raises(NotLocalizableError, match='no optim_wrapper with an optimizer'):
        localize(stock)


def test_validate_finds_nothing_where_training_starts(stock):
    before = copy.deepcopy(stock.to_dict())
    assert validate(stock) == validate(lazy(stock), num_blocks=2) == []
    assert stock.to_dict() == before


def test_validate_finds_all_reasons_at_once(stock):
    stock.model_wrapper_cfg = dict(type='MMFullyShardedDataParallel')
    stock.optim_wrapper.paramwise_cfg = dict(nobody_reads_this=1)
    stock.model.neck.update(in_channels=[64, 128], num_outs=2)
    stock.model.backbone.out_indices = (0, 1)
    problems = validate(stock, num_block=4)
    assert [text for text in problems if '\n' in text] == []
    for reason in ("did you mean 'num_blocks'", 'leave it out', 'the last block would learn nothing'):
        assert sum(reason in text for text in problems) == 1, reason


def test_validate_goes_on_where_no_optimizer_is(stock):
    stock.pop('optim_wrapper')
    stock.model.backbone = dict(type='mmseg.CGNet')
    problems = validate(stock)
    assert len(problems) == 2 and 'no optim_wrapper' in problems[0] and 'cannot be cut' in problems[1]


def test_a_config_of_four_lines(stock, tmp_path):
    stock.dump(tmp_path / 'stock.py')
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = './stock.py'\n"
        "custom_imports = dict(imports=['mmman'], allow_failed_imports=False)\n"
        "runner_type = 'mmman.LocalRunner'\n"
        'local_learning = dict(num_blocks=3)\n'
    )
    cfg = Config.fromfile(path)
    cfg.experiment_name = 'four lines'
    runner = LocalRunner.from_cfg(cfg)  # as the train scripts of the toolboxes do, by the registry
    runner.train()
    assert len(find_local_backbone(runner.model).local.blocks) == 3


def test_an_unknown_key_is_refused_with_the_nearest(stock):
    stock.local_learning = dict(num_block=4)
    with pytest.raises(ValueError, match="no key 'num_block': did you mean 'num_blocks'"):
        LocalRunner.from_cfg(stock)


def test_a_config_that_a_toolbox_ships_is_named_by_its_toolbox():
    for name in (
        'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
        'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
    ):
        assert config_file(name).endswith(name.partition('::')[2])
    assert config_file('here.py') == 'here.py'
    with pytest.raises(FileNotFoundError, match="mmdet ships no config 'nothing.py'"):
        config_file('mmdet::nothing.py')
    with pytest.raises(FileNotFoundError, match='toolbox mmnothing, which is not installed'):
        config_file('mmnothing::nothing.py')


def test_a_short_config_says_the_same(stock, tmp_path):
    stock.dump(tmp_path / 'stock.py')
    path, out = str(tmp_path / 'stock.py'), tmp_path / 'mine.py'
    out.write_text(short_config(path, Config.fromfile(path), str(out), num_blocks=3))
    mine, expected = complete_config(Config.fromfile(out)), localize(stock, num_blocks=3)
    assert mine.to_dict() == expected.to_dict()
    assert '# - block 1 (stem to layer2.1)\n' in out.read_text() and "_base_ = 'stock.py'\n" in out.read_text()


def test_the_option_of_the_scripts(stock, tmp_path):
    stock.dump(tmp_path / 'stock.py')
    cfg = localize_as_asked(load_config(str(tmp_path / 'stock.py'), {'model.backbone.frozen_stages': 1}), 2)
    assert cfg.model.backbone.partition == dict(num_blocks=2)
    assert cfg.model.backbone.backbone.frozen_stages == 1
