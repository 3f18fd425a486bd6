"""What mmpretrain lacks for the paper's classification rows: small ResNets, SVHN, STL-10, parts of CIFAR-10.

Apart from the rest, because importing mmpretrain takes seconds; configs ask for it by
``custom_imports = dict(imports=['mmman.classification'])``.
"""

from .small_resnet import SmallResNet
from .torchvision_datasets import STL10, SVHN
from .unchecked_cifar10 import UncheckedCIFAR10

__all__ = ['STL10', 'SVHN', 'SmallResNet', 'UncheckedCIFAR10']
