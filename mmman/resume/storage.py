"""Files that are whole or not there, whenever the process is killed."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

PART_SUFFIX = '.mmman-part'


@register_backend('mmman_atomic')
class AtomicLocalBackend(LocalBackend):
    """The local disk; a file gets its name after all of it is on the disk, and replaces an older one at once.

    What a killed process leaves is a file whose name ends with the owner's and ``PART_SUFFIX``.

    Args:
        owner (str): Who writes. Several that write to the same file at once do not disturb each other. Defaults to
            ``''``.
    """

    def __init__(self, owner: str = '') -> None:
        self._suffix = f'.{owner}{PART_SUFFIX}'

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj (bytes): Its contents.
            filepath (str | Path): Where; the folder is made if there is none.
        """
        part = f'{filepath}{self._suffix}'
        os.makedirs(os.path.dirname(part) or '.', exist_ok=True)
        with open(part, 'wb') as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, filepath)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file.

        Args:
            obj (str): Its contents.
            filepath (str | Path): Where; the folder is made if there is none.
            encoding (str): Its encoding. Defaults to ``'utf-8'``.
        """
        self.put(obj.encode(encoding), filepath)

    def remove_parts(self, folder: str | Path) -> None:
        """Remove what the owner left in a folder when it was killed; what another one is writing there stays."""
        for part in Path(folder).glob(f'*{self._suffix}'):
            part.unlink()
