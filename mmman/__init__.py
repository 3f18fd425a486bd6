"""Train OpenMMLab backbones in gradient-isolated blocks with MAN++ local learning.

Importing the package registers everything that configs name, so `custom_imports = dict(imports=['mmman'])` is enough.
What configs and users name is here by its own name, too: `from mmman import LocalBackbone, LocalLossHook`.
"""

from .compatibility import check_environment
from .version import __version__

# First, because a missing part or a wrong version would fail further down with a message that helps nobody.
check_environment()

from .apis import LocalRunner, localize, validate  # noqa: E402
from .auxiliary import AuxiliaryNetwork, MomentumAuxiliary, TwoBiasesAuxiliary  # noqa: E402
from .hooks import ChannelsLastHook, CompileBlocksHook, LocalLossHook, PlanHook, RecomputeHook  # noqa: E402
from .local_heads import (  # noqa: E402
    AugLocalHead,
    ClassificationLocalHead,
    ContrastiveHead,
    DetectionLocalHead,
    DGLLocalHead,
    InfoProClassifier,
    InfoProLocalHead,
    PredSimLocalHead,
    SegmentationLocalHead,
)
from .memory import LeanCrossEntropyLoss, LeanFocalLoss  # noqa: E402
from .models import LocalBackbone  # noqa: E402
from .optim import (  # noqa: E402
    CPUAmpOptimWrapper,
    LocalDistributedDataParallel,
    LocalOptimWrapper,
    LocalOptimWrapperConstructor,
)
from .pipeline import (  # noqa: E402
    PipelineCheckpointHook,
    PipelineEpochBasedTrainLoop,
    PipelineIterBasedTrainLoop,
    PipelineParallel,
)
from .resume import ExactCheckpointHook, ResumableEpochBasedTrainLoop  # noqa: E402

__all__ = [
    'AugLocalHead',
    'AuxiliaryNetwork',
    'CPUAmpOptimWrapper',
    'ChannelsLastHook',
    'ClassificationLocalHead',
    'CompileBlocksHook',
    'ContrastiveHead',
    'DGLLocalHead',
    'DetectionLocalHead',
    'ExactCheckpointHook',
    'InfoProClassifier',
    'InfoProLocalHead',
    'LeanCrossEntropyLoss',
    'LeanFocalLoss',
    'LocalBackbone',
    'LocalDistributedDataParallel',
    'LocalLossHook',
    'LocalOptimWrapper',
    'LocalOptimWrapperConstructor',
    'LocalRunner',
    'MomentumAuxiliary',
    'PipelineCheckpointHook',
    'PipelineEpochBasedTrainLoop',
    'PipelineIterBasedTrainLoop',
    'PipelineParallel',
    'PlanHook',
    'PredSimLocalHead',
    'RecomputeHook',
    'ResumableEpochBasedTrainLoop',
    'SegmentationLocalHead',
    'TwoBiasesAuxiliary',
    '__version__',
    'localize',
    'validate',
]
