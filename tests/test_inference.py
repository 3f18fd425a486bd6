"""The inferencers of mmdet and mmseg take stock configs with published checkpoints, wrapped ones with their own."""

from pathlib import Path

import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from mmseg.apis import MMSegInferencer

from mmman.apis.launch import register_toolbox
from mmman.apis.publish import publish

DEMO = Path(__file__).parents[1] / 'demo'
CASES = {
    'mmdet': (DetInferencer, 'retinanet_r18_{}_bccd.py', DEMO / 'data/bccd_coco/val2017/BloodImage_00000.jpg'),
    'mmseg': (MMSegInferencer, 'deeplabv3_r18_{}_coco_free.py', DEMO / 'data/coco_free/val2017/000000000285.jpg'),
}


@pytest.mark.parametrize('toolbox', CASES)
def test_both_configs_predict_the_same(toolbox, tmp_path):
    inferencer, name, photo = CASES[toolbox]
    register_toolbox(toolbox)
    configs = [Config.fromfile(DEMO / 'configs' / name.format(kind)) for kind in ('manpp', 'e2e')]
    for cfg in configs:
        for transform in cfg.test_dataloader.dataset.pipeline:
            if transform.type == 'Resize':
                transform.scale = (96, 72)
        if toolbox == 'mmdet':
            cfg.model.test_cfg.score_thr = 0.0  # untrained: without boxes there is nothing to compare
    with DefaultScope.overwrite_default_scope(toolbox):
        model = MODELS.build(configs[0].model)
    model.init_weights()
    for buffer_name, buffer in model.named_buffers():
        if 'running_var' in buffer_name:
            buffer.uniform_(0.5, 1.5)
    meta = dict(dataset_meta=dict(classes=list('abcdefghijkl'), palette=[[i, i, i] for i in range(12)]))
    save_checkpoint(dict(state_dict=model.state_dict(), meta=meta), str(tmp_path / 'iter_1.pth'))
    published = publish(tmp_path / 'iter_1.pth', tmp_path / 'plain.pth')
    assert torch.load(published, weights_only=True)['state_dict'].keys() < model.state_dict().keys()

    results = []
    for cfg, weights in zip(configs, (tmp_path / 'iter_1.pth', published), strict=True):
        infer = inferencer(cfg, str(weights), device='cpu')
        results.append(infer(str(photo), return_datasamples=True))
    if toolbox == 'mmdet':
        wrapped, stock = (result['predictions'][0].pred_instances for result in results)
        assert len(wrapped) > 10
        assert all(wrapped[key].equal(stock[key]) for key in ('bboxes', 'scores', 'labels'))
    else:
        wrapped, stock = (result.seg_logits.data for result in results)
        assert wrapped.std() > 0 and wrapped.equal(stock)
