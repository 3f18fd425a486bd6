"""ONNX of the plain model: what onnxruntime computes from it is what torch does, from either kind of config."""

import importlib.util
import runpy
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as REGISTRY
from mmengine.runner import save_checkpoint
from scenarios.lazy_configs import lazy
from scenarios.training import build_model

from mmman.apis import export
from mmman.apis.launch import register_toolbox
from mmman.testing import tiny_classifier, tiny_retinanet, tiny_segmentor

ROOT = Path(__file__).parents[2]
MODELS = {
    'detector': ('mmdet', tiny_retinanet, (64, 96), [f'output{i}_level{j}' for i in (0, 1) for j in range(5)]),
    'segmentor': ('mmseg', tiny_segmentor, (64, 64), ['logits']),
    'classifier': ('mmpretrain', lambda k: tiny_classifier('resnet', k, 'dgl'), (32, 32), ['logits']),
    'transformer': ('mmpretrain', lambda k: tiny_classifier('vit', k, 'greedy'), (32, 32), ['logits']),
}


def trained(task: str, folder: Path) -> tuple[Config, Path]:
    """A wrapped model's config and its checkpoint, with weights and statistics of its own."""
    scope, model, _, _ = MODELS[task]
    register_toolbox(scope)
    cfg = Config(dict(default_scope=scope, model=model(4)))
    built = build_model(cfg.model)
    for name, buffer in built.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    save_checkpoint(dict(state_dict=built.state_dict(), meta={}), str(folder / 'iter_1.pth'))
    return cfg, folder / 'iter_1.pth'


@pytest.mark.parametrize('task', ['detector', 'segmentor', 'classifier'])
@pytest.mark.parametrize('num_blocks', [None, 4])
def test_a_lazy_config_gives_the_same_model(task, num_blocks, tmp_path):
    scope, model, _, _ = MODELS[task]
    _, checkpoint = trained(task, tmp_path)
    cfg = lazy(Config(dict(default_scope=scope, model=model(num_blocks))))
    assert not isinstance(cfg.model.backbone.type, str) and cfg.default_scope is None
    state = export.plain_model(cfg, checkpoint).state_dict()
    saved = torch.load(checkpoint, weights_only=False)['state_dict']
    assert all(torch.equal(value, saved[key]) for key, value in state.items())


@pytest.mark.parametrize('task', MODELS)
def test_onnxruntime_equals_torch(task, tmp_path):
    scope, plain, shape, names = MODELS[task]
    wrapped, checkpoint = trained(task, tmp_path)
    done = export.export_onnx(export.plain_model(wrapped, checkpoint), tmp_path / 'model.onnx', shape)
    assert list(done.outputs) == names and done.difference <= export.TOLERANCE

    # By the stock config, and at a batch size that the export never saw.
    model = export.plain_model(Config(dict(default_scope=scope, model=plain(None))), checkpoint)
    images = torch.randn(4, 3, *shape)
    with torch.no_grad():
        expected = export.RawOutputs(model)(images)
    session = onnxruntime.InferenceSession(done.path, providers=['CPUExecutionProvider'])
    for output, tensor in zip(session.run(names, {'images': images.numpy()}), expected, strict=True):
        assert np.abs(output - tensor.numpy()).max() <= export.TOLERANCE * max(1, tensor.abs().max())
    # Nothing of the auxiliary networks is in the file, and it says how to prepare an image.
    file = onnx.load(done.path)
    parameters = sum(np.prod(tensor.dims) for tensor in file.graph.initializer)
    assert parameters <= 1.1 * sum(p.numel() for p in model.state_dict().values())
    metadata = {entry.key: entry.value for entry in file.metadata_props}
    assert len(metadata['mean'].split()) == len(metadata['std'].split()) == 3
    assert metadata['swaps_red_and_blue'] == 'true'


@pytest.mark.parametrize('mean', [[127.0], [127.0] * 4, None])
def test_the_exports_images_have_the_models_channels(mean):
    cfg = tiny_classifier('resnet', None)
    cfg.backbone.in_channels = 4
    for key in ('mean', 'std'):
        cfg.data_preprocessor.pop(key)
        if mean is not None:
            cfg.data_preprocessor[key] = mean
    assert export._image_channels(REGISTRY.build(cfg)) == 4


def test_a_difference_is_an_error(tmp_path, monkeypatch):
    """The file has the trained weights; the model that it is compared with has others."""
    wrapped, checkpoint = trained('classifier', tmp_path)
    model = export.plain_model(wrapped, checkpoint)
    compare = export._compare

    def compare_with_another(raw, path, shape):
        torch.nn.init.constant_(raw.model.head.fc.bias, 3.0)
        return compare(raw, path, shape)

    monkeypatch.setattr(export, '_compare', compare_with_another)
    with pytest.raises(ValueError, match='logits differs by .* between onnxruntime and torch'):
        export.export_onnx(model, tmp_path / 'model.onnx', (32, 32))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    wrapped, checkpoint = trained('detector', tmp_path)
    wrapped.model.backbone.backbone.depth = 34
    with pytest.raises(ValueError, match='iter_1.pth. is of another model: .*[mM]issing key'):
        export.plain_model(wrapped, checkpoint)


def test_two_stage_detectors_are_refused(tmp_path):
    model = REGISTRY.build(Config.fromfile(ROOT / 'configs/faster_rcnn_r50_manpp_coco.py').model)
    with pytest.raises(ValueError, match='FasterRCNN is a two-stage detector'):
        export.export_onnx(model, tmp_path / 'model.onnx', (64, 64))


def test_missing_packages_are_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxscript' else find(name))
    with pytest.raises(ImportError, match=r"^onnxscript not installed: pip install 'mmman\[export\]'"):
        export.export_onnx(torch.nn.Identity(), tmp_path / 'model.onnx', (64, 64))


def test_tool_prints_the_outputs_or_one_line(tmp_path, monkeypatch, capsys):
    tool = runpy.run_path(str(ROOT / 'tools/deployment/export_onnx.py'))
    config, checkpoint = str(ROOT / 'configs/detection/retinanet_r18_manpp_coco.py'), str(tmp_path / 'no.pth')
    monkeypatch.setattr(sys, 'argv', ['export_onnx.py', config, checkpoint])
    with pytest.raises(SystemExit, match=f"^export_onnx.py: there is no checkpoint '{checkpoint}'$"):
        tool['main']()

    done = export.Export(tmp_path / 'model.onnx', {'logits': (1, 3, 8, 8)}, 2e-6)
    monkeypatch.setitem(tool['main'].__globals__, 'plain_model', lambda *args: args)
    monkeypatch.setitem(tool['main'].__globals__, 'export_onnx', lambda model, out, shape: done)
    tool['main']()
    assert capsys.readouterr().out.split('\n')[0].split() == ['logits', 'N', 'x', '3', 'x', '8', 'x', '8']
