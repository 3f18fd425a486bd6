"""A checkpoint is looked into as it is: all its weights, the backbone's own forward, data without augmentation."""

import pytest
import torch
from tiny_checkpoints import CLASSES, classifier, detector, save_checkpoint, segmentor

from mmman.apis.publish import publish
from mmman.probing.checkpoint import LoadedModel


@pytest.mark.parametrize('make', [classifier, detector, segmentor])
@pytest.mark.parametrize('num_blocks', [None, 4])
def test_the_segments_are_the_backbone(tmp_path, make, num_blocks):
    cfg = make(tmp_path, num_blocks)
    loaded = LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth'))
    images = loaded.prepare(next(iter(loaded.test_loader())))['inputs']
    with torch.no_grad():
        outputs = dict(loaded.outputs(images))
        features = loaded.model.backbone(images)
    closing = [segment.name for segment in loaded.segments if segment.closes is not None]
    assert len(closing) == len(features)
    for name, feature in zip(closing, features):
        torch.testing.assert_close(outputs[name], feature, rtol=0, atol=0)


def test_what_a_checkpoint_has(tmp_path):
    whole = save_checkpoint(detector(tmp_path), tmp_path / 'a.pth', classes=CLASSES)
    assert LoadedModel(detector(tmp_path), whole).has_local
    assert LoadedModel(detector(tmp_path), whole).toolbox == 'mmdet'
    assert LoadedModel(detector(tmp_path), whole).dataset_meta['classes'] == CLASSES
    assert not LoadedModel(detector(tmp_path), str(publish(whole, tmp_path / 'plain.pth'))).has_local
    other = save_checkpoint(classifier(tmp_path), tmp_path / 'c.pth')
    with pytest.raises(ValueError, match=r"c\.pth' lacks \d+ weights of the config's model \(.+give the config"):
        LoadedModel(detector(tmp_path), other)
    with pytest.raises(FileNotFoundError, match='checkpoint not found'):
        LoadedModel(detector(tmp_path), str(tmp_path / 'none.pth'))


def test_training_images_are_read_like_test_images(tmp_path):
    cfg = classifier(tmp_path)  # its training flips every image
    loaded = LoadedModel(cfg, save_checkpoint(cfg, tmp_path / 'a.pth'))
    dataset = loaded.train_loader().dataset
    assert [item.get('img_path') for item in (dataset.get_data_info(0),)] == [str(tmp_path / 'train/0/0.png')]
    assert 'flip' not in dataset[0]['data_samples']
    assert len(list(loaded.train_loader())) == 3
