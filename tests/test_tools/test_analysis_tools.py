"""The commands print a table, draw a picture and write its numbers; what they cannot do is one line."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_checkpoints import classifier, detector, save_checkpoint, segmentor

TOOLS = Path(__file__).parents[2] / 'tools/analysis'


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command in this process, and returns what it prints."""

    def run_tool(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(TOOLS / name), run_name='__main__')
        return capsys.readouterr().out

    return run_tool


def files(tmp_path, make, num_blocks=4, name='model', seed=0):
    """A config file and a checkpoint of its model."""
    cfg = make(tmp_path, num_blocks)
    cfg.custom_imports = dict(imports=['mmman', 'mmman.classification'], allow_failed_imports=False)
    cfg.dump(tmp_path / f'{name}.py')
    return tmp_path / f'{name}.py', save_checkpoint(cfg, tmp_path / f'{name}.pth', seed)


def size_of(picture):
    with Image.open(picture) as image:
        return image.size


def test_cka(run, tmp_path):
    config, checkpoint = files(tmp_path, classifier)
    plain, reference = files(tmp_path, classifier, None, 'plain')
    _, second = files(tmp_path, classifier, None, 'second', seed=1)
    out = run(
        *('cka.py', config, checkpoint, '--reference', plain, reference, '--second-reference', second),
        *('--batch-size', 8, '--out', tmp_path / 'a.png'),
    )
    assert 'layer3.2' in out and 'mean' in out
    assert min(size_of(tmp_path / 'a.png')) > 300 and min(size_of(tmp_path / 'a_matrix.png')) > 300
    numbers = json.loads((tmp_path / 'a.json').read_text())
    assert len(numbers['layers']) == len(numbers['model']) == len(numbers['second seed of the reference'][0]) == 10


@pytest.mark.parametrize(
    ('tool', 'metric'), [('separability.py', 'accuracy/top1'), ('local_heads.py', 'accuracy/top1')]
)
def test_metrics_of_blocks(run, tmp_path, tool, metric):
    config, checkpoint = files(tmp_path, classifier)
    assert metric in run(tool, config, checkpoint)
    picture = tmp_path / tool.replace('.py', '.png')
    assert min(size_of(picture)) > 300
    numbers = json.loads(picture.with_suffix('.json').read_text())
    assert len(numbers) == 4 and all(0 <= found[metric] <= 100 for found in numbers.values())


def test_grad_cam(run, tmp_path):
    config, checkpoint = files(tmp_path, segmentor)
    out = tmp_path / 'folder/cam.jpg'
    printed = run(
        *(
            'grad_cam.py',
            config,
            checkpoint,
            '0',
            '2',
            '--out',
            out,
            '--layer',
            'backbone.layer1.1',
            'backbone.layer4.1',
        )
    )
    assert '0: class' in printed and '2: class' in printed
    assert size_of(out)[0] > 400


def test_history(run, tmp_path):
    folder = tmp_path / '20260101_000000/vis_data'
    folder.mkdir(parents=True)
    lines = [
        {
            'loss': 3 / step,
            **{f'local{i}.{key}': i / step for i in range(1, 9) for key in ('loss', 'scale')},
            'step': step,
        }
        for step in (1, 2, 3)
    ]
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    assert 'block 9 (model)' in run('history.py', tmp_path)
    assert size_of(tmp_path / 'history.png')[0] > 800
    assert json.loads((tmp_path / 'history.json').read_text())['steps'] == [1, 2, 3]


def test_cost_model(run, tmp_path):
    config, _ = files(tmp_path, detector)
    assert 'L = 9 layers, K = 4 blocks, eps = 1' in run(
        'cost_model.py', config, '--eps', 1, '--json', tmp_path / 'c.json'
    )
    assert json.loads((tmp_path / 'c.json').read_text())['ratio']['counted']['flops'] > 1


@pytest.mark.parametrize(
    ('tool', 'arguments', 'message'),
    [
        ('separability.py', ['{config}', '{checkpoint}'], 'separability.py: linear separability is not defined'),
        ('local_heads.py', ['{config}', 'none.pth'], 'local_heads.py: checkpoint not found'),
        (
            'grad_cam.py',
            ['{config}', '{checkpoint}', 'none.jpg', '--layer', 'backbone'],
            'grad_cam.py: there is no image',
        ),
        ('cka.py', ['{config}', 'none.pth', '--reference', '{config}', '{checkpoint}'], 'cka.py: checkpoint not found'),
        ('history.py', ['nowhere'], 'history.py: nothing was logged'),
        ('cost_model.py', ['{config}', '--eps', '-1'], 'cost_model.py: eps must be a number of at least 0'),
    ],
)
def test_what_cannot_be_done_is_one_line(run, tmp_path, tool, arguments, message):
    config, checkpoint = files(tmp_path, detector)
    with pytest.raises(SystemExit) as stopped:
        run(tool, *(argument.format(config=config, checkpoint=checkpoint) for argument in arguments))
    assert str(stopped.value).startswith(message) and '\n' not in str(stopped.value)
