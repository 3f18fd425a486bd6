"""What a user calls: reading configs, starting runs, publishing and exporting what was trained."""

from .runner import LocalRunner, complete_config

__all__ = ['LocalRunner', 'complete_config']
