"""Where a model's config has its backbone, and the config without pretrained weights."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import ConfigDict

from mmman.toolboxes import type_name

# Where models have their backbone: parts that hold another model, and the names of the backbone itself.
HOLDERS = ('detector', 'model', 'module')
BACKBONES = ('backbone', 'image_encoder')
WEIGHTS = ('pretrained', 'teacher_ckpt')


class NotLocalizableError(ValueError):
    """A config that cannot be turned into one of local learning; the message is one line with the next thing to try."""


def find_backbone(model: Mapping[str, Any] | None, local: bool = False) -> tuple[Any, str | int]:
    """Find the backbone in a model's config.

    Args:
        model (Mapping, optional): The model's config.
        local (bool): Whether it may be a ``mmman.LocalBackbone`` already. Defaults to False.

    Returns:
        tuple: The dict or list that holds it, and its key there.

    Raises:
        NotLocalizableError: If there is none.
    """
    model = inner_model(model or {})
    for key in BACKBONES:
        found = model.get(key)
        if isinstance(found, (list, tuple)) and found and isinstance(found[0], Mapping):
            return found, 0
        if isinstance(found, Mapping) and found.get('type') is not None:
            if type_name(found['type']) == 'LocalBackbone' and not local:
                raise NotLocalizableError(f'model.{key} is a LocalBackbone already: train this config as it is')
            return model, key
    parts = ', '.join(name for name, part in model.items() if isinstance(part, Mapping)) or 'nothing'
    raise NotLocalizableError(
        f'{type_name(model.get("type")) or "the model"} has no backbone (it has {parts}): write one with '
        "type='mmman.LocalBackbone' yourself"
    )


def inner_model(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model that has the backbone: a tracker's detector, the one that a semi-supervised detector teaches."""
    for holder in HOLDERS:
        inner = model.get(holder)
        if isinstance(inner, Mapping) and not any(key in model for key in BACKBONES):
            return inner_model(inner)
    return model


def dicts_in(*parts: Any) -> Iterator[Any]:
    """All dicts in some parts of a config, the outer ones first.

    Args:
        parts (Any): Dicts, lists and values.
    """
    for part in parts:
        if isinstance(part, Mapping):
            yield part
            yield from dicts_in(*part.values())
        elif isinstance(part, (list, tuple)):
            yield from dicts_in(*part)


def is_local(model: Any) -> bool:
    """Whether there is a LocalBackbone in a model's config."""
    return any(type_name(part.get('type')) == 'LocalBackbone' for part in dicts_in(model))


def without_weights(config: Any) -> Any:
    """The config of a model or a part of it that loads no pretrained weights.

    Args:
        config (Any): A dict of settings, a list of such or a value; it stays as it is.
    """
    if isinstance(config, Mapping):
        kept = {key: without_weights(value) for key, value in config.items() if key not in WEIGHTS}
        # PVT's has no type.
        if isinstance(kept.get('init_cfg'), Mapping) and 'checkpoint' in kept['init_cfg']:
            kept['init_cfg'] = None
        return ConfigDict(kept)
    if isinstance(config, (list, tuple)):
        return type(config)(map(without_weights, config))
    return config
