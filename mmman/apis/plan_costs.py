"""From a config to what its parts cost, measured in a process of its own."""

import copy
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import import_modules_from_strings

from mmman.costs import CannotRunDry, measure_parts
from mmman.costs.network import num_images
from mmman.costs.operation_times import OperationTimes
from mmman.costs.part_costs import PartCosts
from mmman.costs.variants import hooks_but, lean_losses, mixed_precision, plain_settings
from mmman.memory.conv_norm import has_norm_in_eval
from mmman.registry import MODELS
from mmman.toolboxes import register_toolbox, toolbox_of, type_name

from .config_parts import NotLocalizableError, dicts_in, find_backbone, without_weights
from .localization import MAN_PLUS_PLUS, check_training, one_block, wrap_backbone
from .planned_batch import planned_batch


class CannotPlanError(NotLocalizableError):
    """A config that cannot be planned; the message is one line that says what to do."""


@dataclass(frozen=True)
class Measured:
    """What a config's network costs.

    Args:
        costs (PartCosts): The costs.
        size (tuple[int, int]): Height and width of the images.
        num_images (int): Images in a batch.
        only_end_to_end (str): Why there is no local learning to plan; empty if there is.
    """

    costs: PartCosts
    size: tuple[int, int]
    num_images: int
    only_end_to_end: str = ''


def measure_config(
    cfg: Config,
    batch_size: int | None = None,
    num_objects: int | None = None,
    amp: bool = False,
    timed: bool = False,
) -> Measured:
    """Measure what the parts of a config's network cost, with lean losses, on made-up images of the config's size.

    It happens in a process of its own that sees no GPU: a dry run takes memory on a GPU, and may crash in code that is
    not made for it. No weights are loaded, and no images.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain, stock or of local learning.
        batch_size (int, optional): Images in a batch; the config's by default.
        num_objects (int, optional): Objects in an image; see :func:`planned_batch`.
        amp (bool): Whether it trains in mixed precision. Defaults to False.
        timed (bool): Whether to time all operations on this machine's processor, which takes minutes more. Defaults to
            False.

    Raises:
        CannotPlanError: If it cannot be measured.
    """
    if timed and torch.cuda.is_available():
        raise CannotPlanError('a plan for time knows processors only, and this machine has a GPU: plan by FLOPs')
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    with _no_gpu():
        process = context.Process(target=_serve, args=(theirs, _portable(cfg), batch_size, num_objects, amp, timed))
        process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'
        answer = CannotPlanError(f'the process that measures this config ended with {how}: plan a smaller batch')
    process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def _no_gpu() -> Any:
    before = os.environ.get('CUDA_VISIBLE_DEVICES')
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    try:
        yield
    finally:
        if before is None:
            del os.environ['CUDA_VISIBLE_DEVICES']
        else:
            os.environ['CUDA_VISIBLE_DEVICES'] = before


def _portable(cfg: Config) -> Config:
    """The config as it can be sent to another process."""
    cfg = copy.deepcopy(cfg)
    cfg.launcher, cfg.log_level = 'none', 'ERROR'
    return cfg


def _serve(pipe: Connection, cfg: Config, *question: Any) -> None:
    try:
        register_toolbox(toolbox_of(cfg))
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)  # as Config.fromfile did in the process before
        with tempfile.TemporaryDirectory() as cfg.work_dir:
            answer = measure_here(cfg, *question)
    except CannotPlanError as error:
        answer = error
    except Exception as error:  # of the model: whatever it is, the user's next step is the same
        line = ' '.join(str(error).split())
        answer = CannotPlanError(f'a training step of this config cannot be measured: {type(error).__name__}: {line}')
    pipe.send(answer)


def measure_here(
    cfg: Config, batch_size: int | None, num_objects: int | None, amp: bool = False, timed: bool = False
) -> Measured:
    """Measure in this process; see :func:`measure_config`."""
    try:
        check_training(cfg)
        batch = planned_batch(cfg, batch_size, num_objects)
    except ValueError as error:
        raise CannotPlanError(str(error)) from None
    plain, local, why = both_worlds(cfg)
    if amp or type_name(plain.optim_wrapper.get('type')) == 'AmpOptimWrapper':
        plain = mixed_precision(plain)
    with DefaultScope.overwrite_default_scope(toolbox_of(cfg)):
        try:
            costs = measure_parts(plain, local, batch, OperationTimes() if timed else None)
        except CannotRunDry as error:
            raise CannotPlanError(str(error)) from None
    joined = any(part.get('efficient_conv_bn_eval') for part in dicts_in(plain.model))
    costs = replace(costs, efficient_conv_bn_eval=joined)
    if local is not None and not costs.branches:
        why = 'its backbone runs more than once in a step'
    inputs = batch['inputs']
    image = inputs[0] if not isinstance(inputs, Mapping) else next(iter(inputs.values()))[0]
    return Measured(costs, tuple(image.shape[-2:]), num_images(batch), why)


def both_worlds(cfg: Config) -> tuple[Config, Mapping[str, Any] | None, str]:
    """What the two worlds of a config are measured from.

    Args:
        cfg (Config): The config; its modules are registered.

    Returns:
        tuple: The config that trains end to end with lean losses, its backbone in one block where it can be taken
        apart; the settings of local learning, or None; why not.
    """
    cfg, why = lean_losses(plain_settings(cfg)), ''
    cfg.pop('local_learning', None)
    cfg.custom_hooks = hooks_but(cfg, 'RecomputeHook')
    for name, hook in (cfg.get('default_hooks') or {}).items():  # where a planned config has it
        if hook is not None and type_name(hook.get('type')) == 'RecomputeHook':
            cfg.default_hooks[name] = None
    holder, key = _backbone_of(cfg)
    if holder is None:
        return cfg, None, 'it has no backbone'
    if type_name(holder[key].get('type')) == 'LocalBackbone':
        wrapper = holder[key]
        local = dict(auxiliary=wrapper.get('auxiliary', MAN_PLUS_PLUS), local_head=wrapper.get('local_head'))
        holder[key] = holder[key].backbone
    else:
        try:
            wrapped = lean_losses(wrap_backbone(cfg))
            place, name = find_backbone(wrapped.model, local=True)
            local = {name_: place[name][name_] for name_ in ('auxiliary', 'local_head')}
        except NotLocalizableError as error:
            local, why = None, str(error)
    try:
        whole = one_block(cfg)
    except NotLocalizableError as error:
        return cfg, None, why or str(error)
    if _has_norm_in_eval(cfg, holder[key]):
        place, name = find_backbone(whole.model, local=True)
        place[name].efficient_conv_bn_eval = True
    return whole, local, why


def _has_norm_in_eval(cfg: Config, backbone: Mapping[str, Any]) -> bool:
    with DefaultScope.overwrite_default_scope(toolbox_of(cfg)):
        built = MODELS.build(without_weights(backbone))
    built.train()  # some give nothing back
    return has_norm_in_eval(built)


def _backbone_of(cfg: Config) -> tuple[Any, Any]:
    try:
        return find_backbone(cfg.model, local=True)
    except NotLocalizableError:
        return None, None
