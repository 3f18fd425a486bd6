"""Which options each parameter is trained with, and by which block's optimizer."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mmman.models import LocalBackbone, LocalLearning

# Parts of the names of what local learning adds: a key of `custom_keys` that has one of them is meant for it.
LOCAL_NAMES = frozenset(['local', 'auxiliary', 'learnable_bias', 'further', 'ema'])

Build = Callable[[nn.Module, dict[str, dict] | None], Optimizer]


def groups_by_block(
    model: nn.Module, backbone: LocalBackbone, custom_keys: dict[str, dict], build: Build
) -> list[list[dict[str, Any]]]:
    """Share the parameters of a model out among its blocks, each with the options that it would have end to end.

    The options come from an ordinary constructor. It is shown the model without local learning, but for what starts
    fresh (local heads, the scales s): that stands under the model's own head, and so gets what the head gets. Trainable
    copies in the auxiliary networks get, parameter by parameter, the options of their source. Keys of ``custom_keys``
    that name local learning (``'backbone.local'``, ``'auxiliary'``) hold for all that they name, before other keys.

    A parameter is a member of its block whether it is frozen or not: it may be unfrozen later. EMA's are left out.

    Args:
        model (nn.Module): The model, not wrapped.
        backbone (LocalBackbone): Its backbone.
        custom_keys (dict): Options by substrings of parameters' names, as ``paramwise_cfg`` has them.
        build (Callable): Builds an optimizer for a model as the constructor does; given ``custom_keys``, with these in
            the place of the config's.

    Returns:
        list[list[dict]]: The parameter groups of each block, in the order of the model's parameters.

    Raises:
        ValueError: If a key names a part of local learning that does not exist, or a block would have no parameter.
    """
    local = backbone.local
    names = {param: name for name, param in model.named_parameters()}
    added, copies, averaged = set(local.parameters()), _copies(local), averaged_parameters(local)
    # Whose options a parameter gets.
    patterns = {p: copies.get(p, p) for p in names if p not in averaged}
    given = _options(_end_to_end(model, backbone, set(patterns.values())), build, None)
    options = {param: given.get(pattern) for param, pattern in patterns.items()}

    keys = _keys_of_local_learning(custom_keys, local, names.values())
    named = {p: key for p in patterns if p in added and (key := next((key for key in keys if key in names[p]), None))}
    for key in dict.fromkeys(named.values()):
        mine = {param: patterns[param] for param, its_key in named.items() if its_key == key}
        # The empty string is a part of every name.
        given = _options(_end_to_end(model, backbone, set(mine.values())), build, {'': custom_keys[key]})
        options.update({param: given.get(pattern) for param, pattern in mine.items()})
    return _share_out(local, names, {param: its for param, its in options.items() if its is not None})


def _copies(local: LocalLearning) -> dict[nn.Parameter, nn.Parameter]:
    """The trainable copies in the auxiliary networks, each with the parameter that it is a copy of."""
    copies = {}
    for block in local.blocks[:-1]:
        auxiliary, sources = local.branch(block).auxiliary, local.next_segments(block)
        if auxiliary is not None:
            for name, i in auxiliary.copies().items():
                source = dict(sources[i].named_parameters())
                copies.update({p: source[n] for n, p in auxiliary.get_submodule(name).named_parameters()})
    return copies


def averaged_parameters(local: LocalLearning) -> set[nn.Parameter]:
    """The parameters that follow others (EMA) and never learn."""
    auxiliaries = [local.branch(block).auxiliary for block in local.blocks[:-1]]
    return {param for a in auxiliaries if a is not None for param in a.averaged_parameters()}


def _scales(local: LocalLearning) -> set[nn.Parameter]:
    auxiliaries = [local.branch(block).auxiliary for block in local.blocks[:-1]]
    return {a.scale for a in auxiliaries if a is not None and a.scale is not None}


def _keys_of_local_learning(custom_keys: dict[str, dict], local: LocalLearning, names: Collection[str]) -> list[str]:
    """The keys that are meant for what local learning adds, in mmengine's order: the longest first."""
    for key in custom_keys:
        if 'local' in key.split('.') and not any(key in name for name in names):
            raise ValueError(
                f"optim_wrapper.paramwise_cfg.custom_keys: {key!r} is a part of no parameter's name; what local "
                f'learning adds stands under {", ".join(f"local.{place}" for place in local)}'
            )
    # A place tells only where no other module is called like it (as a stem is).
    own = {part for name in names if '.local.' not in name for part in name.split('.')}
    marks = LOCAL_NAMES | (set(local) - own)
    keys = sorted(key for key in custom_keys if marks & set(key.split('.')))
    return sorted(keys, key=len, reverse=True)


# ------------------------------------------------------------------------------ the model as a constructor is shown it


def _end_to_end(model: nn.Module, backbone: LocalBackbone, kept: Collection[nn.Parameter]) -> nn.Module:
    """The model as if it was trained end to end: what local learning adds stands under the model's own head.

    Args:
        model (nn.Module): The model. It is not changed; its parameters are shared.
        backbone (LocalBackbone): Its backbone.
        kept (Collection[nn.Parameter]): The parameters to keep. Modules are kept even if nothing is left in them.
    """
    shown: dict[nn.Module, nn.Module] = {}
    _shallow(model, kept, shown)
    del shown[backbone]._modules['local']
    head = shown[_head_of(model, backbone)]
    for block in backbone.local.blocks[:-1]:
        head._modules[f'local{block.index}'] = _shallow(backbone.local.branch(block), kept, shown)
    return shown[model]


def _shallow(module: nn.Module, kept: Collection[nn.Parameter], shown: dict[nn.Module, nn.Module]) -> nn.Module:
    """A copy of a tree of modules with the same parameters; ``shown`` has the copy of each module."""
    if module not in shown:
        # Not copy.copy: parametrized modules of torch refuse it.
        copied = shown[module] = object.__new__(type(module))
        copied.__dict__.update(module.__dict__)
        params, children = module._parameters.items(), module._modules.items()
        copied.__dict__['_parameters'] = {name: p for name, p in params if p is None or p in kept}
        copied.__dict__['_modules'] = {
            name: None if child is None else _shallow(child, kept, shown) for name, child in children
        }
    return shown[module]


def _head_of(model: nn.Module, backbone: LocalBackbone) -> nn.Module:
    """The model's own head: the first module with parameters beside the backbone, or further out, but for the neck.

    Of several heads the first is the one that is like local heads: a detector's RPN, a segmentor's decode head.
    """
    path = next(name for name, module in model.named_modules() if module is backbone)
    while path:
        path, _, below = path.rpartition('.')
        for name, child in model.get_submodule(path).named_children():
            if name not in (below, 'neck') and next(child.parameters(), None) is not None:
                return child
    return model


# ------------------------------------------------------------------------------------------- options, and who has them


@dataclass(frozen=True, eq=False)
class _Options:
    """Options of a parameter group.

    Args:
        values (dict): All entries but the parameters.
        names (tuple[str, ...]): Keys of the entries that say the parameters' names.
    """

    values: dict[str, Any]
    names: tuple[str, ...]

    def group(self, names: dict[nn.Parameter, str], **others: Any) -> dict[str, Any]:
        """A group of other parameters, given with their names."""
        own = list(names.values())
        renamed = {key: own if isinstance(self.values[key], list) else own[0] for key in self.names}
        return {**self.values, **renamed, **others, 'params': list(names)}


def _options(shown: nn.Module, build: Build, custom_keys: dict[str, dict] | None) -> dict[nn.Parameter, _Options]:
    """The options that a constructor gives to each parameter of a model, frozen ones included."""
    with _all_trainable(shown):  # some constructors leave out what is frozen, others do not
        groups = build(shown, custom_keys).param_groups
    names = {param: name for name, param in shown.named_parameters()}
    options = {}
    for group in groups:
        values = {key: value for key, value in group.items() if key != 'params'}
        own = [names[param] for param in group['params']]
        naming = (key for key, value in values.items() if isinstance(value, str | list) and value in (own, *own))
        options.update(dict.fromkeys(group['params'], _Options(values, tuple(naming))))
    return options


@contextmanager
def _all_trainable(module: nn.Module) -> Iterator[None]:
    frozen = [p for p in module.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for param in frozen:
            param.requires_grad_(True)
        yield
    finally:
        for param in frozen:
            param.requires_grad_(False)


def _share_out(
    local: LocalLearning, names: dict[nn.Parameter, str], options: dict[nn.Parameter, _Options]
) -> list[list[dict[str, Any]]]:
    owners, scales = local.block_of_parameters(), _scales(local)
    shares: dict[int, dict[tuple[_Options, bool], dict[nn.Parameter, str]]] = {b.index: {} for b in local.blocks}
    for param, name in names.items():
        if param in options:
            share = shares[owners.get(param, len(local.blocks))]
            share.setdefault((options[param], param in scales), {})[param] = name
    for block in local.blocks:
        if not shares[block.index]:
            raise ValueError(
                f'{block} would have no parameters to train: the constructor of the optimizer wrapper gives them to no '
                'optimizer. Let it take them, or train with partition=dict(num_blocks=1)'
            )
    return [
        [
            its.group(params, **(dict(weight_decay=0.0) if is_scale else {}))
            for (its, is_scale), params in shares[block.index].items()
        ]
        for block in local.blocks
    ]
