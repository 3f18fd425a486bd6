"""What an operation of torch is given, and what of it it writes to, by its schema."""

from typing import Any


def arguments_of(func: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """An operation's arguments by name, those left out not among them."""
    return dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs


def written_by(func: Any, args: tuple, kwargs: dict) -> list[Any]:
    """The arguments that an operation writes to, tensors or lists of them."""
    written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    if not written:  # most: they run by the thousand
        return []
    given = arguments_of(func, args, kwargs)
    return [given[name] for name in written if given.get(name) is not None]
