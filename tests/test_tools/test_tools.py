"""The command line tools start, say what is wrong in one line, and keep mmdet's flags."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'
CONFIG = """
default_scope = 'mmdet'
train_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root='{{$MMMAN_COCO_ROOT:data/coco/}}', ann_file='annotations/instances_train2017.json'))
test_dataloader = train_dataloader
"""


def run(*command, cwd=None, **env) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != 'MMMAN_COCO_ROOT'}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env={**environment, **env}
    )


@pytest.mark.parametrize(
    ('tool', 'flags'),
    [
        ('train.py', '--work-dir --amp --auto-scale-lr --resume --cfg-options --launcher --local_rank --local-rank'),
        ('test.py', '--work-dir --out --show --show-dir --wait-time --cfg-options --launcher --tta --local-rank'),
    ],
)
def test_flags(tool, flags):
    done = run(sys.executable, TOOLS / tool, '--help')
    assert done.returncode == 0, done.stderr
    assert not [flag for flag in flags.split() if flag not in done.stdout]


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_missing_data_are_one_line(tmp_path, tool):
    (tmp_path / 'config.py').write_text(CONFIG)
    (tmp_path / 'a.pth').touch()
    checkpoint = ['a.pth'] if tool == 'test.py' else []
    done = run(sys.executable, TOOLS / tool, 'config.py', *checkpoint, cwd=tmp_path, MMMAN_COCO_ROOT='nowhere/')
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert done.stderr.strip().splitlines()[-1] == (
        f"{tool}: COCO data not found: 'nowhere/annotations/instances_train2017.json' does not exist; "
        "set MMMAN_COCO_ROOT (now 'nowhere/') to the folder that holds annotations/"
    )


def test_a_missing_config_is_one_line(tmp_path):
    done = run(sys.executable, TOOLS / 'train.py', 'no_such_config.py', cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stderr and 'no_such_config.py' in done.stderr


def test_a_bug_keeps_its_traceback(tmp_path):
    (tmp_path / 'config.py').write_text('model = 1 / 0\n')
    done = run(sys.executable, TOOLS / 'train.py', 'config.py', cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' in done.stderr and 'ZeroDivisionError' in done.stderr


@pytest.mark.parametrize('script', sorted(TOOLS.rglob('*.sh')) + [ROOT / '.ci' / 'run'], ids=lambda path: path.name)
def test_shell_scripts_parse(script):
    done = run('bash', '-n', script)
    assert done.returncode == 0, done.stderr
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_launchers_say_their_usage(script):
    done = run(TOOLS / script, 'only_one_argument')
    assert done.returncode == 2 and done.stderr.startswith('usage: ')


@pytest.mark.parametrize(
    ('script', 'arguments', 'expected'),
    [
        ('dist_train.sh', 'c.py 4', '--nproc_per_node=4 {tools}/train.py c.py --launcher pytorch'),
        ('dist_test.sh', 'c.py x.pth 2', '--nproc_per_node=2 {tools}/test.py c.py x.pth --launcher pytorch'),
    ],
)
def test_dist_scripts_pass_every_argument_as_it_is(tmp_path, script, arguments, expected):
    """The interpreter is a stand-in that prints its arguments, then the last one in brackets."""
    echo = tmp_path / 'python'
    echo.write_text('#!/usr/bin/env bash\nprintf "%s " "$@"; printf "[%s]" "${@: -1}"\n')
    echo.chmod(0o755)
    done = run(TOOLS / script, *arguments.split(), '--cfg-options', 'a.b=[1, 2]', PYTHON=str(echo), PORT='29999')
    assert done.returncode == 0, done.stderr
    assert expected.format(tools=TOOLS) in done.stdout and '--master_port=29999' in done.stdout
    assert done.stdout.endswith('[a.b=[1, 2]]')


def test_a_comparison_of_one_epoch_is_refused_in_one_line(tmp_path):
    tool = TOOLS / 'benchmarks/hosts_cifar10.py'
    done = run(sys.executable, tool, '--epochs', '1', '--work-dir', tmp_path / 'work')
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith('--epochs must be at least 2, since the first one warms up; got 1')
    )
