"""The table of the small runs says what became of losses and checkpoints."""

import pytest

from mmman.zoo.small_runs import write_table

GOOD = dict(missing=[], unexpected=[], same_predictions=True)


@pytest.mark.parametrize(
    ('curve', 'cell'),
    [([3.0, 4.0, 2.0], '3.00 → 2.00'), ([0.7, 1.9, 1.4], '0.70 → 1.90 → 1.40')],
    ids=['falls', 'rises'],
)
def test_a_loss_that_ends_higher_shows_its_height(curve, cell):
    run = dict(
        name='a', iterations=30, losses={'loss': curve, 'local1.loss': [2.0, 1.0]}, evaluation={'coco/bbox_mAP': 0.1}
    )
    assert f'| a | 30 | {cell} | 2.00 → 1.00 | bbox_mAP 0.1 |  |' in write_table([run])


@pytest.mark.parametrize(
    ('checkpoint', 'cell'),
    [
        (GOOD, 'opens, same predictions'),
        (dict(GOOD, same_predictions=False), 'opens, predicts something else'),
        (dict(GOOD, missing=['head.bias']), '1 keys differ'),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(checkpoint, cell):
    run = dict(name='a', iterations=30, losses={'loss': [2.0, 1.0]}, evaluation={}, **checkpoint)
    assert write_table([run]).endswith(f'| {cell} |\n')
