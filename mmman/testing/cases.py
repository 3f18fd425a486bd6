"""Every backbone family with every host method and task: what the contracts are tested on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmengine.config import ConfigDict

from .classification import HOSTS, tiny_classifier, tiny_cls_batch, with_decoder
from .detection import tiny_batch, tiny_retinanet
from .segmentation import tiny_seg_batch, tiny_segmentor


@dataclass(frozen=True)
class Case:
    """A model that can be built plain or in any number of blocks, and its data.

    Args:
        model (Callable): Given K, or None for the plain toolbox's model, gives the model's config.
        batch (Callable): Given a seed, gives a training batch.
        host (str): The host method.
        num_blocks (int): The K to test it with. Defaults to 4.
    """

    model: Callable[[int | None], ConfigDict]
    batch: Callable[[int], dict]
    host: str
    num_blocks: int = 4


def _with_decoder(build: Callable[..., ConfigDict], num_blocks: int | None) -> ConfigDict:
    """A model whose local heads are those of ``build`` by default, inside of InfoPro's."""
    model = build(num_blocks)
    if num_blocks is not None:
        model.backbone.local_head = ConfigDict(with_decoder(model.backbone.local_head))
    return model


def _classifier(family: str, host: str, num_blocks: int = 4, **local: Any) -> Case:
    def model(k: int | None) -> ConfigDict:
        return tiny_classifier(family, k, host, **local)

    # VGG's many channels are slow on larger images.
    return Case(model, partial(tiny_cls_batch, side=16 if family == 'vgg' else 32), host, num_blocks)


_TWO_LAYERS = dict(type='mmman.MomentumAuxiliary', num_layers=2)

CASES: dict[str, Case] = {
    **{f'{family}-{host}': _classifier(family, host) for family in ('resnet', 'vgg') for host in HOSTS},
    'vit-greedy': _classifier('vit', 'greedy'),
    # Two blocks: each but the first must have two layers to copy.
    'vit-greedy-two_layers': _classifier('vit', 'greedy', num_blocks=2, auxiliary=_TWO_LAYERS),
    'segmentor-fcn': Case(tiny_segmentor, tiny_seg_batch, 'fcn'),
    'segmentor-infopro': Case(
        partial(_with_decoder, partial(tiny_segmentor, decode_head='ASPPHead')), tiny_seg_batch, 'infopro_seg'
    ),
    'retinanet-retina': Case(tiny_retinanet, tiny_batch, 'retina'),
    'retinanet-infopro': Case(partial(_with_decoder, tiny_retinanet), tiny_batch, 'infopro_det'),
}
