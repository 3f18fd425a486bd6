import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from scenarios.training import build_model, optim_wrapper_for

from mmman.local_heads import BlockOutput, InfoProLocalHead, LocalHead, Position
from mmman.local_heads.decoder import ImageDecoder
from mmman.models import find_local_backbone
from mmman.testing import CASES

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


class Task(LocalHead):
    """A task with known losses."""

    def __init__(self, example, position, losses):
        super().__init__(example, position)
        self.losses = losses

    def loss(self, output, data_samples):
        return {name: torch.tensor(value) for name, value in self.losses.items()}


def block_output(size=32, **step):
    images = torch.rand(2, 3, size, size)
    return BlockOutput(x=torch.rand(2, 4, 8, 8), y=torch.rand(2, 4, 8, 8), inputs=images, **step)


def local_head(reconstruction, task, position, losses=None, **decoder):
    return InfoProLocalHead(
        dict(type=Task, losses=losses or dict(loss=3.0, accuracy=7.0)),
        dict(channels=[4], **decoder),
        reconstruction,
        task,
        example=block_output(),
        position=position,
    )


# ----------------------------------------------------------------------------------------------------- the image target


def test_the_target_is_the_image_before_normalisation():
    images = torch.randint(0, 256, (2, 3, 8, 8)).float()
    output = BlockOutput(x=images, y=images, inputs=(images - MEAN) / STD, mean=MEAN, std=STD)
    torch.testing.assert_close(output.images, images / 255)
    assert output.images.min() >= 0 and output.images.max() <= 1  # also where rounding went beyond


def test_without_normalisation_the_target_is_the_input_over_255():
    images = torch.randint(0, 256, (2, 3, 8, 8)).float()
    torch.testing.assert_close(BlockOutput(x=images, y=images, inputs=images).images, images / 255)


@pytest.mark.parametrize('normalise', [True, False], ids=['normalised', 'as it is'])
@pytest.mark.parametrize(
    'name', ['resnet-infopro_softmax', 'vgg-infopro_contrast', 'segmentor-infopro', 'retinanet-infopro']
)
def test_in_a_training_step_the_target_is_the_image_of_the_dataset(name, normalise):
    case = CASES[name]
    cfg = case.model(4)
    if not normalise:
        for key in ('mean', 'std'):
            cfg.data_preprocessor.pop(key)
    model = build_model(cfg)
    seen = []
    for local in find_local_backbone(model).local.values():

        def loss(output, data_samples):
            seen.append(output.images)
            return dict(loss=output.y.mean())

        local.head.loss = loss
    batch = case.batch(0)
    model.train_step(copy.deepcopy(batch), optim_wrapper_for(model))

    assert len(seen) == 3
    for images in seen:
        for got, image in zip(images, batch['inputs'], strict=True):
            expected = image.flip(0) / 255  # from the file's BGR to RGB
            torch.testing.assert_close(got[:, : image.shape[1], : image.shape[2]], expected, rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- the loss


def test_reconstruction_is_the_cross_entropy_of_every_pixel():
    output = block_output(mean=MEAN, std=STD)
    output.inputs = (255 * output.inputs - MEAN) / STD
    head = local_head(5.0, 1.0, Position(1, 2))
    losses = head.loss(output, [])
    decoded = head.decoder(output.y, (32, 32)).sigmoid()
    expected = 5 * F.binary_cross_entropy(decoded, output.images)
    torch.testing.assert_close(losses['loss_reconstruction'], expected)


def test_losses_are_weighed_and_metrics_are_not():
    losses = local_head(2.0, 0.5, Position(1, 2)).loss(block_output(), [])
    assert set(losses) == {'loss_task', 'accuracy', 'loss_reconstruction'}
    assert (losses['loss_task'], losses['accuracy']) == (1.5, 7)
    named = local_head(2.0, 0.5, Position(1, 2), dict(loss_ce=4.0, acc_seg=50.0)).loss(block_output(), [])
    assert (named['loss_ce'], named['acc_seg']) == (2, 50)


@pytest.mark.parametrize('num_blocks', [2, 3, 4, 16])
def test_weights_go_linearly_from_the_first_local_head_to_the_last(num_blocks):
    heads = [local_head([5, 1], [0.5, 2.5], Position(i, num_blocks)) for i in range(1, num_blocks)]
    steps = max(num_blocks - 2, 1)
    assert [h.reconstruction_weight for h in heads] == pytest.approx([5 - 4 * i / steps for i in range(num_blocks - 1)])
    assert [h.task_weight for h in heads] == pytest.approx([0.5 + 2 * i / steps for i in range(num_blocks - 1)])


def test_one_number_is_the_weight_of_all():
    heads = [local_head(5, 0.75, Position(i, 4)) for i in (1, 2, 3)]
    assert {(h.reconstruction_weight, h.task_weight) for h in heads} == {(5, 0.75)}


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_as_many_channels_are_decoded_as_the_images_have(channels):
    images = torch.rand(2, channels, 16, 16)
    output = BlockOutput(x=torch.rand(2, 4, 8, 8), y=torch.rand(2, 4, 8, 8), inputs=images, raw=images)
    head = InfoProLocalHead(
        dict(type=Task, losses=dict(loss=1.0)), dict(channels=[4]), 1.0, 1.0, example=output, position=Position(1, 2)
    )
    expected = F.binary_cross_entropy(head.decoder(output.y, (16, 16)).sigmoid(), images)
    torch.testing.assert_close(head.loss(output, [])['loss_reconstruction'], expected)


def test_the_images_range_may_be_told():
    images = 4095 * torch.rand(2, 3, 16, 16)
    output = BlockOutput(x=torch.rand(2, 4, 8, 8), y=torch.rand(2, 4, 8, 8), inputs=images)
    build = functools.partial(
        InfoProLocalHead, dict(type=Task, losses=dict(loss=1.0)), dict(channels=[4]), 1.0, 1.0, output, Position(1, 2)
    )
    head = build(image_range=(0, 4095))
    expected = F.binary_cross_entropy(head.decoder(output.y, (16, 16)).sigmoid(), images / 4095)
    torch.testing.assert_close(head.loss(output, [])['loss_reconstruction'], expected)
    for wrong in ((1, 0), (0, 1, 2), (5, 5)):
        with pytest.raises(ValueError, match='image_range takes two values, those of black and of white, got'):
            build(image_range=wrong)


def test_a_block_without_any_weight_is_refused():
    local_head([5, 0], [0.5, 0], Position(2, 4))
    with pytest.raises(ValueError, match='leave block 3 of 4 without a loss'):
        local_head([5, 0], [0.5, 0], Position(3, 4))
    for weights in (([5, 0], 1), (1, [5, 0])):
        local_head(*weights, Position(3, 4))


# ---------------------------------------------------------------------------------------------------------- the decoder


@pytest.mark.parametrize('size', [(32, 32), (96, 64), (33, 47)])
@pytest.mark.parametrize('upsampling', ['first', 'stepwise'])
@pytest.mark.parametrize('project', [None, 6])
def test_the_decoder_gives_three_channels_of_the_images_size(size, upsampling, project):
    decoder = ImageDecoder(4, [8, 5], project=project, upsampling=upsampling)
    sizes = []
    for conv in decoder.convs:
        conv.register_forward_hook(lambda module, args, out: sizes.append(tuple(out.shape[-2:])))
    assert decoder(torch.rand(2, 4, 8, 8), size).shape == (2, 3, *size)
    shrinks = (1, 1, 1) if upsampling == 'first' else (4, 2, 1)
    assert sizes == [(size[0] // s, size[1] // s) for s in shrinks]


def test_an_unknown_upsampling_is_refused():
    with pytest.raises(ValueError, match="must be one of .*, got 'last'"):
        ImageDecoder(4, [8], upsampling='last')


def test_tokens_are_refused():
    tokens = BlockOutput(x=torch.rand(1, 17, 8), y=torch.rand(1, 17, 8), inputs=torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match='tokens'):
        InfoProLocalHead(dict(type=Task, losses={}), dict(channels=[4]), 1.0, 1.0, tokens, Position(1, 4))
