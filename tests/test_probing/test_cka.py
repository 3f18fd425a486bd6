"""CKA is what it is by definition, and mini-batches estimate it without the batch size's bias."""

import pytest
import torch
from tiny_checkpoints import classifier, detector, save_checkpoint

from mmman.probing.checkpoint import LoadedModel
from mmman.probing.cka import MinibatchCKA, compare_layers


def cka(first, second, batch_size):
    found = MinibatchCKA()
    for a, b in zip(first.split(batch_size), second.split(batch_size)):
        found.update([a], [b])
    return found.compute().item()


def two_views(num_images=1024, width=64):
    """Features of two networks that have something in common, more features than images in a small batch."""
    x = torch.randn(num_images, width)
    return x, 0.5 * x @ torch.randn(width, width) / width**0.5 + torch.randn(num_images, width)


def test_the_same_features_have_cka_1():
    x, y = two_views()
    assert cka(x, x, 64) == pytest.approx(1)
    assert cka(x, y, 64) < 0.9


def test_rotations_scales_and_shifts_do_not_matter():
    x, y = two_views()
    rotation = torch.linalg.qr(torch.randn(64, 64)).Q
    assert cka(x, 3 * x @ rotation + 5, 64) == pytest.approx(1, abs=1e-4)
    assert cka(x, 3 * y @ rotation + 5, 64) == pytest.approx(cka(x, y, 64), abs=1e-4)
    assert cka(x, x @ torch.randn(64, 64), 64) < 0.99


def test_mini_batches_estimate_the_whole():
    x, y = two_views()
    whole = cka(x, y, len(x))
    assert cka(x, y, 16) == pytest.approx(whole, abs=0.03)
    # The usual, biased estimator, for comparison: at 16 images for 64 features anything looks alike.
    a, b = ((z.split(16)[0] - z.split(16)[0].mean(0)) for z in (x, y))
    biased = (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert biased > whole + 0.2


def test_unrelated_features_have_cka_0():
    assert cka(torch.randn(1024, 64), torch.randn(1024, 64), 32) == pytest.approx(0, abs=0.02)


def test_three_images_are_too_few():
    with pytest.raises(ValueError, match='batches of at least 4 images, got 3'):
        cka(torch.randn(3, 8), torch.randn(3, 8), 3)
    with pytest.raises(ValueError, match='there is no batch of at least 4 images'):
        MinibatchCKA().compute()


def test_layers_of_models(tmp_path):
    local = LoadedModel(classifier(tmp_path), save_checkpoint(classifier(tmp_path), tmp_path / 'a.pth'))
    plain_cfg = classifier(tmp_path, None)
    # The local part of a checkpoint is nothing to a plain model.
    same = LoadedModel(plain_cfg, str(tmp_path / 'a.pth'))
    other = LoadedModel(classifier(tmp_path, None), save_checkpoint(plain_cfg, tmp_path / 'b.pth', seed=1))
    of_local, of_other = compare_layers([local, other], same)
    assert of_local.shape == (10, 10)  # the stem and nine units
    torch.testing.assert_close(of_local.diagonal(), torch.ones(10, dtype=torch.double))
    torch.testing.assert_close(of_local, of_local.T)
    assert (of_other.diagonal() < 0.9999).all()
    photos = LoadedModel(detector(tmp_path), save_checkpoint(detector(tmp_path), tmp_path / 'c.pth'))
    with pytest.raises(ValueError, match='the backbones have other segments'):
        compare_layers([photos], same)
