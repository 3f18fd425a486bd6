"""The tools' options mean what they mean in the toolboxes' own scripts."""

import pytest
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmman import ExactCheckpointHook
from mmman.apis import launch
from mmman.toolboxes import type_name


@pytest.fixture
def checkpoint(tmp_path) -> str:
    path = tmp_path / 'epoch_1.pth'
    path.touch()
    return str(path)


def train_config(**changes) -> Config:
    cfg = dict(
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
        auto_scale_lr=dict(enable=False, base_batch_size=16),
    )
    return Config({**cfg, **changes})


def test_config(scope: str = 'mmdet', **changes) -> Config:
    cfg = dict(
        default_scope=scope,
        default_hooks=dict(visualization=dict(type='VisualizationHook')),
        visualizer=dict(type='LocalVisualizer'),
        model=dict(type='Model'),
        test_dataloader=dict(
            dataset=dict(
                type='Wrapper',
                dataset=dict(pipeline=[dict(type='Load'), dict(type='Pack', meta_keys=('img_id',))]),
            )
        ),
        test_evaluator=dict(type='Metric'),
    )
    return Config({**cfg, **changes})


test_config.__test__ = False  # a helper: 'test' is the stage


class TestLoadConfig:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / 'some_config.py'
        path.write_text('a = dict(b=1)\n')
        return str(path)

    def test_work_dir_is_the_option_then_the_config_s_then_by_name(self, path):
        assert launch.load_config(path).work_dir == './work_dirs/some_config'
        assert launch.load_config(path, {'work_dir': 'mine'}).work_dir == 'mine'
        assert launch.load_config(path, {'work_dir': 'mine'}, work_dir='option').work_dir == 'option'

    def test_options_and_launcher_arrive(self, path):
        cfg = launch.load_config(path, {'a.b': 2, 'c.d': [3]}, 'pytorch')
        assert cfg.a.b == 2 and cfg.c.d == [3] and cfg.launcher == 'pytorch'

    @pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
    def test_the_toolbox_of_the_default_scope_is_registered(self, path, monkeypatch, scope):
        calls = []
        module = __import__(f'{scope}.utils').utils
        monkeypatch.setattr(module, 'register_all_modules', lambda init_default_scope: calls.append(init_default_scope))
        launch.load_config(path, {'default_scope': scope})
        assert calls == [False]

    def test_mmpretrain_dataloaders_get_what_its_scripts_give_them(self, path):
        options = {'default_scope': 'mmpretrain', 'train_dataloader.num_workers': 2, 'val_dataloader.num_workers': 0}
        cfg = launch.load_config(path, {**options, 'train_dataloader.pin_memory': False})
        assert cfg.train_dataloader.collate_fn.type == 'default_collate'
        assert cfg.train_dataloader.persistent_workers and not cfg.val_dataloader.persistent_workers
        assert cfg.val_dataloader.pin_memory and not cfg.train_dataloader.pin_memory

    def test_without_a_scope_the_toolbox_is_that_of_the_model(self, tmp_path, capsys):
        path = tmp_path / 'lazy.py'
        path.write_text('from mmdet.models import RetinaNet\ndefault_scope = None\nmodel = dict(type=RetinaNet)\n')
        assert launch.load_config(str(path)).default_scope == 'mmdet'
        path.write_text('default_scope = None\na = 1\n')
        assert launch.load_config(str(path)).default_scope is None


class TestTrainOptions:
    def test_no_option_changes_nothing(self):
        assert launch.apply_train_options(train_config()).to_dict() == train_config().to_dict()

    def test_amp(self):
        cfg = launch.apply_train_options(train_config(), amp=True)
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == 'dynamic'

    def test_amp_keeps_what_the_config_says_of_it(self):
        wrapper = dict(type='AmpOptimWrapper', loss_scale=512.0)
        assert launch.apply_train_options(train_config(optim_wrapper=wrapper), amp=True).optim_wrapper == wrapper

    def test_amp_refuses_another_wrapper(self):
        with pytest.raises(launch.OptionError, match="--amp .* the config has 'ApexOptimWrapper'"):
            launch.apply_train_options(train_config(optim_wrapper=dict(type='ApexOptimWrapper')), amp=True)

    def test_amp_of_a_class(self):
        for kind in (OptimWrapper, AmpOptimWrapper):
            cfg = launch.apply_train_options(train_config(optim_wrapper=dict(type=kind)), amp=True)
            assert type_name(cfg.optim_wrapper.type) == 'AmpOptimWrapper'

    def test_auto_scale_lr(self):
        assert launch.apply_train_options(train_config(), auto_scale_lr=True).auto_scale_lr.enable
        for wrong in (None, dict(enable=False)):
            with pytest.raises(launch.OptionError, match='--auto-scale-lr needs'):
                launch.apply_train_options(train_config(auto_scale_lr=wrong), auto_scale_lr=True)

    def test_resume(self, checkpoint):
        cfg = launch.apply_train_options(train_config(load_from='x.pth'), resume='auto')
        assert cfg.resume is True and cfg.load_from is None
        cfg = launch.apply_train_options(train_config(), resume=checkpoint)
        assert cfg.resume is True and cfg.load_from == checkpoint
        with pytest.raises(FileNotFoundError, match="checkpoint not found: 'no.pth'"):
            launch.apply_train_options(train_config(), resume='no.pth')

    @pytest.mark.parametrize('kind', [None, 'EpochBasedTrainLoop', EpochBasedTrainLoop])
    @pytest.mark.parametrize('hook', ['mmman.ExactCheckpointHook', ExactCheckpointHook])
    def test_checkpoints_inside_of_epochs_get_the_loop_that_goes_on_there(self, kind, hook):
        loop = dict(max_epochs=3, **(dict(by_epoch=True) if kind is None else dict(type=kind)))
        hooks = dict(checkpoint=dict(type=hook, by_epoch=False, interval=5))
        cfg = launch.apply_train_options(train_config(train_cfg=loop, default_hooks=hooks))
        assert cfg.train_cfg == dict(type='mmman.ResumableEpochBasedTrainLoop', max_epochs=3)

    @pytest.mark.parametrize(
        'loop, hook',
        [
            (dict(type='EpochBasedTrainLoop'), dict(type='mmman.ExactCheckpointHook', interval=1)),
            (dict(type='EpochBasedTrainLoop'), dict(type='CheckpointHook', by_epoch=False)),
            (dict(type='IterBasedTrainLoop'), dict(type='mmman.ExactCheckpointHook', by_epoch=False)),
            (dict(by_epoch=False), dict(type='mmman.ExactCheckpointHook', by_epoch=False)),
        ],
    )
    def test_another_loop_stays(self, loop, hook):
        cfg = launch.apply_train_options(train_config(train_cfg=loop, default_hooks=dict(checkpoint=hook)))
        assert cfg.train_cfg == loop

    @pytest.mark.parametrize('asked', ['by the option', 'by the config'])
    def test_resume_in_a_folder_that_was_moved(self, asked, tmp_path):
        def resumed():
            cfg = train_config(work_dir=str(tmp_path), resume=asked == 'by the config')
            return launch.apply_train_options(cfg, resume='auto' if asked == 'by the option' else None)

        assert resumed().load_from is None  # there is nothing to go on from: mmengine begins anew
        (tmp_path / 'last_checkpoint').write_text('/gone/epoch_2.pth')
        with pytest.raises(FileNotFoundError, match="names '/gone/epoch_2.pth', which does not exist, and"):
            resumed()
        (tmp_path / 'epoch_2.pth').touch()
        assert resumed().load_from == str(tmp_path / 'epoch_2.pth')
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
        assert resumed().load_from is None  # mmengine finds it


class TestTestOptions:
    def test_the_checkpoint_is_loaded(self, checkpoint):
        assert launch.apply_test_options(test_config(), checkpoint).load_from == checkpoint
        assert launch.apply_test_options(test_config(), 'https://x/y.pth').load_from == 'https://x/y.pth'
        with pytest.raises(FileNotFoundError, match='checkpoint not found'):
            launch.apply_test_options(test_config(), 'no.pth')

    @pytest.mark.parametrize(
        ('scope', 'switch', 'folder'),
        [('mmdet', 'draw', 'test_out_dir'), ('mmseg', 'draw', None), ('mmpretrain', 'enable', 'out_dir')],
    )
    def test_show(self, checkpoint, scope, switch, folder):
        cfg = launch.apply_test_options(test_config(scope), checkpoint, show=True, show_dir='pictures', wait_time=1)
        hook = cfg.default_hooks.visualization
        assert hook[switch] is True and hook.show is True and hook.wait_time == 1
        assert (hook[folder] if folder else cfg.visualizer.save_dir) == 'pictures'
        with pytest.raises(launch.OptionError, match='--show-dir need'):
            launch.apply_test_options(test_config(scope, default_hooks={}), checkpoint, show=True)

    @pytest.mark.parametrize(('scope', 'kind'), [('mmdet', 'DumpDetResults'), ('mmpretrain', 'DumpResults')])
    def test_out_adds_a_dump_to_any_form_of_evaluator(self, checkpoint, scope, kind):
        dump = dict(type=kind, out_file_path='a.pkl')
        metric = dict(type='Metric')
        for evaluator in (metric, [metric]):
            cfg = launch.apply_test_options(test_config(scope, test_evaluator=evaluator), checkpoint, out='a.pkl')
            assert cfg.test_evaluator == [metric, dump]
        evaluator = dict(type='Evaluator', metrics=metric)
        cfg = launch.apply_test_options(test_config(scope, test_evaluator=evaluator), checkpoint, out='a.pkl')
        assert cfg.test_evaluator.metrics == [metric, dump]
        with pytest.raises(launch.OptionError, match=r"must end in \.pkl or \.pickle, not 'a\.json'"):
            launch.apply_test_options(test_config(scope), checkpoint, out='a.json')

    def test_out_is_a_folder_with_mmseg(self, checkpoint):
        cfg = launch.apply_test_options(test_config('mmseg'), checkpoint, out='maps')
        assert cfg.test_evaluator.output_dir == 'maps' and cfg.test_evaluator.keep_results is True

    @pytest.mark.parametrize(('scope', 'model'), [('mmdet', 'DetTTAModel'), ('mmpretrain', 'AverageClsScoreTTA')])
    def test_tta_by_default_is_a_flip(self, checkpoint, scope, model):
        cfg = launch.apply_test_options(test_config(scope), checkpoint, tta=True)
        assert cfg.model.type == model and cfg.model.module.type == 'Model'
        load, augment = cfg.test_dataloader.dataset.dataset.pipeline
        assert load.type == 'Load' and [step.prob for step in augment.transforms[0]] == [1.0, 0.0]
        assert augment.transforms[1][0].meta_keys == ('img_id', 'flip', 'flip_direction')

    def test_tta_is_the_config_s_where_it_has_one(self, checkpoint):
        given = dict(tta_model=dict(type='SegTTAModel'), tta_pipeline=[dict(type='Mine')])
        cfg = launch.apply_test_options(test_config('mmseg', **given), checkpoint, tta=True)
        assert cfg.model.type == 'SegTTAModel' and cfg.model.module.type == 'Model'
        assert cfg.test_dataloader.dataset.dataset.pipeline == [dict(type='Mine')]
        with pytest.raises(launch.OptionError, match='--tta needs tta_model'):
            launch.apply_test_options(test_config('mmseg'), checkpoint, tta=True)


class OtherRunner(Runner):
    """A runner that a config names."""


def test_runner_type_is_honoured(monkeypatch):
    built = []
    monkeypatch.setattr(Runner, 'from_cfg', classmethod(lambda cls, cfg: built.append(cls)))
    monkeypatch.setitem(RUNNERS.module_dict, 'OtherRunner', OtherRunner)
    launch.build_runner(Config(dict()))
    launch.build_runner(Config(dict(runner_type='OtherRunner')))
    assert built == [Runner, OtherRunner]
