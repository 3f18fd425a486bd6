"""What a user calls: configs in blocks, reading and starting them, publishing and exporting what was trained."""

from .complete import complete_config
from .config_parts import NotLocalizableError
from .localization import localize
from .runner import LocalRunner
from .validation import validate

__all__ = ['LocalRunner', 'NotLocalizableError', 'complete_config', 'localize', 'validate']
