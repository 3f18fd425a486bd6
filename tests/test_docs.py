"""The documentation: its notebook runs, its marks are understood, what it names is there. (Sphinx checks the links.)"""

import importlib
import re
import runpy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from shipped_configs import spelled_out

from mmman.apis.launch import config_file

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs/en'
PACKAGES = (
    *('memory', 'partition', 'auxiliary', 'local_heads', 'models', 'optim', 'resume', 'hooks', 'pipeline'),
    *('costs', 'planning', 'apis'),
)


@pytest.fixture(scope='module')
def tool() -> dict:
    return runpy.run_path(str(ROOT / 'tools/dev/run_doc_commands.py'))


def test_the_notebook_ends_with_predictions(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    notebook = nbformat.read(DOCS / 'get_started_notebook.ipynb', 4)
    NotebookClient(notebook, timeout=300, resources=dict(metadata=dict(path=str(DOCS)))).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    printed = [''.join(output.get('text', '') for output in cell.outputs) for cell in cells]
    assert len(re.findall(r'^(?:WBC|RBC|Platelets) +0\.\d+ \[', printed[-2], re.MULTILINE)) == 5
    pictures = [output for cell in cells for output in cell.outputs if 'image/png' in output.get('data', {})]
    assert len(pictures) == 2


def test_the_notebook_is_small_and_free_of_this_machine():
    text = (DOCS / 'get_started_notebook.ipynb').read_text()
    assert len(text) < 200_000 and '/tmp/' not in text and '/work/' not in text


def test_configs_of_the_toolboxes_that_are_named_exist():
    texts = [path.read_text() for path in (ROOT / 'README.md', *DOCS.glob('*.md'))]
    named = {name for text in texts for name in re.findall(r'mm(?:det|seg|pretrain)::[\w./-]+\.py', text)}
    assert named
    for name in named:
        config_file(name)


def test_every_mark_is_understood(tool):
    pages = [page for pattern in tool['PAGES'] for page in ROOT.glob(pattern)]
    blocks = [block for page in pages for block in tool['blocks_of'](page)]
    marked = [block for block in blocks if block.options is not None]
    assert len(marked) >= 8
    for block in marked:
        tool['command_of'](block)
    assert all(block.reason for block in blocks if block.options is None)


def test_marks(tool, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(
        '```python\na = 1\n```\n<!-- run\nreplace: {world: "$WHO"}\nenv: {WHO: you}\nappend: "; cat b.py"\n'
        'expect: hello you\n'
        "files: {b.py: '@python'}\n-->\n```bash\necho hello world\n```\n"
        '<!-- not run: because -->\n```bash\nfalse\n```\n```bash\ntrue\n```\n<!-- run -->\n```bash\nfalse | true\n```\n'
    )
    first, second, third, fourth = tool['blocks_of'](page, tmp_path)
    assert tool['run'](first, tmp_path) == (True, 'hello you\na = 1\n')
    assert first.place == 'page.md:11'
    assert [block.reason for block in (second, third)] == ['because', 'no mark']
    assert not tool['run'](fourth, tmp_path)[0]
    first.options['expect'] = 'bye'
    success, output = tool['run'](first, tmp_path)
    assert not success and output.endswith("not in the output: 'bye'")


def test_wrong_marks_are_refused(tool, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('<!-- run\nexpects: 1\n-->\n```bash\ntrue\n```\n')
    with pytest.raises(ValueError, match=r'page.md:4: unknown option expects'):
        tool['blocks_of'](page, tmp_path)
    page.write_text('<!-- run\nreplace: {a: b}\n-->\n```bash\ncd\n```\n')
    with pytest.raises(ValueError, match="there is no 'a' to replace"):
        tool['command_of'](*tool['blocks_of'](page, tmp_path))


@pytest.mark.parametrize('package', PACKAGES)
def test_the_api_page_has_every_public_name(package):
    listed = set(re.findall(r'^\.\. auto\w+:: (\S+)$', (DOCS / 'api.md').read_text(), re.MULTILINE))
    public = importlib.import_module(f'mmman.{package}')
    assert {f'mmman.{package}.{name}' for name in public.__all__ if callable(getattr(public, name))} <= listed


@pytest.mark.parametrize('page', ['paper.md', 'faq.md', 'own_config.md', 'inference.md', 'tools.md'])
def test_files_that_a_page_names_are_there(page):
    """Python files in backticks; braces and stars stand for several."""
    names = re.findall(r'`([\w*{},/]+\.py)`', (DOCS / page).read_text())
    assert names
    for name in (name for entry in names for name in spelled_out(entry)):
        own = name in ('my_config.py', 'example.py', 'setup.py', '__init__.py')  # the reader's, mmdet's, mmcv's
        assert (
            own
            or any(list((ROOT / folder).rglob(name)) for folder in ('configs', 'tests', 'tools'))
            or list(ROOT.glob(name))
        ), name


def test_faq_headings_are_errors_and_differ():
    headings = re.findall(r'^### (.*)$', (DOCS / 'faq.md').read_text(), re.MULTILINE)
    assert len(headings) == len(set(headings)) >= 20
