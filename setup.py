"""Build mmman. mim looks for tools and configs in a `.mim` folder; where that has to be depends on the kind of install.

- Wheel: in the package, as every OpenMMLab package has it, and in the `.dist-info` too: onedl-mim 0.5.1 takes the first
  folder in a distribution's list of files for the package, and `mmman-0.1.0.dist-info` sorts before `mmman`.
- Editable: nowhere. onedl-mim 0.5.1 searches the whole clone, takes its `tools/` and `configs/`, and refuses a config
  that it finds twice: the links in `mmman/.mim` that other packages make would bring that about.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_FILES = ('tools', 'configs', 'model-index.yml')


def copy_mim(mim: Path) -> None:
    """Copy what mim looks for into a folder of the build."""
    if mim.exists():
        shutil.rmtree(mim)  # a build folder keeps what an earlier build left
    mim.mkdir(parents=True)
    for source in (ROOT / name for name in MIM_FILES):
        if source.is_dir():
            # tools/dev is for a clone only
            shutil.copytree(source, mim / source.name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc', 'dev'))
        elif source.exists():
            shutil.copy2(source, mim)


class BuildWithMim(build_py):
    """Add `.mim` to the package in the build folder.

    (The fork's setup.py copies into the source tree, where a clone keeps stale copies of its own configs.)
    """

    def run(self):
        super().run()
        if not self.editable_mode:
            copy_mim(Path(self.build_lib) / 'mmman' / '.mim')


class WheelWithMim(bdist_wheel):
    """Add `.mim` to the `.dist-info` of a wheel that is not editable."""

    def write_wheelfile(self, wheelfile_base, *args, **kwargs):
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        if self.distribution.get_command_obj('editable_wheel', create=False) is None:
            copy_mim(Path(wheelfile_base) / '.mim')


def read_version() -> str:
    """The version, without importing the package: its requirements need not be here yet."""
    return re.search(r"__version__ = '(.+)'", (ROOT / 'mmman' / 'version.py').read_text()).group(1)


readme = ROOT / 'README.md'
setup(
    name='mmman',
    version=read_version(),
    description='MAN++ local learning for OpenMMLab: train detectors, segmentors and classifiers block by block',
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='local learning, MAN++, object detection, semantic segmentation, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmman', 'mmman.*']),
    package_data={'mmman.planning': ['*.html']},
    python_requires='>=3.10',
    # OpenMMLab comes under two sets of distribution names that share their import names: a hard requirement on the one
    # would install it over the other. So it is an extra, and `import mmman` checks what is really there.
    install_requires=['numpy>=1.23', 'torch>=2.3'],  # as mmman/compatibility.py has it
    extras_require={
        'fork': [
            'onedl-mmengine>=0.10.0,<1.0',
            'onedl-mmcv>=2.0.0,<3.0',
            'onedl-mmdetection>=3.0.0,<4.0',
            'onedl-mmsegmentation>=1.0.0,<2.0',
            'onedl-mmpretrain>=1.0.0,<2.0',
        ],
        'upstream': [
            'mmengine>=0.10.0,<1.0',
            'mmcv>=2.0.0,<3.0',
            'mmdet>=3.0.0,<4.0',
            'mmsegmentation>=1.0.0,<2.0',
            'mmpretrain>=1.0.0,<2.0',
        ],
        # tools/analysis/grad_cam.py, the pictures of all, the page of tools/plan.py
        'analysis': ['grad-cam>=1.5', 'matplotlib', 'plotly>=6'],
        'export': ['onnx', 'onnxruntime', 'onnxscript'],
        'dev': [
            *('pytest', 'pytest-xdist', 'parameterized', 'selenium', 'ruff', 'onedl-mim'),
            *('grad-cam', 'matplotlib', 'plotly'),
        ],
    },
    cmdclass={'build_py': BuildWithMim, 'bdist_wheel': WheelWithMim},
    zip_safe=False,
)
