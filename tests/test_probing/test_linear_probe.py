"""A probe finds what is linear, and nothing else."""

import pytest
import torch
from tiny_checkpoints import classifier, detector, save_checkpoint, segmentor

from mmman.probing.checkpoint import LoadedModel
from mmman.probing.linear_probe import LinearProbe, _Images, probe_blocks
from mmman.testing import tiny_classifier


def accuracy(probe, features, labels):
    return (probe(features).argmax(dim=1) == labels).float().mean().item()


def test_it_finds_a_linear_rule_whatever_the_features_scales():
    x = torch.randn(400, 8)
    labels = (x @ torch.randn(8, 3)).argmax(dim=1)
    scaled = 10.0 ** torch.arange(-4, 4) * x.double() + 100
    probe = LinearProbe(scaled[:300], labels[:300], 3)
    assert accuracy(probe, scaled[300:], labels[300:]) > 0.9


def test_it_finds_no_rule_that_is_not_linear():
    x = torch.randn(4000, 2)
    labels = (x[:, 0] * x[:, 1] > 0).long()  # exclusive or
    assert accuracy(LinearProbe(x[:2000], labels[:2000], 2), x[2000:], labels[2000:]) == pytest.approx(0.5, abs=0.1)


def test_constant_features_are_no_division_by_zero():
    probe = LinearProbe(torch.ones(10, 3), torch.tensor([0] * 7 + [1] * 3), 2)
    torch.testing.assert_close(probe(torch.ones(1, 3)).softmax(dim=1)[0], torch.tensor([0.7, 0.3]), rtol=0, atol=1e-3)


def test_blocks_of_a_classifier(tmp_path):
    cfg = classifier(tmp_path)
    metrics = probe_blocks(LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth')))
    assert list(metrics) == ['layer1.1', 'layer2.1', 'layer3.0', 'layer3.2']
    # Even random layers let the brightness through, which an untrained classifier knows nothing of.
    assert metrics['layer1.1']['accuracy/top1'] > 90


@pytest.mark.parametrize('class_token', [True, False])
def test_of_tokens_the_class_token_is_probed_and_without_one_their_mean(class_token, tmp_path):
    cfg = classifier(tmp_path, None)
    cfg.model = tiny_classifier('vit', None)
    if not class_token:
        cfg.model.backbone.update(with_cls_token=False, out_type='avg_featmap')
        cfg.model.head.type = 'LinearClsHead'
    loaded = LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth'))
    data = loaded.prepare(next(iter(loaded.test_loader())))
    *_, (_, tokens) = loaded.outputs(data['inputs'])
    features, _ = _Images(loaded).samples(tokens, data['data_samples'])
    torch.testing.assert_close(features, tokens[:, 0] if class_token else tokens.mean(dim=1), rtol=0, atol=0)


def test_stages_of_a_plain_segmentor_by_pixel(tmp_path):
    cfg = segmentor(tmp_path, None)
    metrics = probe_blocks(LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth')))
    assert list(metrics) == ['layer1.1', 'layer2.1', 'layer3.1', 'layer4.1']
    # Tested on what it was fitted to: far above one class everywhere.
    assert metrics['layer1.1']['aAcc'] > 40
    assert all(0 < found['mIoU'] < 100 for found in metrics.values())


def test_detectors_are_refused(tmp_path):
    cfg = detector(tmp_path)
    with pytest.raises(ValueError, match=r'not defined for detectors.*local_heads\.py'):
        probe_blocks(LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth')))
