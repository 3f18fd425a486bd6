"""What people of the ecosystem expect: a wheel that mim understands, and files of the repository that agree."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import mmman

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> set[str]:
    """The names in a wheel that is built from a copy of the sources."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for name in ('mmman', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model-index.yml'):
        shutil.copy2(ROOT / name, source)
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', out, source]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (file,) = out.glob('mmman-*.whl')
    return set(zipfile.ZipFile(file).namelist())


def test_wheel_has_configs_tools_and_model_index_for_mim(wheel):
    files = [path for name in ('configs', 'tools') for path in (ROOT / name).rglob('*') if path.is_file()]
    shipped = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix in ('.py', '.sh', '.yml', '.md') and not {'dev', '__pycache__'} & set(path.parts)
    }
    shipped.add('model-index.yml')
    # mim takes the first folder of a distribution's files for the package, whichever of the two that is.
    info = f'mmman-{mmman.__version__}.dist-info'
    for folder in ('mmman', info):
        inside = {name.removeprefix(f'{folder}/.mim/') for name in wheel if name.startswith(f'{folder}/.mim/')}
        assert inside == shipped


def test_wheel_has_every_module_the_page_and_the_licence(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'mmman').rglob('*.py')}
    page = {'mmman/planning/plan_page.html'}
    assert {name for name in wheel if name.startswith('mmman/') and '/.mim/' not in name} == modules | page
    assert any(name.endswith('LICENSE') for name in wheel)
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()


def test_citation_has_the_version():
    assert yaml.safe_load((ROOT / 'CITATION.cff').read_text())['version'] == mmman.__version__


def test_pre_commit_has_the_ruff_of_make_lint():
    (pin,) = re.findall(r'^ruff==\S+', (ROOT / 'requirements/dev.txt').read_text(), re.MULTILINE)
    repos = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    hooks = [hook for repo in repos for hook in repo['hooks'] if hook['id'].startswith('ruff')]
    assert len(hooks) == 2 and all(hook['additional_dependencies'] == [pin] for hook in hooks)


def test_workflow_and_ci_run_what_the_readme_names():
    steps = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text())['jobs']['ci']['steps']
    assert steps[-1] == dict(run='bash .ci/run')
    commands = [line for line in (ROOT / '.ci/run').read_text().splitlines() if not line.startswith(('#', 'set', 'cd'))]
    assert commands
    readme = (ROOT / 'README.md').read_text()
    assert all(re.search(rf'(^|`){re.escape(command)}( |`|$)', readme, re.MULTILINE) for command in commands)


@pytest.mark.parametrize('path', sorted((ROOT / '.github/ISSUE_TEMPLATE').glob('*.yml')), ids=lambda path: path.name)
def test_issue_forms_read(path):
    form = yaml.safe_load(path.read_text())
    if path.name != 'config.yml':
        assert form['name'] and form['description']
        ids = [part['id'] for part in form['body'] if part['type'] != 'markdown']
        assert len(ids) == len(set(ids)) and ids
