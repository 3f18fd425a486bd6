"""Train OpenMMLab backbones in gradient-isolated blocks with MAN++ local learning.

Importing the package registers everything that configs name, so `custom_imports = dict(imports=['mmman'])` is enough.
"""

from .compatibility import check_environment
from .version import __version__

# First, because a missing part or a wrong version would fail further down with a message that helps nobody.
check_environment()

from . import engine, local_heads, models  # noqa: E402

__all__ = ['__version__', 'engine', 'local_heads', 'models']
