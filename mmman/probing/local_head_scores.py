"""What every block's own local head scores on the test data."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from mmman.models import LocalBackbone, normalisation_of

from .checkpoint import LoadedModel, Metrics


def score_local_heads(loaded: LoadedModel) -> dict[str, Metrics]:
    """Evaluate each block's local head behind its auxiliary network, and the whole model, by the config's metrics.

    The auxiliary networks are in evaluation mode: BatchNorm in LB and EMA takes the running statistics that each has
    gathered itself in training.

    Args:
        loaded (LoadedModel): A model of local learning, with its local part.

    Returns:
        dict[str, Metrics]: The metrics by the names of the blocks; those of the last block are the model's own.

    Raises:
        ValueError: If the model or its checkpoint has no local heads, or one predicts nothing.
    """
    model, backbone = loaded.model, loaded.model.backbone
    if not isinstance(backbone, LocalBackbone) or len(backbone.local.blocks) == 1:
        raise ValueError(
            'the model has no local heads: give a config with an mmman.LocalBackbone of two blocks or more'
        )
    if not loaded.has_local:
        raise ValueError('the checkpoint has no local heads (a published one has not): give one that training wrote')
    ends = {block.segments[-1].name: block for block in backbone.local.blocks[:-1]}
    test_cfg = _test_cfg(loaded)

    def predict(images: Tensor, samples: list[Any]) -> Iterator[list[Any]]:
        for name, x in loaded.outputs(images):
            if name in ends:
                branch = backbone.local.branch(ends[name])
                output = branch.output(x, images, *normalisation_of(model))
                yield _finish(loaded, branch.head.predict(output, own := copy.deepcopy(samples), test_cfg), own)
        yield model(images, copy.deepcopy(samples), mode='predict')

    return dict(zip(map(str, backbone.local.blocks), loaded.evaluate(predict), strict=True))


def _finish(loaded: LoadedModel, found: Any, samples: list[Any]) -> list[Any]:
    """What a head's ``predict`` returned, as the data samples that the model's would return."""
    if loaded.toolbox == 'mmseg':
        return loaded.model.postprocess_result(found, samples)
    if loaded.toolbox == 'mmdet':
        return loaded.model.add_pred_to_datasample(samples, found)
    return found


def _test_cfg(loaded: LoadedModel) -> dict | None:
    """What the model's test config has for a head that stands alone."""
    cfg = getattr(loaded.model, 'test_cfg', None)
    if loaded.toolbox == 'mmseg' and cfg.get('mode') != 'whole':
        raise ValueError(
            f"local heads see whole images, but model.test_cfg.mode is '{cfg.get('mode')}': add --cfg-options "
            'model.test_cfg.mode=whole'
        )
    if loaded.toolbox == 'mmdet' and 'rcnn' in cfg:
        return {**cfg.rpn, **cfg.rcnn}  # two stages: a dense head takes candidates as the one, results as the other
    return cfg
