"""What a config builds from, and what its types name, whether they are strings or classes."""

import pytest
from mmdet.models import ResNet, RetinaNet
from mmengine.config import Config

from mmman import LocalBackbone
from mmman.toolboxes import is_type, register_toolbox, toolbox_of, type_name


class OwnDetector(RetinaNet):
    """A user's own."""


@pytest.mark.parametrize(
    'cfg, scope',
    [
        (dict(default_scope='mmseg', model=dict(type=RetinaNet)), 'mmseg'),
        (dict(default_scope='mmengine', model=dict(type=RetinaNet)), 'mmengine'),
        (dict(default_scope=None, model=dict(type=RetinaNet)), 'mmdet'),
        (dict(model=dict(type=OwnDetector)), 'mmdet'),
        (dict(model=dict(type='mmpretrain.ImageClassifier')), 'mmpretrain'),
        (dict(model=dict(type='RetinaNet')), 'mmengine'),
        (dict(model=dict(type=dict)), 'mmengine'),
        (dict(), 'mmengine'),
    ],
)
def test_the_toolbox_is_the_scope_or_where_the_model_comes_from(cfg, scope):
    assert toolbox_of(Config(cfg)) == scope
    register_toolbox(toolbox_of(Config(cfg)))


def test_the_name_of_a_type():
    assert [type_name(kind) for kind in ('mmdet.ResNet', 'ResNet', ResNet, None)] == ['ResNet', 'ResNet', 'ResNet', '']


@pytest.mark.parametrize(
    'kind, cls, expected',
    [
        ('mmman.LocalBackbone', LocalBackbone, True),
        ('mmman.models.local_backbone.LocalBackbone', LocalBackbone, True),  # in the dump of a lazy config
        (LocalBackbone, LocalBackbone, True),
        (OwnDetector, RetinaNet, True),
        (ResNet, LocalBackbone, False),
        ('ResNet', LocalBackbone, False),
        (None, LocalBackbone, False),
    ],
)
def test_whether_a_type_names_a_class(kind, cls, expected):
    assert is_type(kind, cls) is expected
