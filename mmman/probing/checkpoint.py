"""A checkpoint's model with its data and metrics, ready to be looked into."""

import copy
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmman.apis import launch
from mmman.partition import BackboneFamily, Segment, family_of
from mmman.toolboxes import toolbox_of

Metrics = dict[str, float]


class LoadedModel:
    """The model of a checkpoint in evaluation mode, and the runner that has its data and metrics.

    As in ``tools/test.py``. With ``EMAHook`` the entry ``state_dict`` of a checkpoint is the averaged model: that is
    what is looked into.

    Args:
        cfg (Config): What :func:`mmman.apis.launch.load_config` gave.
        checkpoint (str): Path of the checkpoint, of the wrapped or of the plain model.

    Attributes:
        runner (Runner): The runner.
        model (nn.Module): The detector, segmentor or classifier.
        toolbox (str): ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``, the scope that the config builds from.
        dataset_meta (dict): What the checkpoint says of the data it was trained on: ``classes``, for one.
        has_local (bool): Whether the checkpoint has the auxiliary networks and local heads, if the model has any.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it lacks weights of the plain model, or the model is of no toolbox that is known.
    """

    def __init__(self, cfg: Config, checkpoint: str) -> None:
        launch.apply_test_options(cfg, checkpoint)
        self.runner: Runner = launch.build_runner(cfg)
        self.model: nn.Module = self.runner.model
        self.toolbox: str = toolbox_of(cfg)
        loaded = load_checkpoint(self.model, checkpoint, map_location='cpu')
        found = {key.removeprefix('module.') for key in loaded.get('state_dict', loaded)}
        missing = [key for key in self.model.state_dict() if key not in found]
        plain = [key for key in missing if not key.startswith('backbone.local.')]
        if plain:
            raise ValueError(
                f"'{checkpoint}' lacks {len(plain)} weights of the config's model ({', '.join(plain[:3])}, ...): give "
                'the config that it was trained with'
            )
        self.has_local = not missing
        self.dataset_meta: dict[str, Any] = loaded.get('meta', {}).get('dataset_meta') or {}
        self.model.eval()

    @cached_property
    def family(self) -> BackboneFamily:
        """What knows the backbone's segments, wrapped or plain."""
        return family_of(self.model.backbone)

    @property
    def segments(self) -> list[Segment]:
        """The backbone's segments in the order of the forward pass."""
        return self.family.segments(self.model.backbone)

    def outputs(self, images: Tensor) -> Iterable[tuple[str, Tensor]]:
        """Run the backbone; yields each segment's name and what of its output a local head sees.

        Args:
            images (Tensor): What the backbone is given, (N, 3, H, W).
        """
        x = images
        for segment in self.segments:
            x = self.family.run(self.model.backbone, segment, x)
            yield segment.name, self.family.feature(x)

    def test_loader(self) -> DataLoader:
        """The config's test data."""
        return self.runner.build_dataloader(self.runner.cfg.test_dataloader, seed=self.runner.seed)

    def train_loader(self) -> DataLoader:
        """The training split, each image once, as the test images are read: without random augmentation.

        Raises:
            ValueError: If the training data set is put together of several.
        """
        cfg = copy.deepcopy(self.runner.cfg.test_dataloader)
        dataset = copy.deepcopy(self.runner.cfg.train_dataloader.dataset)
        while 'dataset' in dataset:  # wrappers that repeat or mix
            dataset = dataset.dataset
        if 'datasets' in dataset:
            raise ValueError('train_dataloader has several data sets: choose one with --cfg-options')
        dataset.pipeline = cfg.dataset.pipeline
        dataset.test_mode = True  # mmdet would leave out images without objects
        cfg.dataset = dataset
        return self.runner.build_dataloader(cfg, seed=self.runner.seed)

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of a loader as the model takes it: ``inputs``, normalised (N, 3, H, W), and ``data_samples``."""
        return self.model.data_preprocessor(copy.deepcopy(batch), False)

    @torch.no_grad()
    def evaluate(self, predict: Callable[[Tensor, list[Any]], Iterable[list[Any]]]) -> list[Metrics]:
        """Evaluate several predictions for the same test data by the config's own metrics.

        Args:
            predict (Callable): Given images and data samples, yields for each predictor in turn samples with its
                predictions. It may write into the samples it is given.

        Returns:
            list[Metrics]: The metrics of each predictor.
        """
        loader = self.test_loader()
        evaluators = []
        for batch in loader:
            data = self.prepare(batch)
            for i, samples in enumerate(predict(data['inputs'], data['data_samples'])):
                if i == len(evaluators):
                    evaluators.append(self.runner.build_evaluator(self.runner.cfg.test_evaluator))
                    evaluators[i].dataset_meta = loader.dataset.metainfo
                evaluators[i].process(data_samples=samples, data_batch=batch)
        found = [evaluator.evaluate(len(loader.dataset)) for evaluator in evaluators]
        return [{name: _plain(value) for name, value in metrics.items()} for metrics in found]


def _plain(value: Any) -> Any:
    """A number of numpy's, as mmseg's metrics are, as Python's own, which JSON takes."""
    return value.item() if isinstance(value, np.generic) else value
