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
