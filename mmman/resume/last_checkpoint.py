"""Where the latest checkpoint is, also after the folder was moved or copied."""

import os.path as osp
from collections.abc import Sequence
from pathlib import Path

LAST_CHECKPOINT = 'last_checkpoint'


def last_checkpoint(work_dir: str | Path) -> str | None:
    """What mmengine's file ``last_checkpoint`` in a folder names: an absolute path; None where there is no such file.

    Args:
        work_dir (str | Path): The folder.
    """
    file = Path(work_dir, LAST_CHECKPOINT)
    return file.read_text().strip() if file.is_file() else None


def moved_checkpoint(work_dir: str | Path, folders: Sequence[str | Path] = ()) -> str | None:
    """The latest checkpoint of a run whose folder was moved or copied since it was written.

    Of a moved folder ``last_checkpoint`` names a file that is gone, and of a copied one a file of the original.

    Args:
        work_dir (str | Path): The folder of the run, where ``last_checkpoint`` is.
        folders (Sequence[str | Path]): Where else the run's checkpoints may be.

    Returns:
        str | None: The file of the same name beside ``last_checkpoint``, or in one of the other folders. None where the
        named file is in one of these folders, is on no disk of this machine, or has no namesake there.
    """
    named = last_checkpoint(work_dir)
    if named is None or '://' in named:
        return None
    places = [Path(osp.abspath(folder)) for folder in (work_dir, *folders)]
    if osp.exists(named) and any(place.is_dir() and place.samefile(Path(named).parent) for place in places):
        return None
    found = (place / Path(named).name for place in places)
    return next((str(path) for path in found if path.exists()), None)
