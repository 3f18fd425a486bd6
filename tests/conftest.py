"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.utils.dl_utils import set_multi_processing


@pytest.fixture(autouse=True)
def _toolbox():
    """Every test starts with mmdet as the default scope and deterministic kernels."""
    import mmdet.models  # noqa: F401

    import mmman  # noqa: F401

    # The models are tiny: more threads only wait for each other.
    torch.set_num_threads(1)
    set_multi_processing(mp_start_method='fork', opencv_num_threads=0)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _usual_data_folders(monkeypatch):
    """No test sees the folders that the user's environment names."""
    for name in [name for name in os.environ if name.startswith('MMMAN_') and name.endswith('_ROOT')]:
        monkeypatch.delenv(name)


@pytest.fixture(scope='session')
def bccd():
    """Folder and classes of the embedded detection photos, as ``tiny_run_cfg`` takes them."""
    return Path(__file__).parents[1] / 'demo/data/bccd_coco', 7, ('WBC', 'RBC', 'Platelets')
