"""Files that are whole or not there, whenever the process is killed."""

import os
from pathlib import Path
from typing import Any

from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend

PART_SUFFIX = '.mmman-part'


@register_backend('mmman_atomic')
class AtomicLocalBackend(LocalBackend):
    """The local disk; a file gets its name after all of it is on the disk, and replaces an older one at once.

    What a killed process leaves is a file whose name ends with ``PART_SUFFIX``.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj (bytes): Its contents.
            filepath (str | Path): Where; the folder is made if there is none.
        """
        part = f'{filepath}{PART_SUFFIX}'
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


class PostponedRemoval:
    """A storage backend that keeps what is to be removed until it is told that this is not needed any more.

    Args:
        backend (BaseStorageBackend): The backend that does all.

    Attributes:
        outdated (list[str]): What is to be removed, files and folders.
    """

    def __init__(self, backend: BaseStorageBackend) -> None:
        self._backend = backend
        self.outdated: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file or folder, to be removed later."""
        self.outdated.append(path)

    rmtree = remove  # sharded checkpoints are folders

    def remove_outdated(self) -> None:
        """Remove what was noted, as far as it is still there."""
        for path in self.outdated:
            if self._backend.isfile(path):
                self._backend.remove(path)
            elif self._backend.isdir(path):
                self._backend.rmtree(path)
        self.outdated = []
