"""Linear CKA between the layers of two networks, from mini-batches."""

import torch
from torch import Tensor

from .checkpoint import LoadedModel


def gram(features: Tensor) -> Tensor:
    """The Gram matrix of a batch's features without its diagonal, in double precision.

    Args:
        features (Tensor): (N, ...), one row for each image.

    Returns:
        Tensor: (N, N).
    """
    rows = features.flatten(1).double()
    return (rows @ rows.T).fill_diagonal_(0)


def unbiased_hsic(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased estimator of the Hilbert-Schmidt independence criterion (Song et al., 2012, eq. 5).

    Args:
        first (Tensor): What :func:`gram` made of the one network's features, (N, N).
        second (Tensor): The other's.

    Returns:
        Tensor: A number; its mean over batches is that of all data, which the usual estimator's is not.

    Raises:
        ValueError: If there are fewer than 4 images.
    """
    n = len(first)
    if n < 4:
        raise ValueError(f'the unbiased estimator needs batches of at least 4 images, got {n}: raise the batch size')
    traces = (first * second).sum()
    means = first.sum() * second.sum() / ((n - 1) * (n - 2))
    mixed = (first.sum(0) * second.sum(0)).sum() * 2 / (n - 2)
    return (traces + means - mixed) / (n * (n - 3))


class MinibatchCKA:
    """Linear CKA between all layers of two networks (Nguyen et al., 2021): HSIC is averaged over batches first.

    ``CKA = mean HSIC(X, Y) / sqrt(mean HSIC(X, X) * mean HSIC(Y, Y))``.
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def update(self, first: list[Tensor], second: list[Tensor]) -> None:
        """Add a batch.

        Args:
            first (list[Tensor]): Outputs of the one network's layers for some images, each (N, ...).
            second (list[Tensor]): Outputs of the other's for the same images.
        """
        grams = [[gram(features) for features in layers] for layers in (first, second)]
        across = torch.stack([torch.stack([unbiased_hsic(a, b) for b in grams[1]]) for a in grams[0]])
        own = [torch.stack([unbiased_hsic(a, a) for a in layers]) for layers in grams]
        sums = [across, *own]
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else sums

    def compute(self) -> Tensor:
        """The CKA of every layer of the first network (rows) with every one of the second.

        1 is the same up to rotation and scale; unrelated layers are near 0, by chance below it.

        Raises:
            ValueError: If there was no batch.
        """
        if not self._sums:
            raise ValueError('there is no batch of at least 4 images to compare: raise the batch size')
        across, first, second = self._sums
        return across / (first[:, None] * second[None, :]).sqrt()


@torch.no_grad()
def compare_layers(models: list[LoadedModel], reference: LoadedModel) -> list[Tensor]:
    """CKA of the segments of some models with those of a reference, on the first model's test data.

    Args:
        models (list[LoadedModel]): The models.
        reference (LoadedModel): What they are compared with.

    Returns:
        list[Tensor]: Of each model a matrix, its segments by the reference's.

    Raises:
        ValueError: If the test data give fewer than 4 images in a batch, or the backbones differ in their segments.
    """
    names = [segment.name for segment in reference.segments]
    for model in models:
        own = [segment.name for segment in model.segments]
        if own != names:
            raise ValueError(f'the backbones have other segments: {", ".join(own)} against {", ".join(names)}')
    found = [MinibatchCKA() for _ in models]
    for batch in models[0].test_loader():
        if len(batch['inputs']) < 4:
            continue  # the last of an epoch; the estimator needs four
        expected = _features(reference, batch)
        for cka, model in zip(found, models, strict=True):
            cka.update(_features(model, batch), expected)
    return [cka.compute() for cka in found]


def _features(model: LoadedModel, batch: dict) -> list[Tensor]:
    images = model.prepare(batch)['inputs']
    return [x for _, x in model.outputs(images)]
