"""The count of a real model's step adds up, and is what can be worked out by hand."""

from pathlib import Path

import pytest
from scenarios.runner import tiny_run_cfg

from mmman.costs import TrainingStep
from mmman.costs.counted_cost import Count, count_cost
from mmman.theory.cost_table import compare_theory_with_count, table

DATA = Path(__file__).parents[2] / 'demo/data/bccd_coco'
CLASSES = ('WBC', 'RBC', 'Platelets')


def cfg_of(tmp_path, num_blocks=4, **backbone):
    cfg = tiny_run_cfg(num_blocks, tmp_path, DATA, classes=CLASSES)
    cfg.model.backbone.update(backbone)
    return cfg


def test_it_adds_up_to_the_whole_step(tmp_path):
    cfg = cfg_of(tmp_path)
    counted, step = count_cost(cfg), TrainingStep(cfg)
    whole = sum((counted.of_block(i) for i in range(4)), Count())
    assert whole.params == sum(p.numel() for p in step.model.parameters())
    assert whole.flops == step.flops()
    end_to_end = TrainingStep(tiny_run_cfg(None, tmp_path, DATA, classes=CLASSES))
    assert counted.end_to_end.flops == end_to_end.flops()
    assert counted.end_to_end.params == sum(p.numel() for p in end_to_end.model.parameters())


def test_the_copies_cost_what_their_structure_says(tmp_path):
    for block in count_cost(cfg_of(tmp_path)).blocks[:-1]:
        lb, ema = block['learnable_bias'], block['ema']
        assert lb.params == ema.params + 1  # the scale s
        # A forward and the gradients of input and weights, against a forward and the gradient of the input.
        assert 2 * lb.flops == 3 * ema.flops > 0
        assert lb.activations == pytest.approx(ema.activations, rel=0.01)


def test_each_block_is_given_its_own_operations(tmp_path):
    layers = [block['layers'].flops for block in count_cost(cfg_of(tmp_path)).blocks]
    # From stage to stage half the resolution at twice the channels; block 1 has the stem, and no gradient of images.
    assert layers[1] == layers[2] == layers[3]
    assert layers[0] > layers[1]


def test_activations_are_what_autograd_keeps(tmp_path):
    """Of the stem and layer1 of block 1, worked out by hand: 2 photos of 96 x 72, 8 channels in the stem."""
    counted = count_cost(cfg_of(tmp_path, auxiliary=None))
    images, stem, unit = 2 * 3 * 96 * 96 * 4, 2 * 8 * 48 * 48 * 4, 2 * 8 * 24 * 24 * 4
    # The images, conv1's output, its norm's in place of the ReLU's, the pooled map (input of layer1.0) and where its
    # maxima were (8 bytes each); of each of two units two convolutions' outputs and two ReLUs'.
    kept = images + 2 * stem + 3 * unit + 2 * 4 * unit
    layers = counted.blocks[0]['layers'].activations
    statistics = 2 * 5 * 8 * 4  # each norm's mean and deviation
    assert layers == kept + statistics


def test_parts_that_are_not_there_cost_nothing(tmp_path):
    blocks = count_cost(cfg_of(tmp_path, auxiliary=None)).blocks
    assert all(block['ema'] == block['learnable_bias'] == Count() for block in blocks)
    assert all(block['layers'].flops and block['head'].flops for block in blocks)


def test_recomputation_is_refused(tmp_path):
    with pytest.raises(ValueError, match='the LocalBackbone recomputes them: set its with_cp=False'):
        count_cost(cfg_of(tmp_path, with_cp=[1]))


def test_theory_stands_beside_the_count(tmp_path):
    counted = count_cost(cfg_of(tmp_path))
    found = compare_theory_with_count(counted, eps=1.0)
    assert (found['symbols']['num_layers'], found['symbols']['num_blocks']) == (9, 4)
    # The theory is scaled to agree with the count end to end; its blocks add up to its whole.
    for name in ('params', 'flops'):
        assert sum(block['theory'][name] for block in found['blocks']) == pytest.approx(found['whole']['theory'][name])
    assert found['ratio']['theory'] == pytest.approx(
        dict(params=1 + 3 * 2 / 9, flops=1 + 3 * 2 / 18, activations=1 / 4 + 2 / 9)
    )
    assert (
        found['ratio']['counted']['activations']
        == max(counted.of_block(i).activations for i in range(4)) / counted.end_to_end.activations
    )
    text = table(found)
    assert 'L = 9 layers, K = 4 blocks, eps = 1' in text
    assert f'{found["ratio"]["counted"]["flops"]:.3f}' in text
