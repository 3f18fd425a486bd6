"""How well a linear classifier on a block's output does: the linear separability of what the blocks have learned."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmman.models import LocalBackbone

from .checkpoint import LoadedModel, Metrics

L2 = 1e-3  # of the standardised features' weights, in the mean loss
MAX_ITERATIONS = 200


class LinearProbe(nn.Module):
    """Multinomial logistic regression on standardised features, by L-BFGS: one optimum, no learning rate.

    Args:
        features (Tensor): What it is fitted to, (N, F).
        labels (Tensor): Classes from 0, (N,).
        num_classes (int): How many classes there are.
    """

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        super().__init__()
        self.register_buffer('mean', features.mean(0))
        self.register_buffer('std', features.std(0).clamp(min=1e-6))
        self.linear = nn.Linear(features.shape[1], num_classes, device=features.device, dtype=features.dtype)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        standardised = (features - self.mean) / self.std
        optimizer = torch.optim.LBFGS(
            self.linear.parameters(), max_iter=MAX_ITERATIONS, tolerance_grad=1e-5, line_search_fn='strong_wolfe'
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(self.linear(standardised), labels) + L2 / 2 * self.linear.weight.square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(loss)
        self.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., classes) of features (..., F)."""
        return self.linear((features - self.mean) / self.std)


def probe_blocks(loaded: LoadedModel, pixels: int = 256) -> dict[str, Metrics]:
    """Fit a probe to the output of every block on the training split, and evaluate it on the test split.

    A classifier's probe gets the output's mean over all positions; of tokens, the class token where there is one. A
    segmentor's probe gets each position as a sample, and its logits are enlarged to the image as a decode head's are.
    Both splits are read without augmentation. A plain model, and K = 1, are probed at the end of each stage.

    Args:
        loaded (LoadedModel): A classifier or segmentor.
        pixels (int): How many random positions of each training image a segmentor's probe is fitted to. Defaults to
            256.

    Returns:
        dict[str, Metrics]: The config's own metrics, by the name of the last segment of the block.

    Raises:
        ValueError: If the model is a detector.
    """
    if loaded.toolbox == 'mmdet':
        raise ValueError(
            'linear separability is not defined for detectors, whose outputs have no classes: see tools/analysis/'
            'local_heads.py for the mAP of every block'
        )
    task = _Pixels(loaded, pixels) if loaded.toolbox == 'mmseg' else _Images(loaded)
    ends = _ends(loaded)
    probes = _fit(loaded, task, ends)

    def predict(images: Tensor, samples: list[Any]) -> Iterator[list[Any]]:
        for name, x in loaded.outputs(images):
            if name in ends:
                yield task.predict(probes[name], x, copy.deepcopy(samples), images.shape[-2:])

    return dict(zip(ends, loaded.evaluate(predict), strict=True))


class _Images:
    """Each image is a sample."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.num_classes = loaded.model.head.num_classes
        self.has_class_token = loaded.family.extra_tokens(loaded.model.backbone) > 0

    def samples(self, x: Tensor, data_samples: list[Any]) -> tuple[Tensor, Tensor]:
        """Features and labels of a training batch."""
        return self._pool(x), torch.cat([sample.gt_label for sample in data_samples])

    def predict(self, probe: LinearProbe, x: Tensor, data_samples: list[Any], size: torch.Size) -> list[Any]:
        """The samples with scores and labels."""
        for sample, score in zip(data_samples, probe(self._pool(x)).softmax(dim=1), strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax(dim=0, keepdim=True))
        return data_samples

    def _pool(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            return x[:, 0] if self.has_class_token else x.mean(dim=1)
        return x.mean(dim=(2, 3))


class _Pixels:
    """Each position of the feature map is a sample."""

    def __init__(self, loaded: LoadedModel, pixels: int) -> None:
        self.model, self.pixels = loaded.model, pixels
        self.num_classes = loaded.model.decode_head.num_classes
        self.ignored = loaded.model.decode_head.ignore_index
        self.generator = torch.Generator().manual_seed(0)

    def samples(self, x: Tensor, data_samples: list[Any]) -> tuple[Tensor, Tensor]:
        """Features and labels of some random positions of a training batch."""
        features, labels = [], []
        for image, sample in zip(x, data_samples, strict=True):
            if tuple(sample.metainfo.get('img_padding_size', ())) not in ((), (0, 0, 0, 0)):
                raise ValueError('images are padded for the test: set test_dataloader.batch_size=1 and no size_divisor')
            target = F.interpolate(sample.gt_sem_seg.data[None].float(), size=image.shape[-2:], mode='nearest')
            target = target.flatten().long()
            known = (target != self.ignored).nonzero()[:, 0]
            chosen = known[torch.randperm(len(known), generator=self.generator)[: self.pixels].to(known.device)]
            features.append(image.flatten(1).T[chosen])
            labels.append(target[chosen])
        return torch.cat(features), torch.cat(labels)

    def predict(self, probe: LinearProbe, x: Tensor, data_samples: list[Any], size: torch.Size) -> list[Any]:
        """The samples with predicted maps."""
        logits = probe(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        logits = F.interpolate(logits, size=size, mode='bilinear', align_corners=self.model.align_corners)
        return self.model.postprocess_result(logits, data_samples)


@torch.no_grad()
def _fit(loaded: LoadedModel, task: _Images | _Pixels, ends: list[str]) -> dict[str, LinearProbe]:
    samples: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in ends}
    for batch in loaded.train_loader():
        data = loaded.prepare(batch)
        for name, x in loaded.outputs(data['inputs']):
            if name in samples:
                samples[name].append(task.samples(x, data['data_samples']))
    probes = {}
    for name in ends:
        features, labels = map(torch.cat, zip(*samples.pop(name), strict=True))
        probes[name] = LinearProbe(features, labels, task.num_classes)
    return probes


def _ends(loaded: LoadedModel) -> list[str]:
    """Names of the last segment of each block; of each stage where there is but one block."""
    backbone = loaded.model.backbone
    if isinstance(backbone, LocalBackbone) and len(backbone.local.blocks) > 1:
        return [block.segments[-1].name for block in backbone.local.blocks]
    return list({segment.stage: segment.name for segment in loaded.segments}.values())
