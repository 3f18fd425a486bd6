"""Which checkpoints are a run's own: it removes no others."""

import zipfile
from pathlib import Path
from typing import Any

from mmengine.fileio import BaseStorageBackend

RUN_ID = 'run_id'  # among a checkpoint's meta data


class OwnFiles:
    """A storage backend that removes only what a run wrote, and only when it is told that this is not needed any more.

    A run is known by its id, which stands in every checkpoint that it writes, and which a resumed run keeps. So a
    folder may be moved or copied, and may hold checkpoints of several runs.

    Args:
        backend (BaseStorageBackend): The backend that does all.
        folder (str): Where the run's checkpoints are.
        run_id (str): The run's id, long and random: it is looked for in the bytes of a checkpoint.

    Attributes:
        outdated (list[str]): What is to be removed, files and folders.
    """

    def __init__(self, backend: BaseStorageBackend, folder: str, run_id: str) -> None:
        self._backend = backend
        self._folder = folder
        self._run_id = run_id
        self.outdated: list[str] = []
        self._written: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def path(self, name: str) -> str:
        """The path of a file in the run's folder, by its name or by the path it had before the folder was moved."""
        return self._backend.join_path(self._folder, Path(name).name)

    def wrote(self, path: str) -> None:
        """Note that the run wrote a file or folder: it is its own, and needed if it was not before."""
        self._written.add(path)
        self.outdated = [other for other in self.outdated if other != path]

    def has(self, path: str) -> bool:
        """Whether a file, or a folder with a sharded checkpoint, is there and is the run's own."""
        if self._backend.isdir(path):
            names = self._backend.list_dir_or_file(path, list_dir=False, recursive=True)
            files = [self._backend.join_path(path, name) for name in names]
        else:
            files = [path] if self._backend.isfile(path) else []
        return bool(files) and (path in self._written or any(map(self._holds_id, files)))

    def _holds_id(self, path: str) -> bool:
        # The pickled part of a checkpoint is searched, not loaded: a file of somebody else may not be one.
        with self._backend.get_local_path(path) as local:
            if not zipfile.is_zipfile(local):
                return False
            with zipfile.ZipFile(local) as archive:
                pickled = [name for name in archive.namelist() if name.endswith('.pkl')]
                return any(self._run_id.encode() in archive.read(name) for name in pickled)

    def remove(self, path: str) -> None:
        """Note a file or folder of the run, to be removed later; what is not its own stays."""
        if path not in self.outdated and self.has(path):
            self.outdated.append(path)

    rmtree = remove  # sharded checkpoints are folders

    def remove_outdated(self) -> None:
        """Remove what was noted, as far as it is still there."""
        for path in self.outdated:
            if self._backend.isfile(path):
                self._backend.remove(path)
            elif self._backend.isdir(path):
                self._backend.rmtree(path)
            self._written.discard(path)
        self.outdated = []
