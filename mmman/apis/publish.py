"""Publish what a locally learned model has learned: a plain checkpoint for the stock toolbox, and nothing else."""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmman.models import local_prefixes

SAVE_KEYS = ('meta', 'state_dict')
# Of a run's meta data: not its config, which may name local learning, paths and hosts.
META_KEYS = ('dataset_meta', 'epoch', 'iter', 'mmengine_version')


def plain_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what local learning adds: all that lies under ``<name of the backbone>.local.``.

    A module of another model that is called ``local``, too, stays.

    Args:
        state_dict (Mapping): State of a model whose backbone is a ``LocalBackbone``, or of any other model.

    Returns:
        dict: The state of the unwrapped model, in the same order, with PyTorch's ``_metadata`` where there is any.
    """
    added = local_prefixes(state_dict)
    plain = OrderedDict((key, value) for key, value in state_dict.items() if not key.startswith(added))
    if hasattr(state_dict, '_metadata'):  # the modules' versions, by which some modules read older checkpoints
        plain._metadata = OrderedDict(
            (key, value) for key, value in state_dict._metadata.items() if not f'{key}.'.startswith(added)
        )
    return plain


def publish(checkpoint_path: str | Path, out_path: str | Path, save_keys: Sequence[str] = SAVE_KEYS) -> Path:
    """Write the plain part of a checkpoint, in a form that ``torch.load(..., weights_only=True)`` reads.

    With ``EMAHook`` the entry ``state_dict`` of a checkpoint is the averaged model: this is what gets published.

    Args:
        checkpoint_path (str | Path): A checkpoint of mmengine's runner.
        out_path (str | Path): Where to write. As OpenMMLab does, the first eight digits of the file's SHA-256 are added
            to the name: ``retinanet.pth`` becomes ``retinanet-1a2b3c4d.pth``.
        save_keys (Sequence[str]): The checkpoint's entries to keep. Defaults to ``('meta', 'state_dict')``.

    Returns:
        Path: The written file.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is no checkpoint of a model, or an entry asked for is missing or holds more than plain data.
    """
    path, out_path = Path(checkpoint_path), Path(out_path)
    checkpoint = load_checkpoint(path)
    missing = [key for key in save_keys if key not in checkpoint and key not in SAVE_KEYS]
    if missing:
        raise ValueError(f"'{path}' has no {', '.join(missing)} to save; it has {', '.join(checkpoint)}")

    published = {}
    for key in (key for key in checkpoint if key in save_keys):
        if key == 'meta':
            published[key] = {name: _plain(checkpoint[key][name]) for name in META_KEYS if name in checkpoint[key]}
        elif key.endswith('state_dict'):  # the model's, and `ema_state_dict`
            published[key] = plain_state_dict(checkpoint[key])
        else:
            published[key] = checkpoint[key]

    # In memory, because torch writes a file's name into the file, and the digest is to tell the contents only.
    buffer = io.BytesIO()
    torch.save(published, buffer)
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except Exception as error:
        others = ', '.join(key for key in published if key not in SAVE_KEYS) or 'state_dict'
        raise ValueError(f"cannot publish {others} of '{path}': torch.load(weights_only=True) refuses it") from error
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    final = out_path.with_name(f'{out_path.name.removesuffix(".pth")}-{digest[:8]}.pth')
    final.parent.mkdir(parents=True, exist_ok=True)
    final.write_bytes(buffer.getbuffer())
    return final


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of mmengine's runner, or a published one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of a model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint '{path}'")
    try:
        # A checkpoint to resume from holds more than tensors: loggers' histories, random states.
        checkpoint = torch.load(path, map_location='cpu', weights_only=False)
    except Exception as error:  # unpickling fails in many ways
        raise ValueError(f"'{path}' is not a checkpoint that torch can read: {error}".splitlines()[0]) from error
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get('state_dict'), Mapping):
        found = f'it has {", ".join(map(str, list(checkpoint)[:4]))}, ...' if isinstance(checkpoint, Mapping) else ''
        raise ValueError(f"'{path}' has no entry state_dict, as checkpoints of mmengine's runner have; {found}")
    return checkpoint


def _plain(value: Any) -> Any:
    """The same in Python's own types. Tuples stay: the visualisers take a list for many colours, a tuple for one."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list | set):
        return (tuple if isinstance(value, tuple) else list)(_plain(item) for item in value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
