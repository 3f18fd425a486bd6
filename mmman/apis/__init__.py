"""What a user calls: configs in blocks, reading and starting them, publishing and exporting what was trained."""

from .complete import complete_config
from .localization import NotLocalizableError, localize
from .runner import LocalRunner

__all__ = ['LocalRunner', 'NotLocalizableError', 'complete_config', 'localize']
