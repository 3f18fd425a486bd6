import torch
from scenarios.contracts import auxiliaries
from scenarios.training import assert_same_state, build_model

from mmman.testing import tiny_segmentor


def test_pretrained_of_a_segmentor_reaches_the_backbone_and_the_copies(tmp_path):
    plain = build_model(tiny_segmentor(None), seed=1)
    torch.save(plain.backbone.state_dict(), tmp_path / 'backbone.pth')
    model = build_model({**tiny_segmentor(4), 'pretrained': str(tmp_path / 'backbone.pth')})
    assert torch.equal(model.backbone.layer3[0].conv1.weight, plain.backbone.layer3[0].conv1.weight)
    for auxiliary, sources in auxiliaries(model):
        assert_same_state(auxiliary.ema, sources[0])
        assert_same_state(auxiliary.learnable_bias, sources[0])
