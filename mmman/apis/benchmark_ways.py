"""The ways to train a network that one would choose from: the rows of the benchmark."""

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import attrgetter

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmman.costs import StepInBackward, TrainingStep
from mmman.costs.benchmark import Way
from mmman.costs.compiled_step import CompiledStep
from mmman.costs.offloaded_step import OffloadedStep
from mmman.costs.variants import lean_losses, mixed_precision, single_precision
from mmman.memory.conv_norm import has_norm_in_eval
from mmman.planning import Plan, Planner
from mmman.planning.plan_settings import settings_of
from mmman.registry import MODELS
from mmman.toolboxes import class_of, toolbox_of

from .config_parts import NotLocalizableError, find_backbone, is_local, without_weights
from .end_to_end import end_to_end
from .localization import localize
from .plan_costs import Measured, measure_config
from .planned_batch import NUM_OBJECTS, most_objects, planned_batch
from .runner import prepare_config

AMP = ', AMP'
# What follows the backbone and can be recomputed. A dense head of mmdet goes through the pyramid level by level.
NECK_AND_HEADS = (
    'neck',
    'rpn_head.forward_single',
    'bbox_head.forward_single',
    'roi_head.bbox_head',
    'roi_head.mask_head',
    'decode_head',
    'auxiliary_head',
)


class NoSuchWay(ValueError):
    """A way that a network does not have; the message says why."""


@dataclass(frozen=True)
class Question:
    """What ways are compared for.

    Args:
        work (float): The FLOPs that plans may take, of end to end. Defaults to 1.13.
        batch_size (int, optional): Images in a batch; the config's by default.
        num_objects (int, optional): Objects in an image; see :func:`planned_batch`.
    """

    work: float = 1.13
    batch_size: int | None = None
    num_objects: int | None = None


class Subject:
    """The network of a config, and how to train it.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain, stock or of local learning; its modules are registered.
        question (Question): What for.
        amp (bool): Whether in mixed precision. Defaults to False.

    Attributes:
        plain (Config): The config that trains end to end.
    """

    def __init__(self, cfg: Config, question: Question, amp: bool = False) -> None:
        self.cfg, self.question, self.amp = cfg, question, amp
        self.plain = end_to_end(cfg)

    @cached_property
    def model(self) -> nn.Module:
        """The model, as it trains end to end."""
        with DefaultScope.overwrite_default_scope(toolbox_of(self.plain)):
            model = MODELS.build(copy.deepcopy(self.plain.model))  # detectors write into their config
        model.train()
        return model

    def learns_in_blocks(self) -> bool:
        """Whether the config itself does."""
        return is_local(self.cfg.model) or self.cfg.get('local_learning') is not None

    @cached_property
    def measured(self) -> Measured:
        """What its parts cost, with light local heads."""
        return measure_config(self.plain, self.question.batch_size, self.question.num_objects, self.amp)

    @cached_property
    def planner(self) -> Planner:
        """Who plans it."""
        return Planner(self.measured.costs)

    @property
    def work(self) -> float:
        """The work that plans may take."""
        return self.question.work * self.planner.amount(self.planner.end_to_end())

    def planned(self, plan: Plan) -> Config:
        """The config that trains by a plan."""
        return localize(self.plain, **settings_of(plan, self.measured.costs))


def _end_to_end(subject: Subject) -> Config:
    return subject.plain


def _lean(subject: Subject) -> Config:
    lean = lean_losses(subject.plain)
    if lean.model == subject.plain.model:
        raise NoSuchWay('no loss of it has a lean twin')
    return lean


def _with_cp(subject: Subject) -> Config:
    cfg = copy.deepcopy(subject.plain)
    holder, key = find_backbone(cfg.model)
    with DefaultScope.overwrite_default_scope(toolbox_of(cfg)):
        kind = class_of(holder[key].type, MODELS)
    if not any('with_cp' in inspect.signature(c.__init__).parameters for c in kind.__mro__ if c is not object):
        raise NoSuchWay(f'{kind.__name__} has no with_cp')
    holder[key].with_cp = True
    return cfg


def _lean_with_cp(subject: Subject) -> Config:
    _lean(subject)
    return lean_losses(_with_cp(subject))


def _conv_and_norm_in_one(subject: Subject) -> Config:
    if not has_norm_in_eval(subject.model):
        raise NoSuchWay('it has no norm in eval mode')
    return localize(subject.plain, num_blocks=1, efficient_conv_bn_eval=True, lean=True)


def _all_recomputed(subject: Subject) -> Config:
    parts = list(_neck_and_heads(subject.model))
    return localize(subject.plain, num_blocks=1, with_cp=True, recompute=dict(full=parts) if parts else None, lean=True)


def _neck_and_heads(model: nn.Module) -> Iterator[str]:
    for name in NECK_AND_HEADS:
        try:
            part = attrgetter(name)(model)
        except AttributeError:
            continue
        if isinstance(part, nn.ModuleList):
            yield from (f'{name}.{i}' for i in range(len(part)))
        elif part is not None:
            yield name


def _offloaded(subject: Subject) -> Config:
    if not torch.cuda.is_available():
        raise NoSuchWay('there is no GPU whose memory it would save')
    return _all_recomputed(subject)


def _optimum(subject: Subject) -> Config:
    return subject.planned(subject.planner.smallest_end_to_end(subject.work))


def _released(subject: Subject) -> Config:
    if subject.learns_in_blocks():
        return prepare_config(subject.cfg)
    return localize(subject.plain, num_blocks=4)


def _planned(subject: Subject) -> Config:
    if why := subject.measured.only_end_to_end:
        raise NoSuchWay(why)
    planner = subject.planner
    plan = planner.smallest_local(subject.work)
    if plan is None:
        least = planner.amount(planner.best_local(math.inf)) / planner.amount(planner.end_to_end())
        raise NoSuchWay(f'blocks take {least:.3f} of the FLOPs of end to end, or more: --work says how much they may')
    return subject.planned(plan)


# By name: the config, and how a step of it runs. Ratios are to the first.
ROWS: dict[str, tuple[Callable[[Subject], Config], type[TrainingStep]]] = {
    'end to end': (_end_to_end, TrainingStep),
    'end to end, lean losses': (_lean, TrainingStep),
    'end to end, with_cp': (_with_cp, TrainingStep),
    'end to end, with_cp, lean losses': (_lean_with_cp, TrainingStep),
    'end to end, conv and norm in one, lean losses': (_conv_and_norm_in_one, TrainingStep),
    'end to end, torch.compile, lean losses': (lambda subject: lean_losses(subject.plain), CompiledStep),
    'end to end, all recomputed': (_all_recomputed, StepInBackward),
    'end to end, kept inputs offloaded': (_offloaded, OffloadedStep),
    'end to end, optimum': (_optimum, TrainingStep),
    'MAN++ released': (_released, TrainingStep),
    'MAN++ planned': (_planned, TrainingStep),
}
NAMES = tuple(name + suffix for suffix in ('', AMP) for name in ROWS)


def ways_of(
    cfg: Config,
    question: Question,
    names: Sequence[str] = NAMES,
    report: Callable[[str], None] = lambda line: None,
) -> list[Way]:
    """The ways to train a config's network, in single and in mixed precision.

    All are trained on one made-up batch of the config's size, and without pretrained weights. ``'MAN++ released'`` is
    the config itself where it learns in blocks, else four blocks by stage. What is planned has the light local heads of
    :func:`mmman.localize`.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain, stock or of local learning; its modules are registered.
        question (Question): What for.
        names (Sequence[str]): Those wanted, of ``NAMES``. Defaults to all.
        report (Callable): Called with a line for each way that the network does not have.

    Raises:
        ValueError: If there is no such way.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(f'there is no way {name!r}: name some of {", ".join(map(repr, NAMES))}')
    cfg = single_precision(cfg)
    cfg.model = without_weights(cfg.model)
    with DefaultScope.overwrite_default_scope(toolbox_of(cfg)):  # read once, for all the processes that measure
        objects = question.num_objects or most_objects(cfg) or NUM_OBJECTS
    make_batch = partial(planned_batch, end_to_end(cfg), question.batch_size, objects)
    ways = []
    for amp in (False, True):
        subject = Subject(cfg, question, amp)
        for row, (make, kind) in ROWS.items():
            name = row + AMP * amp
            if name not in names:
                continue
            try:
                made = make(subject)
            except (NoSuchWay, NotLocalizableError) as why:
                report(f'{name}: left out, {why}')
                continue
            ways.append(Way(name, mixed_precision(made) if amp else made, kind, make_batch))
    return ways
