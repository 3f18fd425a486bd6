"""Check that this machine has the parts that mmman stands on, before anything of it is imported.

The fork (onedl-*) and upstream OpenMMLab share their import names, so versions are read from the modules themselves and
never asked for by the name of a distribution.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import NamedTuple

MINIMUM_PYTHON = (3, 10)
INSTALL_HINT = (
    "run `make env -B` in a clone of mmman, or `pip install 'mmman[fork]'` (onedl-* packages) or "
    "`pip install 'mmman[upstream]'` (OpenMMLab's own packages)"
)
OPS_HINT = (
    'compile them for the installed torch: `make env -B` in a clone of mmman, or `MMCV_WITH_OPS=1 pip install '
    '--force-reinstall --no-deps --no-cache-dir --no-build-isolation --no-binary :all: onedl-mmcv` (upstream: `mmcv`)'
)
SYSTEM_LIBRARIES_HINT = 'on Debian: `apt-get install libgl1 libglib2.0-0`'


class Requirement(NamedTuple):
    """A module that has to be installed, in a range of versions."""

    name: str
    minimum: str
    below: str | None = None

    @property
    def range(self) -> str:
        """The range as pip writes it, such as `>=2.0.0,<3.0`."""
        return f'>={self.minimum}' + (f',<{self.below}' if self.below else '')

    def accepts(self, version: str) -> bool:
        """Whether a version lies in the range."""
        release = release_of(version)
        return release_of(self.minimum) <= release and (self.below is None or release < release_of(self.below))


REQUIREMENTS = (
    Requirement('torch', '2.3'),  # has torch.amp.GradScaler; nothing older than 2.14 was ever run
    Requirement('mmengine', '0.10.0', '1.0'),
    Requirement('mmcv', '2.0.0', '3.0'),
    Requirement('mmdet', '3.0.0', '4.0'),
    Requirement('mmseg', '1.0.0', '2.0'),
    Requirement('mmpretrain', '1.0.0', '2.0'),
)


def release_of(version: str) -> tuple[int, ...]:
    """The release numbers of a version without trailing zeros: `'2.10.0+cpu'` gives `(2, 10)`."""
    match = re.match(r'\d+(\.\d+)*', version)
    numbers = [int(number) for number in match.group().split('.')] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def installed_version(name: str) -> str | None:
    """The `__version__` of a top-level module, found without importing the module.

    Importing mmseg or mmpretrain whole takes seconds, and mmdet's own check of mmcv's version would speak before ours.
    So only the package's `version.py` is loaded, by itself; every package in `REQUIREMENTS` has one.

    Args:
        name: The import name of the module.

    Returns:
        The version, or None where there is no such module or it does not tell its version.
    """
    if name in sys.modules:
        return getattr(sys.modules[name], '__version__', None)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name('version.py')
    if not file.is_file():
        return None
    version_spec = importlib.util.spec_from_file_location(f'_mmman_version_of_{name}', file)
    module = importlib.util.module_from_spec(version_spec)
    try:
        version_spec.loader.exec_module(module)
    except ImportError:  # the fork's file asks for its distribution, and there is none: a leftover folder
        return None
    return getattr(module, '__version__', None)


def mmcv_problem(version: str) -> str | None:
    """What keeps mmcv or its compiled ops from loading, or None.

    Args:
        version: mmcv's version, for the message.
    """
    module = 'torch'  # before the ops, which link against its libraries
    try:
        for module in ('torch', 'mmcv', 'mmcv._ext'):
            importlib.import_module(module)
    except ImportError as error:
        reason = ' '.join(str(error).split())
        if re.search(r'lib(GL|gthread|glib|SM|Xext|Xrender)\S*\.so', reason):
            return f'mmcv {version} cannot load OpenCV ({reason}); {SYSTEM_LIBRARIES_HINT}'
        if module != 'mmcv._ext':
            return f'{module} does not import ({reason}); {INSTALL_HINT}'
        if isinstance(error, ModuleNotFoundError):
            return f'mmcv {version} has no compiled ops (mmcv._ext is missing); {OPS_HINT}'
        return f"mmcv {version}'s compiled ops do not load ({reason}); {OPS_HINT}"
    return None


def find_problem() -> str | None:
    """What is missing or out of range on this machine, with actual values and what to run, or None."""
    if sys.version_info[:2] < MINIMUM_PYTHON:
        actual, minimum = ('.'.join(map(str, numbers)) for numbers in (sys.version_info[:3], MINIMUM_PYTHON))
        return f'Python is {actual}, >={minimum} is needed; {INSTALL_HINT}'

    versions = {required.name: installed_version(required.name) for required in REQUIREMENTS}
    wrong = []
    for required in REQUIREMENTS:
        version = versions[required.name]
        if version is None:
            wrong.append(f'{required.name} is not installed ({required.range} is needed)')
        elif not required.accepts(version):
            wrong.append(f'{required.name} is {version}, {required.range} is needed')
    if wrong:
        return f'{", ".join(wrong)}; {INSTALL_HINT}'
    return mmcv_problem(versions['mmcv'])


def check_environment() -> None:
    """Refuse to go on where a part is missing or has a version outside the range.

    Raises:
        ImportError: One line that names what is wrong, with actual values, and the command that puts it right.
    """
    problem = find_problem()
    if problem:
        raise ImportError(f'mmman cannot run here: {problem}.')
