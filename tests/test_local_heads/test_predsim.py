import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from mmman.local_heads import BlockOutput, Position, PredSimLocalHead
from mmman.local_heads.labels import label_vectors

HEAD = dict(type='mmpretrain.LinearClsHead', num_classes=3)
LABELS = [0, 1, 2, 0, 1]
SAMPLES = [DataSample().set_gt_label(label) for label in LABELS]


def block_output(channels=8):
    return BlockOutput(x=torch.rand(5, 4, 8, 8), y=torch.randn(5, channels, 8, 8), inputs=torch.rand(5, 3, 32, 32))


def naive_similarity(rows):
    """Cosine between rows, each minus its own mean, pair by pair."""
    matrix = torch.empty(len(rows), len(rows))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            a0, b0 = a - a.mean(), b - b.mean()
            matrix[i, j] = (a0 @ b0) / (a0.norm() * b0.norm())
    return matrix


@pytest.mark.parametrize('beta', [0.99, 0.3])
def test_both_losses_equal_a_naive_computation(beta):
    output = block_output()
    head = PredSimLocalHead(HEAD, output, Position(1, 4), beta=beta)
    losses = head.loss(output, SAMPLES)
    convolved = head.conv(output.y)
    deviations = [torch.stack([channel.std(unbiased=False) for channel in image]) for image in convolved]
    one_hot = [torch.tensor([float(i == label) for i in range(3)]) for label in LABELS]
    difference = naive_similarity(deviations) - naive_similarity(one_hot)
    expected = {
        'loss_similarity': beta * (difference**2).mean(),
        'loss_prediction': (1 - beta)
        * torch.nn.functional.cross_entropy(head.head.fc(head.pool(output.y)), torch.tensor(LABELS)),
    }
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('constant', ['one channel', 'one image', 'everything'])
def test_gradients_are_finite_where_a_channel_is_constant(constant):
    output = block_output()
    head = PredSimLocalHead(HEAD, output, Position(1, 4))
    with torch.no_grad():
        if constant == 'one channel':
            head.conv.weight[2] = 0
        elif constant == 'one image':
            output.y[1] = 0
        else:
            head.conv.weight.zero_()
    output.y.requires_grad_()
    losses = head.loss(output, SAMPLES)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert output.y.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(('channels', 'size', 'side'), [(16, 512, 5), (64, 512, 2), (600, 512, 1), (64, 4096, 8)])
def test_the_classifier_sees_at_most_the_asked_numbers(channels, size, side):
    output = block_output(channels)
    head = PredSimLocalHead(HEAD, output, Position(1, 4), pooled_size=size)
    assert head.pool(output.y).shape[1] == head.head.fc.in_features == channels * side**2


@pytest.mark.parametrize('beta', [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(beta):
    with pytest.raises(ValueError, match=r'beta must lie in \[0, 1\]'):
        PredSimLocalHead(HEAD, block_output(), Position(1, 4), beta=beta)


def one_hot(*rows):
    return torch.tensor(rows, dtype=torch.float32)


@pytest.mark.parametrize(
    ('samples', 'vectors'),
    [
        ([DataSample().set_gt_label(label) for label in (0, 2)], one_hot([1, 0, 0], [0, 0, 1])),
        (
            [
                DataSample().set_gt_label(0).set_gt_score(torch.tensor(score))
                for score in ([0.7, 0.3, 0], [0.4, 0, 0.6])
            ],
            one_hot([0.7, 0.3, 0], [0.4, 0, 0.6]),
        ),
        ([DataSample().set_gt_label(label) for label in ([0, 2], [1])], one_hot([1, 0, 1], [0, 1, 0])),
        (
            [DataSample().set_gt_label(torch.tensor(label).long()) for label in ([0, 1], [])],
            one_hot([1, 1, 0], [0, 0, 0]),
        ),
    ],
    ids=['hard', 'soft', 'several', 'none'],
)
def test_labels_may_be_soft_or_several(samples, vectors):
    assert label_vectors(samples, 3).equal(vectors)


@pytest.mark.parametrize('kind', ['soft', 'several'])
def test_the_similarity_is_that_of_the_labels_vectors(kind):
    output = block_output()
    head = PredSimLocalHead(dict(HEAD, type='mmpretrain.MultiLabelLinearClsHead'), output, Position(1, 4), beta=1.0)
    vectors = torch.tensor([[0.5, 0.5, 0], [1, 0, 0], [0.2, 0.3, 0.5], [0, 0, 1], [1, 0, 0]])
    if kind == 'soft':
        samples = [DataSample().set_gt_label(0).set_gt_score(vector) for vector in vectors]
    else:
        vectors = vectors.ceil()
        samples = [DataSample().set_gt_label(vector.nonzero().flatten()) for vector in vectors]
    deviations = (head.conv(output.y).flatten(2).var(dim=2, unbiased=False) + 1e-8).sqrt()
    target = F.normalize(vectors - vectors.mean(dim=1, keepdim=True), dim=1)
    expected = ((naive_similarity(deviations) - target @ target.T) ** 2).mean()
    torch.testing.assert_close(head.loss(output, samples)['loss_similarity'], expected, rtol=1e-4, atol=1e-6)


def test_a_classifier_without_classes_is_refused():
    tasks = dict(type='mmpretrain.MultiTaskHead', task_heads=dict(a=HEAD))
    with pytest.raises(ValueError, match='but the config of MultiTaskHead names none: set head=dict'):
        PredSimLocalHead(tasks, block_output(), Position(1, 4))


def test_tokens_are_refused():
    tokens = BlockOutput(x=torch.rand(1, 17, 8), y=torch.rand(1, 17, 8), inputs=torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match='tokens'):
        PredSimLocalHead(HEAD, tokens, Position(1, 4))
