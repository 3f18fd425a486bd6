"""A segment: the smallest part of a backbone that a block can begin or end with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """One step of a backbone's forward pass: the stem, a residual unit, a transformer layer.

    It holds names, not modules: a model that was deep-copied (``EMAHook``) or had layers replaced (SyncBN conversion)
    resolves them against itself.

    Args:
        name (str): The segment's name in configs and messages, e.g. ``'stem'`` or ``'layer3.5'``: the qualified name of
            the submodule that an auxiliary network would copy, where there is one.
        stage (str): The stage it belongs to, e.g. ``'layer3'``. The stem belongs to the first stage.
        owns (tuple[str, ...]): Qualified names of its submodules and of parameters that belong to no submodule (a class
            token).
        closes (int, optional): The key of the feature that is complete after this segment, of which the backbone makes
            an output; the entry of ``out_indices`` for most.
    """

    name: str
    stage: str
    owns: tuple[str, ...]
    closes: int | None = None
