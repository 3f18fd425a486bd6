from pathlib import Path

from mmman.analysis import TrainingStep, time_in_turn
from mmman.testing import tiny_run_cfg

DATA = Path(__file__).parents[2] / 'demo/data/bccd_coco'
CLASSES = ('WBC', 'RBC', 'Platelets')


def measured(num_blocks, tmp_path):
    return TrainingStep(tiny_run_cfg(num_blocks, tmp_path, DATA, classes=CLASSES)).bytes()


def test_counts_repeat_and_hold_parameters_and_momenta(tmp_path):
    first, second = (measured(None, tmp_path) for _ in range(2))
    assert first == second
    assert first.peak > first.resident > 0


def test_local_learning_adds_its_parameters_and_one_block_adds_nothing(tmp_path):
    plain, one, four = (measured(k, tmp_path) for k in (None, 1, 4))
    assert one == plain
    assert four.resident > plain.resident


def test_times_are_ratios_to_the_first_in_the_same_round():
    class Step:
        def __init__(self, seconds):
            self.seconds = iter(seconds).__next__

    assert time_in_turn([Step([1, 10, 1]), Step([2, 20, 5])], rounds=3) == [1, 2]
