"""SVHN and STL-10 for mmpretrain, read by torchvision."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torchvision
from mmengine.dist import barrier, is_main_process
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS


class TorchvisionDataset(BaseDataset):
    """A data set of small images that torchvision reads whole into memory.

    Args:
        data_root (str): The folder with the data set's files.
        split (str): One of the splits that torchvision's data set has.
        download (bool): Whether to download the files where they are missing. Defaults to False.
        **kwargs: Other arguments of ``mmpretrain.datasets.BaseDataset``.
    """

    def __init__(self, data_root: str, split: str = 'train', download: bool = False, **kwargs: Any) -> None:
        self.split = split
        self.download = download
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    @abstractmethod
    def read(self, download: bool) -> tuple[np.ndarray, np.ndarray]:
        """Read images (N, 3, H, W), uint8, RGB, and labels (N,)."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """Load images (H, W, 3) and labels."""
        if self.download and is_main_process():
            self.read(download=True)
        barrier()
        images, labels = self.read(download=False)
        return [
            dict(img=image, gt_label=int(label))
            for image, label in zip(images.transpose(0, 2, 3, 1), labels, strict=True)
        ]


@DATASETS.register_module()
class SVHN(TorchvisionDataset):
    """Street View House Numbers, cropped digits, 32 x 32; splits ``'train'``, ``'test'`` and ``'extra'``."""

    METAINFO = dict(classes=tuple('0123456789'))

    def read(self, download: bool) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`TorchvisionDataset`."""
        dataset = torchvision.datasets.SVHN(self.data_root, split=self.split, download=download)
        return dataset.data, dataset.labels


@DATASETS.register_module()
class STL10(TorchvisionDataset):
    """STL-10, 96 x 96; splits ``'train'`` (5,000 labelled images) and ``'test'``."""

    METAINFO = dict(
        classes=('airplane', 'bird', 'car', 'cat', 'deer', 'dog', 'horse', 'monkey', 'ship', 'truck'),
    )

    def read(self, download: bool) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`TorchvisionDataset`."""
        dataset = torchvision.datasets.STL10(self.data_root, split=self.split, download=download)
        return dataset.data, dataset.labels
