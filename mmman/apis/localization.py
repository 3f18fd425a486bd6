"""From any config to one of local learning."""

import copy
import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmman.costs.variants import lean_losses
from mmman.models import LocalBackbone
from mmman.models.with_cp import WithCP
from mmman.partition import family_of, make_blocks
from mmman.registry import MODELS
from mmman.toolboxes import register_toolbox, toolbox_of, type_name

from .complete import complete_config
from .config_parts import NotLocalizableError, find_backbone, inner_model, without_weights
from .default_heads import light_heads
from .default_partition import choose_partition

MAN_PLUS_PLUS = dict(type='mmman.MomentumAuxiliary', momentum=0.995)


def localize(
    cfg: Config,
    num_blocks: int | None = None,
    partition: dict[str, Any] | None = None,
    auxiliary: dict[str, Any] | None = MAN_PLUS_PLUS,
    local_head: dict[str, Any] | list[dict[str, Any]] | None = None,
    lean: bool = False,
    with_cp: WithCP | None = None,
    recompute: Mapping[str, Sequence[str]] | None = None,
    drop_outputs: Sequence[int] = (),
    efficient_conv_bn_eval: bool = False,
    memory: str | int | None = None,
) -> Config:
    """Turn a config into one of local learning (contract 10).

    The result is an ordinary config: it can be dumped, inherited and read. Optimizer, schedules, hooks, classes, frozen
    stages and pretrained weights stay.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain, of text or lazy. It stays as it is.
        num_blocks (int, optional): K, by stage. Fewer where the backbone has fewer stages, with a line in the log. 1
            trains end to end, and takes what saves memory there: the arguments from ``lean`` on. Defaults to 4.
        partition (dict, optional): Where to cut, in the place of ``num_blocks``: see
            :func:`mmman.partition.make_blocks`.
        auxiliary (dict, optional): Config of the auxiliary networks; None for the plain host method. Defaults to MAN++.
        local_head (dict | list[dict], optional): Config of the local heads. Defaults to light ones for what the model
            learns: see :func:`light_heads`.
        lean (bool): The same training in less memory: losses that keep their inputs only
            (:func:`mmman.costs.variants.lean_losses`), and, unless ``with_cp`` says otherwise, the first of several
            blocks computed again in its backward. Defaults to False.
        with_cp (bool | Sequence[int] | Mapping, optional): What of the backbone is computed again: see
            :class:`mmman.models.LocalBackbone`.
        recompute (Mapping, optional): What of neck and heads is computed again, by how: ``full`` and ``selective``,
            lists of names; the ``parts`` and ``selective`` of :class:`mmman.hooks.RecomputeHook`.
        drop_outputs (Sequence[int]): Outputs of the backbone that nothing uses; see there. Defaults to none.
        efficient_conv_bn_eval (bool): Whether convolutions and norms in eval mode run as one; see there. Defaults to
            False.
        memory (str | int, optional): Bytes, such as ``'8GB'``, in the place of all other choices: the plan with the
            least work that fits is made and taken, which may be one end to end.

    Returns:
        Config: The new config.

    Raises:
        CannotPlanError: If nothing fits into ``memory``.
        NotLocalizableError: If there is no backbone, if it cannot be cut, if no local head fits, or if nothing is
            trained. :func:`mmman.validate` finds all reasons at once.
    """
    if memory is not None:
        from .memory_plan import plan_config  # which turns configs into local ones to measure them

        others = (num_blocks, partition, local_head, with_cp, recompute)
        if any(each is not None for each in others) or auxiliary != MAN_PLUS_PLUS or drop_outputs:
            raise NotLocalizableError(f'give memory={memory!r} or other choices, not both: the plan makes them')
        planned = plan_config(cfg, memory)
        cfg = localize(cfg, **planned.settings)
        cfg.default_hooks = dict(cfg.get('default_hooks') or {}) | dict(plan=planned.hook)
        return cfg
    check_training(cfg)
    wrapper_options = ddp_options(cfg)
    whole = num_blocks == 1 and partition is None and bool(lean or with_cp or recompute or efficient_conv_bn_eval)
    if lean and not whole and with_cp is None:
        with_cp = [1]
    saving = dict(with_cp=with_cp, drop_outputs=drop_outputs, efficient_conv_bn_eval=efficient_conv_bn_eval)
    saving = {name: value for name, value in saving.items() if value}
    if whole and not saving:
        cfg = without_local_settings(lean_losses(cfg) if lean else cfg)
        if recompute:
            cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), recompute_hook(recompute)]
        return cfg
    cfg = one_block(cfg) if whole else wrap_backbone(cfg, num_blocks, partition, auxiliary, local_head)
    if lean:  # the local heads' losses, too
        cfg = lean_losses(cfg)
    holder, key = find_backbone(cfg.model, local=True)
    holder[key].update(saving)
    if recompute:
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), recompute_hook(recompute)]
    cfg.custom_imports = imports_with_mmman(cfg)
    cfg.model_wrapper_cfg = dict(type='mmman.LocalDistributedDataParallel', **wrapper_options)
    return complete_config(cfg)


def wrap_backbone(
    cfg: Config,
    num_blocks: int | None = None,
    partition: dict[str, Any] | None = None,
    auxiliary: dict[str, Any] | None = MAN_PLUS_PLUS,
    local_head: dict[str, Any] | list[dict[str, Any]] | None = None,
) -> Config:
    """The config with a ``mmman.LocalBackbone`` in the backbone's place, all else as it was; see :func:`localize`."""
    if num_blocks is not None and partition is not None:
        raise NotLocalizableError(f'give num_blocks={num_blocks} or partition={partition}, not both')
    scope = toolbox_of(cfg)
    register_toolbox(scope)
    cfg = copy.deepcopy(cfg)
    with DefaultScope.overwrite_default_scope(scope):
        holder, key = find_backbone(cfg.get('model'))
        plain = holder[key]
        model = inner_model(cfg.model)
        try:
            heads = [local_head] if local_head is not None else light_heads(model)
            backbone = MODELS.build(without_weights(plain))
            family = family_of(backbone)
            if partition is None:
                partition = choose_partition(family, backbone, num_blocks or 4, model)
            make_blocks(family.segments(backbone), **partition)
            chosen = _first_that_fits(plain, partition, auxiliary, heads)
        except (TypeError, ValueError, KeyError) as error:
            raise NotLocalizableError(f'local learning does not fit this config: {_one_line(error)}') from error
    holder[key] = ConfigDict(
        type='mmman.LocalBackbone', backbone=plain, partition=partition, auxiliary=auxiliary, local_head=chosen
    )
    return cfg


def one_block(cfg: Config) -> Config:
    """The config with its backbone in a ``mmman.LocalBackbone`` of one block: end to end.

    Raises:
        NotLocalizableError: If there is no backbone, or none that can be taken apart.
    """
    cfg = copy.deepcopy(cfg)
    scope = toolbox_of(cfg)
    register_toolbox(scope)
    with DefaultScope.overwrite_default_scope(scope):
        holder, key = find_backbone(cfg.get('model'))
        try:
            family_of(MODELS.build(without_weights(holder[key])))
        except (TypeError, ValueError) as error:
            raise NotLocalizableError(f'this backbone cannot be taken apart: {_one_line(error)}') from error
    holder[key] = ConfigDict(type='mmman.LocalBackbone', backbone=holder[key], partition=dict(num_blocks=1))
    return cfg


def without_local_settings(cfg: Config) -> Config:
    """The config without what names local learning beside the model."""
    cfg = copy.deepcopy(cfg)
    cfg.pop('local_learning', None)
    if type_name(cfg.get('runner_type')) == 'LocalRunner':
        cfg.pop('runner_type')
    return cfg


def imports_with_mmman(cfg: Config) -> dict[str, Any]:
    """A config's ``custom_imports`` with mmman behind its own."""
    imports = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = imports['imports'] if isinstance(imports['imports'], list) else [imports['imports']]
    return dict(imports) | dict(imports=[*(n for n in names if n != 'mmman'), 'mmman'])


def recompute_hook(recompute: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The hook that recomputes what of neck and heads is named, by how.

    Raises:
        NotLocalizableError: If there is another key than ``full`` and ``selective``.
    """
    known = {'full': 'parts', 'selective': 'selective'}
    if unknown := sorted({*recompute} - {*known}):
        raise NotLocalizableError(f'local_learning.recompute has the keys full and selective, got {unknown[0]!r}')
    return dict(type='mmman.RecomputeHook', **{known[mode]: list(names) for mode, names in recompute.items()})


def check_choices(choices: Mapping[str, Any]) -> None:
    """Refuse choices that :func:`localize` does not know.

    Args:
        choices (Mapping): Its arguments, by their names.

    Raises:
        NotLocalizableError: If it has no such argument.
    """
    known = [name for name in inspect.signature(localize).parameters if name != 'cfg']
    for name in choices:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f': did you mean {near[0]!r}?' if near else ''
            raise NotLocalizableError(f'local_learning has no key {name!r}{hint} It takes {", ".join(known)}')


def _first_that_fits(
    backbone: Mapping[str, Any],
    partition: dict[str, Any],
    auxiliary: dict[str, Any] | None,
    heads: Sequence[Any],
) -> Any:
    """The first of some configs of local heads that can be built at the ends of the blocks."""
    errors = []
    for head in heads:
        try:
            LocalBackbone(MODELS.build(without_weights(backbone)), partition, copy.deepcopy(head), auxiliary)
        except ValueError as error:
            errors.append(error)
            continue
        if errors:
            print_log(f'localize: another local head is taken, because {_one_line(errors[-1])}', logger='current')
        return head
    raise errors[0]


def check_training(cfg: Config) -> None:
    """Refuse a config that trains nothing.

    Args:
        cfg (Config): The config.

    Raises:
        NotLocalizableError: If it has no optimizer.
    """
    if not (cfg.get('optim_wrapper') or {}).get('optimizer'):
        raise NotLocalizableError(
            'the config has no optim_wrapper with an optimizer, so it trains nothing: name one, '
            "optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))"
        )


def ddp_options(cfg: Config) -> dict[str, Any]:
    """What a config tells its model wrapper on several processes.

    Args:
        cfg (Config): The config.

    Raises:
        NotLocalizableError: If the wrapper is none that trains blocks.
    """
    own = cfg.get('model_wrapper_cfg')
    if own is None:
        unused = cfg.get('find_unused_parameters')
        return {} if unused is None else dict(find_unused_parameters=unused)
    kind = type_name(own.get('type'))
    if kind not in ('MMDistributedDataParallel', 'LocalDistributedDataParallel'):
        raise NotLocalizableError(
            f'model_wrapper_cfg is {kind}: blocks train in mmman.LocalDistributedDataParallel, leave it out'
        )
    return {key: value for key, value in own.items() if key != 'type'}


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
