"""CIFAR-10 whose files are not the original's."""

from mmpretrain.datasets import CIFAR10
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class UncheckedCIFAR10(CIFAR10):
    """CIFAR-10 in its own file format, whose content is not compared with the original's: a part of it, say.

    With ``--cfg-options train_dataloader.dataset.type=UncheckedCIFAR10`` (and the same for ``val`` and ``test``) the
    configs take it. Arguments are those of ``mmpretrain.datasets.CIFAR10``.
    """

    train_list = [[name, None] for name, _ in CIFAR10.train_list]
    test_list = [[name, None] for name, _ in CIFAR10.test_list]
    meta = dict(CIFAR10.meta, md5=None)
