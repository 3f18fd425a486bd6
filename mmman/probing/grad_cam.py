"""Grad-CAM (Selvaraju et al., 2017) at any layer of a classifier, segmentor or detector, by the package grad-cam."""

import copy
import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor, nn

from mmman.models import normalisation_of
from mmman.toolboxes import type_name

from .checkpoint import LoadedModel

SHARE = 0.5  # of the highest score, above which a detector's boxes are explained


@dataclass(frozen=True)
class Explanation:
    """One image and what moved the model's score in it.

    Args:
        image (np.ndarray): The image as the model saw it, RGB in [0, 1], (H, W, 3).
        maps (dict[str, np.ndarray]): By layer, the Grad-CAM in [0, 1], (H, W).
        what (str): The class that was explained.
        score (float): Its probability; of a segmentor its share of the image; of a detector its highest score.
    """

    image: np.ndarray
    maps: dict[str, np.ndarray]
    what: str
    score: float


def read_item(loaded: LoadedModel, image: str) -> dict[str, Any]:
    """Read an image by the config's test pipeline.

    Args:
        loaded (LoadedModel): The model with its config.
        image (str): An image file; or the number of an image of the test data, for data sets that are no files.

    Returns:
        dict[str, Any]: What the data set would give.

    Raises:
        FileNotFoundError: If it is neither.
        ValueError: If the pipeline reads no files, or there is no image of this number.
    """
    if image.isdecimal() and not Path(image).exists():
        dataset = loaded.test_loader().dataset
        if int(image) >= len(dataset):
            raise ValueError(f'the test data have {len(dataset)} images, from 0 on; there is no {image}')
        return dataset[int(image)]
    if not Path(image).is_file():
        raise FileNotFoundError(f"there is no image '{image}'")
    dataset = loaded.runner.cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    pipeline = [step for step in dataset.pipeline if not type_name(step['type']).endswith('LoadAnnotations')]
    if not any('LoadImage' in type_name(step['type']) for step in pipeline):
        raise ValueError('this test pipeline reads no files: give the number of an image of the test data instead')
    return Compose(pipeline)(dict(img_path=image, img_id=0))


def explain(loaded: LoadedModel, item: dict[str, Any], layers: list[str], category: str | None = None) -> Explanation:
    """Explain a model's score for one image.

    Explained is, of a classifier, the logit of a class (the predicted one by default); of a segmentor the sum of a
    class's logits over the pixels that it is predicted for (the class that covers the most by default); of a detector
    the sum of all scores above half of the highest one, before NMS (of all classes by default).

    Args:
        loaded (LoadedModel): The model.
        item (dict): What :func:`read_item` gave.
        layers (list[str]): Names of modules of the model that give one feature map, or tokens, for an image.
        category (str, optional): The name of a class, or its number from 0.

    Returns:
        Explanation: The image and a map for each layer.

    Raises:
        ValueError: If a layer or class is not there, no pixel is of the class, a layer does not fit, or the
            package grad-cam is missing.
    """
    if importlib.util.find_spec('pytorch_grad_cam') is None:
        raise ValueError("Grad-CAM is drawn by the package grad-cam: pip install 'mmman[analysis]'")
    # Only here: what it brings (scikit-learn, ttach) takes seconds to import, and no other analysis needs it.
    from pytorch_grad_cam import GradCAM

    data = loaded.prepare(pseudo_collate([item]))
    images = data['inputs'].requires_grad_()  # gradients reach frozen layers, too
    predictor = _Predictor(loaded, data['data_samples'])
    index = None if category is None else _index_of(category, loaded.dataset_meta.get('classes', ()))
    modules = {name: _layer(loaded.model, name) for name in layers}
    to_maps = _ToMaps(loaded)
    with torch.no_grad(), _checked(modules, to_maps):
        target, what, score = predictor.target(predictor(images)[0], index)
    maps = {}
    for name, module in modules.items():
        with GradCAM(predictor, [module], reshape_transform=to_maps) as cam:
            maps[name] = cam(images, targets=[target])[0]
    height, width = item['inputs'].shape[-2:]  # without padding
    maps = {name: found[:height, :width] for name, found in maps.items()}
    image = _denormalised(loaded.model, images)[:height, :width]
    return Explanation(image, maps, what, score)


class _Predictor(nn.Module):
    """The model as grad-cam calls it: images in, one output for each."""

    def __init__(self, loaded: LoadedModel, data_samples: list[Any]) -> None:
        super().__init__()
        self.model, self.toolbox = loaded.model, loaded.toolbox
        self.data_samples = data_samples
        self.classes = loaded.dataset_meta.get('classes')

    def forward(self, images: Tensor) -> Any:
        if self.toolbox == 'mmseg':
            return self.model(images, copy.deepcopy(self.data_samples), mode='predict')
        # Of a classifier the logits: a probability's gradient vanishes where it nears 1.
        outputs = self.model(images, self.data_samples, mode='tensor')
        return [_scores_of_boxes(self.model, outputs)] if self.toolbox == 'mmdet' else outputs

    def target(self, output: Any, index: int | None) -> tuple[Callable[[Any], Tensor], str, float]:
        """What is explained: a function of the output; the class, and what :class:`Explanation` says of it."""
        if self.toolbox == 'mmpretrain':
            index = int(output.argmax()) if index is None else index
            return (lambda logits: logits[index]), self._name(index), float(output.softmax(dim=0)[index])
        if self.toolbox == 'mmseg':
            labels = output.pred_sem_seg.data[0]
            index = int(labels.flatten().mode().values) if index is None else index
            where = labels == index
            if not where.any():
                raise ValueError(f'no pixel is predicted to be {self._name(index)}: name another class')
            share = float(where.float().mean())
            return (lambda sample: (sample.seg_logits.data[index] * where).sum()), self._name(index), share
        of_class = torch.arange(output.shape[1], device=output.device) == index
        scores = output if index is None else output * of_class
        chosen = scores > SHARE * scores.max()
        what = 'all classes' if index is None else self._name(index)
        return (lambda scores: scores[chosen].sum()), what, float(scores.max())

    def _name(self, index: int) -> str:
        return self.classes[index] if self.classes else f'class {index}'


class _ToMaps:
    """Makes a feature map (N, C, H, W) of what a layer gives."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.extra = getattr(loaded.model.backbone, 'num_extra_tokens', 0)

    def __call__(self, output: Any) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == 4:
            return output
        if isinstance(output, Tensor) and output.ndim == 3:
            patches = output[:, self.extra :]
            side = math.isqrt(patches.shape[1])
            if side**2 == patches.shape[1]:
                return patches.transpose(1, 2).unflatten(2, (side, side))
        what = (
            f'a tensor of shape {tuple(output.shape)}' if isinstance(output, Tensor) else f'a {type(output).__name__}'
        )
        raise ValueError(f'a layer for Grad-CAM gives one feature map or the tokens of a square of patches, not {what}')


def _scores_of_boxes(model: nn.Module, outputs: Any) -> Tensor:
    """Of the raw outputs of a detector for one image, the classes' scores of every anchor or region, (boxes, classes).

    Those that the detector itself predicts are cut off from its features.
    """
    first = outputs[0] if isinstance(outputs, tuple) else None
    if isinstance(first, Tensor) and first.ndim == 2:  # the second stage's, of every region
        return first.softmax(dim=1)[:, :-1]
    head = getattr(model, 'bbox_head', None)
    if not isinstance(first, (list, tuple)) or not hasattr(head, 'cls_out_channels'):
        raise ValueError(f'{type(model).__name__} has neither a dense head nor a second stage whose scores are known')
    scores = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, head.cls_out_channels) for level in first])
    return scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(dim=1)[:, :-1]


@contextmanager
def _checked(modules: dict[str, nn.Module], to_maps: _ToMaps) -> Iterator[None]:
    """Inside, the model runs once; afterwards each of the modules has given one map."""
    calls = dict.fromkeys(modules, 0)

    def note(name: str, output: Any) -> None:
        to_maps(output)
        calls[name] += 1

    with ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_hook(lambda module, args, output, name=name: note(name, output))
            stack.callback(handle.remove)
        yield
    for name, count in calls.items():
        if count != 1:
            raise ValueError(
                f"layer '{name}' runs {count} times for an image, and Grad-CAM needs one map: name a layer of the "
                'backbone'
            )


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        names, near, start = [n for n, _ in model.named_modules() if n.count('.') < 3], [], name
        while not near:
            start = start.rpartition('.')[0]
            near = [n for n in names if n.startswith(start) and n != start]
        raise ValueError(f"the model has no layer '{name}'; some that it has: {', '.join(near[:11])}") from None


def _index_of(category: str, classes: tuple[str, ...]) -> int:
    if category in classes:
        return list(classes).index(category)
    if category.isdecimal() and (not classes or int(category) < len(classes)):
        return int(category)
    raise ValueError(f"there is no class '{category}'; the model's are {', '.join(classes) or 'numbers from 0'}")


def _denormalised(model: nn.Module, inputs: Tensor) -> np.ndarray:
    """The first image of a normalised batch in [0, 1], (H, W, 3)."""
    mean, std = normalisation_of(model)
    return ((inputs[0] * std + mean) / 255).clamp(0, 1).detach().permute(1, 2, 0).cpu().numpy()
