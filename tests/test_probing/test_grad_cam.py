"""Grad-CAM at the last layer before an average is the class activation map; bad input is one line."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from tiny_checkpoints import CLASSES, DATA, classifier, detector, save_checkpoint, segmentor

from mmman.probing.checkpoint import LoadedModel
from mmman.probing.grad_cam import explain, read_item
from mmman.testing import tiny_classifier

PHOTO = str(DATA / 'bccd_coco/train2017/BloodImage_00001.jpg')


def load(make, tmp_path, *args):
    cfg = make(tmp_path, *args)
    return LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth', classes=() if make is segmentor else CLASSES))


@pytest.mark.parametrize('num_blocks', [None, 4])
def test_it_is_the_class_activation_map(tmp_path, num_blocks):
    loaded = load(classifier, tmp_path, num_blocks)
    item = read_item(loaded, str(tmp_path / 'test/1/0.png'))
    found = explain(loaded, item, ['backbone.layer3.2'], category='RBC')
    data = loaded.prepare(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]))
    with torch.no_grad():
        features = loaded.model.backbone(data['inputs'])[0][0]
    weights = loaded.model.head.fc.weight[CLASSES.index('RBC')]
    expected = torch.einsum('c,chw->hw', weights, features).clamp(min=0).detach().numpy()
    expected = cv2.resize(expected, (32, 32))
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(found.maps['backbone.layer3.2'], expected, atol=1e-4)
    assert found.what == 'RBC'


def test_the_image_is_the_one_that_was_read(tmp_path):
    loaded = load(classifier, tmp_path)
    item = read_item(loaded, '5')  # of the test data
    found = explain(loaded, item, ['backbone.conv1'])
    torch.testing.assert_close(
        torch.from_numpy(found.image * 255).permute(2, 0, 1).round().byte(), item['inputs'].flip(0)
    )  # OpenCV reads BGR


def test_a_pipeline_of_classes_reads_files_too(tmp_path):
    loaded = load(detector, tmp_path)
    expected = read_item(loaded, PHOTO)
    for step in loaded.runner.cfg.test_dataloader.dataset.pipeline:
        step['type'] = TRANSFORMS.get(step['type'])  # as in a lazy config
    assert torch.equal(read_item(loaded, PHOTO)['inputs'], expected['inputs'])


def test_a_detector_s_scores_are_explained(tmp_path):
    loaded = load(detector, tmp_path)
    found = explain(loaded, read_item(loaded, PHOTO), ['backbone.layer2.1', 'backbone.layer4.1'])
    assert found.image.shape == (72, 96, 3)  # without the padding to 96 x 96
    assert all(heat.shape == (72, 96) and 0 <= heat.min() <= heat.max() <= 1 for heat in found.maps.values())
    assert found.what == 'all classes'
    some = explain(loaded, read_item(loaded, PHOTO), ['backbone.layer4.1'], category='WBC')
    assert some.what == 'WBC' and some.score <= found.score
    assert abs(some.maps['backbone.layer4.1'] - found.maps['backbone.layer4.1']).max() > 0.01


def test_a_segmentor_s_class_is_explained(tmp_path):
    loaded = load(segmentor, tmp_path)
    item = read_item(loaded, '0')
    found = explain(loaded, item, ['backbone.layer4.1'])
    assert found.maps['backbone.layer4.1'].shape == item['inputs'].shape[1:]
    assert 0 < found.score <= 1


def test_tokens_are_put_back_in_their_places(tmp_path):
    def transformer(tmp_path):
        cfg = classifier(tmp_path)
        cfg.model = tiny_classifier('vit', None)
        return cfg

    loaded = load(transformer, tmp_path)
    found = explain(loaded, read_item(loaded, '0'), ['backbone.layers.1'])
    assert found.maps['backbone.layers.1'].shape == (32, 32)


def test_bad_input_is_one_line(tmp_path):
    loaded = load(detector, tmp_path)
    item = read_item(loaded, PHOTO)
    with pytest.raises(FileNotFoundError, match="there is no image 'nowhere.jpg'"):
        read_item(loaded, 'nowhere.jpg')
    with pytest.raises(ValueError, match='the test data have 4 images'):
        read_item(loaded, '4')
    with pytest.raises(ValueError, match="there is no class 'cat'; the model's are WBC, RBC, Platelets"):
        explain(loaded, item, ['backbone.layer1'], category='cat')


def test_layers_that_do_not_fit_are_refused(tmp_path):
    loaded = load(detector, tmp_path)
    item = read_item(loaded, PHOTO)
    with pytest.raises(ValueError, match=r"no layer 'backbone.layer9'; some that it has: .*backbone\.layer1"):
        explain(loaded, item, ['backbone.layer9'])
    with pytest.raises(ValueError, match=r"no layer 'backbone.layer2.9.conv'; some that it has: .*backbone\.layer2"):
        explain(loaded, item, ['backbone.layer2.9.conv'])
    with pytest.raises(ValueError, match='gives one feature map or .* not a tuple'):
        explain(loaded, item, ['neck'])
    with pytest.raises(ValueError, match="layer 'bbox_head.cls_convs.0' runs 5 times"):
        explain(loaded, item, ['bbox_head.cls_convs.0'])
    with pytest.raises(ValueError, match="layer 'backbone.local.layer1_1.head.project_y' runs 0 times"):
        explain(loaded, item, ['backbone.local.layer1_1.head.project_y'])
