"""The paper's cost model in symbols: what MAN++ adds in parameters and computing, and what it saves in activations.

Equations (8) to (18) of the paper, as section 2 of the method digest reconstructs them. They assume L layers of equal
cost and no local heads; :mod:`mmman.costs.counted_cost` counts a real model beside them.
"""

import math
from dataclasses import dataclass

# With which the paper's worst case, K = L, costs 51 % more (eq. 13). LB of the released code is a whole layer: 1.
PAPER_EPS = 0.02


@dataclass(frozen=True)
class Symbols:
    """A network and its cut, in the paper's symbols.

    Args:
        num_layers (int): L, layers of the network, all of the same cost.
        num_blocks (int): K, from 1 (end to end: nothing is added) to L.
        eps (float): The learnable bias LB relative to a layer: in parameters, computing and activations. 0 or more.
            Defaults to 0.02.
        imbalance (float): r, the largest layer's parameters over the smallest's; 1 or more. Defaults to 1.
        params (float): P, mean parameters of a layer. Defaults to 1.
        flops (float): F, operations of one layer in one pass, forward or backward. Defaults to 1.
        activations (float): A, bytes of one layer's activations. Defaults to 1.

    Raises:
        ValueError: If a value is out of its range.
    """

    num_layers: int
    num_blocks: int
    eps: float = PAPER_EPS
    imbalance: float = 1.0
    params: float = 1.0
    flops: float = 1.0
    activations: float = 1.0

    def __post_init__(self) -> None:
        _check_count('num_layers (L)', self.num_layers)
        _check_count('num_blocks (K)', self.num_blocks, most=self.num_layers)
        _check_number('eps', self.eps, 0)
        _check_number('imbalance (r)', self.imbalance, 1)
        for name, value in (
            ('params (P)', self.params),
            ('flops (F)', self.flops),
            ('activations (A)', self.activations),
        ):
            _check_number(name, value, 0)

    @property
    def added_layers(self) -> float:
        """(K - 1)(1 + eps): the copies of a layer and the learnable biases, in layers."""
        return (self.num_blocks - 1) * (1 + self.eps)


# ------------------------------------------------------------------------------------------------------- parameters


def added_params(symbols: Symbols) -> float:
    """Eq. (8): parameters that MAN++ adds, (K - 1)(1 + eps) P."""
    return symbols.added_layers * symbols.params


def added_params_bounds(symbols: Symbols, smallest: float, largest: float) -> tuple[float, float]:
    """Eq. (9): the least and the most that it can add, (K - 1)(1 + eps) times the smallest and the largest layer.

    Args:
        symbols (Symbols): The network.
        smallest (float): Parameters of the smallest layer.
        largest (float): Parameters of the largest layer.

    Raises:
        ValueError: If the smallest is larger than the largest, or negative.
    """
    _check_number('smallest', smallest, 0)
    _check_number('largest', largest, smallest)
    return symbols.added_layers * smallest, symbols.added_layers * largest


def added_params_ratio_bounds(symbols: Symbols) -> tuple[float, float]:
    """Eq. (10): bounds of what it adds over the network's own parameters, (K - 1)(1 + eps) / L times 1 / r and r."""
    ratio = symbols.added_layers / symbols.num_layers
    return ratio / symbols.imbalance, ratio * symbols.imbalance


# -------------------------------------------------------------------------------------------------------- computing


def end_to_end_flops(symbols: Symbols) -> float:
    """Eq. (11): operations of a step end to end, a forward and a backward of the same cost, 2 L F."""
    return 2 * symbols.num_layers * symbols.flops


def flops(symbols: Symbols) -> float:
    """Eq. (12): operations of a step of MAN++, 2 L F + (K - 1)(1 + eps) F."""
    return end_to_end_flops(symbols) + symbols.added_layers * symbols.flops


def flops_ratio(symbols: Symbols) -> float:
    """Eq. (13): operations over those of end to end, 1 + (K - 1)(1 + eps) / (2 L)."""
    return 1 + symbols.added_layers / (2 * symbols.num_layers)


def largest_num_blocks(overhead: float, num_layers: int, eps: float = PAPER_EPS) -> int:
    """Eq. (14): the largest K, L at most, whose operations exceed end to end's by no more than a share.

    ``K <= 1 + 2 L overhead / (1 + eps)``.

    Args:
        overhead (float): delta, the share: 0.1 for a tenth. 0 or more.
        num_layers (int): L.
        eps (float): See :class:`Symbols`.

    Raises:
        ValueError: If a value is out of its range.
    """
    _check_count('num_layers (L)', num_layers)
    _check_number('eps', eps, 0)
    _check_number('overhead (delta)', overhead, 0)
    return min(num_layers, math.floor(_exact(1 + 2 * num_layers * overhead / (1 + eps))))


# ------------------------------------------------------------------------------------------------------ activations


def end_to_end_activations(symbols: Symbols) -> float:
    """Eq. (15): bytes of the activations that end-to-end training keeps, L A."""
    return symbols.num_layers * symbols.activations


def block_activations(symbols: Symbols) -> float:
    """Eq. (16): bytes of the activations of a block, its copied layer and LB, (L / K + 1 + eps) A; L A where K is 1."""
    added = 1 + symbols.eps if symbols.num_blocks > 1 else 0
    return (symbols.num_layers / symbols.num_blocks + added) * symbols.activations


def activations_ratio(symbols: Symbols) -> float:
    """Eq. (17): the peak of the activations over end to end's, 1 / K + (1 + eps) / L; 1 where K is 1."""
    return block_activations(symbols) / end_to_end_activations(symbols)


def smallest_num_blocks(target: float, num_layers: int, eps: float = PAPER_EPS) -> int:
    """Eq. (18): the smallest K with which the activations need no more than a share of end to end's.

    ``K >= 1 / (target - (1 + eps) / L)``.

    Args:
        target (float): rho, the share: 0.25 for a quarter. Above 0.
        num_layers (int): L.
        eps (float): See :class:`Symbols`.

    Returns:
        int: K; 1 where the target is 1 or more.

    Raises:
        ValueError: If a value is out of its range, or no K from 1 to L reaches the target.
    """
    _check_count('num_layers (L)', num_layers)
    _check_number('eps', eps, 0)
    _check_number('target (rho)', target, 0)
    if target >= 1:
        return 1
    least = activations_ratio(Symbols(num_layers, num_layers, eps)) if num_layers > 1 else 1.0
    if target < _exact(least):
        raise ValueError(
            f'no number of blocks brings the activations of {num_layers} layers to {target:g} of end to end: '
            f'{num_layers} blocks, the most, need {least:.3f} of it (eq. 18 with eps={eps:g}); ask for more than that'
        )
    return math.ceil(_exact(1 / (target - (1 + eps) / num_layers)))


def _exact(value: float) -> float:
    """Without the last digits, which rounding errors would carry over a whole number."""
    return round(value, 9)


def _check_count(name: str, value: int, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most is not None and value > most):
        upper = f' and at most {most}' if most is not None else ''
        raise ValueError(f'{name} must be a whole number of at least 1{upper}, got {value!r}')


def _check_number(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f'{name} must be a number of at least {least:g}, got {value!r}')
