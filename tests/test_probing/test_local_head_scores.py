"""What a local head predicts is what its loss is about, and what the toolbox would make of it."""

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from tiny_checkpoints import CLASSES, classifier, detector, save_checkpoint, segmentor

from mmman.apis.launch import build_runner
from mmman.apis.publish import publish
from mmman.probing.checkpoint import LoadedModel
from mmman.probing.local_head_scores import score_local_heads


def load(make, tmp_path, *args):
    cfg = make(tmp_path, *args)
    return LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth', classes=CLASSES))


def first_block(loaded):
    """Its local head, what that is given of the first test batch, and the samples."""
    data = loaded.prepare(next(iter(loaded.test_loader())))
    backbone = loaded.model.backbone
    x = dict(loaded.outputs(data['inputs']))[backbone.blocks[0].segments[-1].name]
    local = backbone.local['block1']
    mean, std = loaded.model.data_preprocessor.mean, loaded.model.data_preprocessor.std
    return local.head, local.output(x, data['inputs'], mean, std), data['data_samples']


@pytest.mark.parametrize(
    ('host', 'loss', 'weight'),
    [
        ('greedy', 'loss', 1),
        ('dgl', 'loss', 1),
        ('auglocal', 'loss', 1),
        ('predsim', 'loss_prediction', 0.01),
        ('infopro_softmax', 'loss_task', 0.5),
    ],
)
@torch.no_grad()
def test_a_classifier_s_scores_have_its_loss(tmp_path, host, loss, weight):
    head, output, samples = first_block(load(classifier, tmp_path, 4, host))
    expected = head.loss(output, samples)[loss]
    found = head.predict(output, copy.deepcopy(samples))
    of_labels = torch.cat([sample.pred_score[sample.gt_label] for sample in found])
    torch.testing.assert_close(weight * -of_labels.log().mean(), expected)


@torch.no_grad()
def test_a_segmentor_s_logits_have_its_loss(tmp_path):
    head, output, samples = first_block(load(segmentor, tmp_path))
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in samples])
    resized = F.interpolate(labels[None].float(), size=output.inputs.shape[-2:]).long()[0]
    samples[0].gt_sem_seg = PixelData(data=resized)
    expected = head.loss(output, samples)['loss_ce']
    logits = head.predict(output, samples)
    assert logits.shape[2:] == output.inputs.shape[2:]
    loss = F.cross_entropy(logits, resized, ignore_index=255, reduction='none').mean()
    torch.testing.assert_close(loss, expected)


@torch.no_grad()
def test_a_detector_s_boxes_are_those_of_mmdet_s_head(tmp_path):
    loaded = load(detector, tmp_path)
    head, output, samples = first_block(loaded)
    found = head.predict(output, samples, loaded.model.test_cfg)
    head.head.test_cfg = loaded.model.test_cfg
    expected = head.head.predict(head.levels(output), samples, rescale=True)
    assert len(found) == len(expected) == 4 and len(found[0]) > 0
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours.bboxes, theirs.bboxes)
        torch.testing.assert_close(ours.scores, theirs.scores)
    # In the pixels of the photo, not of the 96 x 72 that the model saw.
    assert max(instances.bboxes.max() for instances in found) > 96


@pytest.mark.parametrize(
    ('make', 'metric'), [(classifier, 'accuracy/top1'), (segmentor, 'mIoU'), (detector, 'coco/bbox_mAP')]
)
def test_every_block_is_scored_and_the_last_is_the_model(tmp_path, make, metric):
    loaded = load(make, tmp_path)
    found = score_local_heads(loaded)
    assert list(found) == [str(block) for block in loaded.model.backbone.blocks]
    assert all(0 <= metrics[metric] <= 100 for metrics in found.values())
    assert json.loads(json.dumps(found)).keys() == found.keys()
    cfg = make(tmp_path)
    cfg.load_from = str(tmp_path / 'a.pth')
    expected = build_runner(cfg).test()
    last = list(found.values())[-1]
    assert {k: v for k, v in last.items() if not math.isnan(v)} == pytest.approx(
        {k: v for k, v in expected.items() if not math.isnan(v)}
    )


def test_what_has_no_local_heads_is_one_line(tmp_path):
    with pytest.raises(ValueError, match='the model has no local heads'):
        score_local_heads(load(detector, tmp_path, None))
    whole = save_checkpoint(detector(tmp_path), tmp_path / 'a.pth')
    plain = LoadedModel(detector(tmp_path), str(publish(whole, tmp_path / 'plain.pth')))
    with pytest.raises(ValueError, match='the checkpoint has no local heads'):
        score_local_heads(plain)
    with pytest.raises(ValueError, match='ContrastiveHead learns no classes'):
        score_local_heads(load(classifier, tmp_path, 4, 'infopro_contrast'))
