"""What mmpretrain lacks for the paper's classification rows: ResNets for small images, SVHN, STL-10.

Apart from the rest, because importing mmpretrain takes seconds; configs ask for it by
``custom_imports = dict(imports=['mmman.classification'])``.
"""

from .small_resnet import SmallResNet
from .torchvision_datasets import STL10, SVHN

__all__ = ['STL10', 'SVHN', 'SmallResNet']
