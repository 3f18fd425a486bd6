"""What is reconstructed is the image in [0, 1], however the pipeline and the data preprocessor made inputs of it."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import ClsDataPreprocessor
from scenarios.training import build_model, optim_wrapper_for

from mmman.local_heads import BlockOutput
from mmman.local_heads.image_range import find_range
from mmman.models import find_local_backbone
from mmman.testing import CASES

PHOTO = torch.linspace(0, 255, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
MEAN, STD = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1), torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
UNKNOWN = 'black and white cannot be known: .* Normalise in model.data_preprocessor .*image_range=.black, white'


def images_of(images, mean=0.0, std=1.0, **known):
    images = images if isinstance(images, list) else [images]
    inputs = (torch.cat([part.float() for part in images]) - mean) / std
    return BlockOutput(x=inputs, y=inputs, inputs=inputs, mean=torch.as_tensor(mean), std=torch.as_tensor(std), **known)


@pytest.mark.parametrize(
    ('raw', 'mean', 'std'),
    [
        (PHOTO.byte(), 0.0, 1.0),
        (PHOTO.byte(), MEAN, STD),
        (PHOTO.byte(), MEAN / 255, STD / 255),  # wrong, but of the images nothing is lost
        (PHOTO.byte() // 250, 0.0, 1.0),  # all dark
        (PHOTO, 0.0, 1.0),
        (PHOTO, MEAN, STD),
        (PHOTO, MEAN, 1.0),
        (PHOTO, 0.0, 255.0),
        (PHOTO, 127.5, 127.5),
        (PHOTO / 200, MEAN, STD),  # all dark
        (1.4 * PHOTO - 30, MEAN, STD),  # jitter of brightness, as SSD's
        (1.05 * PHOTO - 6, 0.0, 1.0),  # interpolation
        (0 * PHOTO, 0.0, 1.0),
        (PHOTO.short(), MEAN, STD),
        ([PHOTO[:1].byte(), PHOTO[1:].byte()], MEAN, STD),
    ],
)
def test_images_from_0_to_255(raw, mean, std):
    output = images_of(raw, mean, std, raw=raw)
    raw = torch.cat(raw) if isinstance(raw, list) else raw
    torch.testing.assert_close(output.images, (raw / 255).clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('raw', 'mean', 'std'),
    [
        (PHOTO / 255, 0.0, 1.0),
        (PHOTO / 255, MEAN / 255, STD / 255),
        (PHOTO / 255, 0.5, 0.5),
        (PHOTO / 10000, 0.5, 0.5),  # all dark
        (1.05 * PHOTO / 255 - 0.03, 0.0, 1.0),  # interpolation
        (PHOTO > 100, 0.0, 1.0),
    ],
)
def test_images_from_0_to_1(raw, mean, std):
    output = images_of(raw, mean, std, raw=raw)
    torch.testing.assert_close(output.images, raw.float().clamp(0, 1), rtol=0, atol=1e-5)


def test_images_that_nobody_has_seen_are_taken_for_uint8_where_their_mean_tells_nothing():
    assert find_range(0.0, 1.0, None) == (0, 255)
    assert find_range(0.5, 0.5, None) == (0, 1)


SIXTEEN_BITS, TWELVE_BITS = (257 * PHOTO.int()).to(torch.uint16), (16 * PHOTO.int()).to(torch.uint16)


@pytest.mark.parametrize(('mean', 'std'), [(0.0, 1.0), (30000.0, 15000.0), (MEAN, STD)])
def test_images_of_16_bits(mean, std):
    output = images_of(SIXTEEN_BITS, mean, std, raw=SIXTEEN_BITS)
    torch.testing.assert_close(output.images, PHOTO.int() / 255, rtol=0, atol=1e-4)


def test_dark_images_of_16_bits():
    output = images_of(TWELVE_BITS, 30000.0, 15000.0, raw=TWELVE_BITS)
    torch.testing.assert_close(output.images, 16 * PHOTO.int() / 65535, rtol=0, atol=1e-4)


@pytest.mark.parametrize(('mean', 'std'), [(0.0, 1.0), (1800.0, 900.0), (MEAN, STD)])
def test_images_of_12_bits_have_to_be_told(mean, std):
    output = images_of(TWELVE_BITS, mean, std, raw=TWELVE_BITS)
    with pytest.raises(ValueError, match='they are uint16, but no value is above 4080'):
        assert output.images.numel()
    output.image_range = (0, 4095)
    torch.testing.assert_close(output.images, 16 * PHOTO.int() / 4095, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ('raw', 'mean', 'std'),
    [
        ((PHOTO - MEAN) / STD, 0.0, 1.0),  # by mmcv.Normalize
        ((PHOTO.clamp(min=110) - MEAN) / STD, 0.0, 1.0),  # of bright images
        ((PHOTO.clamp(min=200) - MEAN) / STD, 0.0, 1.0),
        (PHOTO - MEAN, 0.0, 1.0),
        (PHOTO.clamp(min=80) - MEAN, 0.0, 1.0),
        (PHOTO / 127.5 - 1, 0.0, 1.0),
        (257 * PHOTO, 0.0, 1.0),
        (257 * PHOTO, 30000.0, 15000.0),
        (PHOTO.short() - 100, -50.0, 80.0),
        (PHOTO / 100, 2.0, 3.0),
    ],
)
def test_what_cannot_be_known_is_one_line(raw, mean, std):
    output = images_of(raw, mean, std, raw=raw)
    with pytest.raises(ValueError, match=UNKNOWN) as error:
        assert output.images.numel()
    assert '\n' not in str(error.value)
    output.image_range = (float(raw.min()), float(raw.max()))
    assert output.images.min() == pytest.approx(0, abs=1e-5) and output.images.max() == pytest.approx(1, abs=1e-5)


def test_of_uint8_no_number_is_read():
    """Each would have the GPU wait."""
    assert find_range(MEAN.to('meta'), STD.to('meta'), [PHOTO.byte().to('meta')]) == (0, 255)


# --------------------------------------------------------------------------------------------------- in a training step


@MODELS.register_module()
class ScalingPreprocessor(ClsDataPreprocessor):
    """Scales by itself, and says nothing of it."""

    def forward(self, data, training=False):
        return super().forward({**data, 'inputs': data['inputs'] / 255}, training)


def reconstructed(name, change_model=None, change_batch=None):
    """What the first local head of a model is to reconstruct of a batch of uint8, and that batch."""
    case = CASES[name]
    cfg = case.model(4)
    if change_model:
        change_model(cfg)
    model, batch = build_model(cfg), case.batch(0)
    seen = []

    def loss(output, data_samples):
        seen.append(output.images)
        return dict(loss=output.y.mean())

    find_local_backbone(model).local['block1'].head.loss = loss
    changed = copy.deepcopy(batch)
    if change_batch:
        change_batch(changed)
    model.train_step(changed, optim_wrapper_for(model))
    return seen[0], batch


def normalise(batch, to_rgb=False, meta=True):
    """As mmcv's Normalize in the pipeline, with another mean for each image."""
    inputs = []
    for i, (image, sample) in enumerate(zip(batch['inputs'], batch['data_samples'], strict=True)):
        mean, std = [100.0 + i, 110.0, 120.0], [50.0, 60.0, 70.0 + i]
        image = image.flip(0) if to_rgb else image
        inputs.append((image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
        if meta:
            sample.set_metainfo(dict(img_norm_cfg=dict(mean=mean, std=std, to_rgb=to_rgb)))
    batch['inputs'] = inputs if isinstance(batch['inputs'], list) else torch.stack(inputs)


def drop_normalisation(cfg):
    for key in ('mean', 'std'):
        cfg.data_preprocessor.pop(key)


@pytest.mark.parametrize('name', ['resnet-infopro_softmax', 'segmentor-infopro', 'retinanet-infopro'])
@pytest.mark.parametrize('to_rgb', [True, False])
def test_normalisation_in_the_pipeline_is_undone_where_the_samples_tell_it(name, to_rgb):
    images, batch = reconstructed(name, drop_normalisation, lambda batch: normalise(batch, to_rgb=to_rgb))
    for got, image in zip(images, batch['inputs'], strict=True):
        expected = (image if to_rgb else image.flip(0)) / 255  # the data preprocessor swaps them (back)
        torch.testing.assert_close(got[:, : image.shape[1], : image.shape[2]], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', ['resnet-infopro_softmax', 'segmentor-infopro', 'retinanet-infopro'])
def test_normalisation_in_the_pipeline_that_nobody_tells_is_refused(name):
    with pytest.raises(ValueError, match=UNKNOWN):
        reconstructed(name, drop_normalisation, lambda batch: normalise(batch, meta=False))


def test_float_images_of_one_batch_are_what_those_of_uint8_are():
    def to_float(batch):
        batch['inputs'] = batch['inputs'].float()

    images, _ = reconstructed('resnet-infopro_softmax', drop_normalisation, to_float)
    expected, _ = reconstructed('resnet-infopro_softmax', drop_normalisation)
    assert images.equal(expected)


@pytest.mark.parametrize('normalised', [True, False])
def test_a_preprocessor_of_ones_own_may_scale(normalised):
    def change(cfg):
        cfg.data_preprocessor = dict(type=ScalingPreprocessor)
        if normalised:
            cfg.data_preprocessor.update(mean=[0.4, 0.5, 0.5], std=[0.2, 0.2, 0.3])

    images, batch = reconstructed('resnet-infopro_softmax', change)
    torch.testing.assert_close(images, batch['inputs'] / 255, rtol=0, atol=1e-6)


def test_mixed_images_are_reconstructed():
    def mix(cfg):
        cfg.data_preprocessor.update(num_classes=3, batch_augments=dict(augments=dict(type='Mixup', alpha=1.0)))

    images, _ = reconstructed('resnet-infopro_softmax', mix)
    assert 0 <= images.min() < 0.2 < images.max() <= 1
