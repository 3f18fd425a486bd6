"""What an operation of torch is given, and what of it it writes to, by its schema."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def arguments_of(func: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """An operation's arguments by name, those left out not among them."""
    return dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs


def tensors_given(args: tuple, kwargs: dict) -> Iterator[Tensor]:
    """The tensors that an operation is given, those in lists among them; lists do not lie in one another."""
    for given in (*args, *kwargs.values()):
        if isinstance(given, Tensor):
            yield given
        elif isinstance(given, (list, tuple)):
            yield from (each for each in given if isinstance(each, Tensor))


def written_by(func: Any, args: tuple, kwargs: dict) -> list[Any]:
    """The arguments that an operation writes to, tensors or lists of them."""
    written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    if not written:  # most: they run by the thousand
        return []
    given = arguments_of(func, args, kwargs)
    return [given[name] for name in written if given.get(name) is not None]
