import math

import pytest
import torch
from mmpretrain.structures import DataSample

from mmman.local_heads import ContrastiveHead


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def naive(head, feats, labels):
    """Khosla et al. (2020), eq. 2, anchor by anchor; the mean over the anchors that have a positive."""
    vectors = [v / v.norm() for v in head.fc(feats)]
    losses = []
    for i, anchor in enumerate(vectors):
        others = [j for j in range(len(vectors)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        if not positives:
            continue
        total = sum(torch.exp(anchor @ vectors[j] / head.temperature) for j in others)
        losses.append(
            -sum(anchor @ vectors[j] / head.temperature - torch.log(total) for j in positives) / len(positives)
        )
    return sum(losses) / len(losses)


@pytest.mark.parametrize('labels', [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 2, 2], [4, 4, 4, 4, 4, 4], [0, 1, 2, 3, 3, 5]])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_the_loss_equals_a_loop_over_anchors(labels, temperature):
    head = ContrastiveHead(5, channels=4, temperature=temperature)
    feats = torch.randn(6, 5)
    loss = head.loss((feats,), samples(labels))
    assert list(loss) == ['loss']
    torch.testing.assert_close(loss['loss'], naive(head, feats, labels))


def test_a_batch_without_two_of_a_class_has_no_loss_and_finite_gradients():
    head = ContrastiveHead(5)
    feats = torch.randn(3, 5, requires_grad=True)
    loss = head.loss((feats,), samples([0, 1, 2]))['loss']
    loss.backward()
    assert loss == 0
    assert torch.equal(feats.grad, torch.zeros_like(feats))


def test_the_loss_is_least_where_classes_are_alike_and_apart():
    head = ContrastiveHead(2, channels=2)
    torch.nn.init.eye_(head.fc.weight)
    torch.nn.init.zeros_(head.fc.bias)
    feats = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    good, bad = (head.loss((feats,), samples(labels))['loss'].item() for labels in ([0, 0, 1, 1], [0, 1, 0, 1]))
    assert good == pytest.approx(0, abs=1e-5)
    assert bad == pytest.approx(2 / 0.07, rel=1e-4) and math.isfinite(bad)


def weighted_naive(head, feats, weights):
    """As above, each pair counted by its weight."""
    vectors = [v / v.norm() for v in head.fc(feats)]
    losses = []
    for i, anchor in enumerate(vectors):
        others = [j for j in range(len(vectors)) if j != i]
        total = sum(weights[i][j] for j in others)
        if total == 0:
            continue
        partition = sum(torch.exp(anchor @ vectors[j] / head.temperature) for j in others)
        log_probs = [weights[i][j] * (anchor @ vectors[j] / head.temperature - torch.log(partition)) for j in others]
        losses.append(-sum(log_probs) / total)
    return sum(losses) / len(losses)


def cosines(vectors):
    lengths = vectors.norm(dim=1).clamp(min=1e-12)
    return (vectors @ vectors.T / lengths[:, None] / lengths[None, :]).tolist()


def test_mixed_images_count_by_the_cosine_of_their_scores():
    head, feats = ContrastiveHead(5, channels=4), torch.randn(4, 5)
    scores = torch.tensor([[0.7, 0.3, 0], [0.3, 0.7, 0], [0, 0, 1], [0.5, 0, 0.5]])
    mixed = [DataSample().set_gt_label(0).set_gt_score(score) for score in scores]
    torch.testing.assert_close(head.loss((feats,), mixed)['loss'], weighted_naive(head, feats, cosines(scores)))


def test_images_of_several_labels_count_by_what_they_share():
    head, feats = ContrastiveHead(5, channels=4), torch.randn(5, 5)
    labels = [[0, 1], [1], [2, 3, 4], [4, 0], []]
    vectors = torch.tensor([[float(c in own) for c in range(5)] for own in labels])
    expected = weighted_naive(head, feats, cosines(vectors))
    several = [DataSample().set_gt_label(torch.tensor(own).long()) for own in labels]
    torch.testing.assert_close(head.loss((feats,), several)['loss'], expected)


@pytest.mark.parametrize('labels', [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 3, 5]])
def test_scores_of_one_class_are_that_class_to_the_last_bit(labels):
    head, feats = ContrastiveHead(5), torch.randn(6, 5)
    soft = [sample.set_gt_score(score) for sample, score in zip(samples(labels), torch.eye(6)[labels], strict=True)]
    assert head.loss((feats,), samples(labels))['loss'].equal(head.loss((feats,), soft)['loss'])


def test_one_image_alone_has_no_loss_and_finite_gradients():
    head, feats = ContrastiveHead(5), torch.randn(1, 5, requires_grad=True)
    loss = head.loss((feats,), samples([1]))['loss']
    loss.backward()
    assert loss == 0 and feats.grad.equal(torch.zeros(1, 5))
