"""The paper's equations give the paper's numbers, and fit together."""

import pytest

from mmman.theory import cost_model
from mmman.theory.cost_model import Symbols, largest_num_blocks, smallest_num_blocks


def test_worst_case_costs_51_percent():
    assert cost_model.flops_ratio(Symbols(1000, 1000)) == pytest.approx(1.51, abs=1e-3)
    assert cost_model.flops_ratio(Symbols(10, 1)) == 1


@pytest.mark.parametrize('num_layers', [21, 32, 50, 100, 152])
def test_five_blocks_for_a_quarter_of_the_memory(num_layers):
    assert smallest_num_blocks(0.25, num_layers, eps=0.01) == 5
    assert cost_model.activations_ratio(Symbols(num_layers, 5, eps=0.01)) <= 0.25
    assert cost_model.activations_ratio(Symbols(num_layers, 4, eps=0.01)) > 0.25


@pytest.mark.parametrize(('num_layers', 'num_blocks'), [(50, 10), (100, 20), (101, 20), (152, 30)])
def test_blocks_for_a_tenth_more_computing(num_layers, num_blocks):
    assert largest_num_blocks(0.1, num_layers) == num_blocks
    assert cost_model.flops_ratio(Symbols(num_layers, num_blocks)) <= 1.1
    assert cost_model.flops_ratio(Symbols(num_layers, num_blocks + 1)) > 1.1


def test_the_largest_and_the_smallest_number_of_blocks_are_exact_at_their_bounds():
    # 1 + 2 * 30 * 0.05 / 1 is 4, and 1 / (0.35 - 1 / 10) is 4: not 3 and not 5, whatever the last digits.
    assert largest_num_blocks(0.05, 30, eps=0) == 4
    assert smallest_num_blocks(0.35, 10, eps=0) == 4
    assert largest_num_blocks(5.0, 8) == 8
    assert smallest_num_blocks(1.0, 8) == 1


@pytest.mark.parametrize(
    ('num_layers', 'num_blocks', 'expected'),
    # ResNet-32, -110, -101, -152 and ViT: what section 2 of the digest has beside Table III, layers being units.
    [(16, 16, 0.126), (55, 55, 0.037), (34, 4, 0.280), (51, 4, 0.270), (12, 6, 0.251)],
)
def test_peak_ratios_of_the_papers_networks(num_layers, num_blocks, expected):
    assert cost_model.activations_ratio(Symbols(num_layers, num_blocks, eps=0.01)) == pytest.approx(expected, abs=5e-4)


def test_bounds_enclose_the_mean():
    costs = Symbols(num_layers=32, num_blocks=16, eps=1.0, imbalance=4, params=100, flops=3, activations=2)
    low, high = cost_model.added_params_bounds(costs, smallest=50, largest=200)
    assert (low, cost_model.added_params(costs), high) == (1500, 3000, 6000)
    low, high = cost_model.added_params_ratio_bounds(costs)
    assert (low, high) == (0.9375 / 4, 0.9375 * 4)
    assert cost_model.added_params_ratio_bounds(Symbols(32, 16)) == pytest.approx(2 * (15 * 1.02 / 32,))


def test_the_ratios_are_those_of_the_absolute_numbers():
    costs = Symbols(num_layers=32, num_blocks=16, eps=1.0, imbalance=4, params=100, flops=3, activations=2)
    assert cost_model.end_to_end_flops(costs) == 192
    assert cost_model.flops(costs) == 192 + 90
    assert cost_model.flops_ratio(costs) == pytest.approx(282 / 192)
    assert cost_model.end_to_end_activations(costs) == 64
    assert cost_model.block_activations(costs) == 8
    assert cost_model.activations_ratio(costs) == 8 / 64


def test_one_block_is_end_to_end_training():
    costs = Symbols(10, 1, eps=1.0)
    assert cost_model.added_params(costs) == 0
    assert cost_model.flops_ratio(costs) == cost_model.activations_ratio(costs) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(num_layers=0, num_blocks=1), r'num_layers \(L\) must be a whole number of at least 1, got 0'),
        (
            dict(num_layers=4, num_blocks=5),
            r'num_blocks \(K\) must be a whole number of at least 1 and at most 4, got 5',
        ),
        (dict(num_layers=4, num_blocks=True), r'num_blocks \(K\)'),
        (dict(num_layers=4, num_blocks=2, eps=-0.1), 'eps must be a number of at least 0'),
        (dict(num_layers=4, num_blocks=2, imbalance=0.5), r'imbalance \(r\) must be a number of at least 1'),
        (dict(num_layers=4, num_blocks=2, flops=float('nan')), r'flops \(F\)'),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        Symbols(**arguments)


def test_a_target_out_of_reach_says_what_is_in_reach():
    with pytest.raises(ValueError, match=r'32 blocks, the most, need 0\.063 of it'):
        smallest_num_blocks(0.03, 32)
    assert smallest_num_blocks(2.02 / 32, 32) == 32
    with pytest.raises(ValueError, match='target'):
        smallest_num_blocks(-1, 32)
    with pytest.raises(ValueError, match='overhead'):
        largest_num_blocks(-0.1, 32)
    with pytest.raises(ValueError, match='largest must be a number of at least 3'):
        cost_model.added_params_bounds(Symbols(4, 2), smallest=3, largest=2)
