"""`import mmman` on a machine that lacks a part says in one line what to run."""

import importlib
import subprocess
import sys

import pytest

from mmman import compatibility

VERSIONS = {
    'torch': '2.4.0+cu121',
    'mmengine': '0.10.5',
    'mmcv': '2.1.0',
    'mmdet': '3.3.0',
    'mmseg': '1.2.2',
    'mmpretrain': '1.2.0',
}


@pytest.fixture
def machine(monkeypatch):
    """A faked machine: versions to change, and what each module's import raises."""
    versions, failures = dict(VERSIONS), {}

    def import_module(name):
        if name in failures:
            raise failures[name]

    monkeypatch.setattr(compatibility, 'installed_version', versions.get)
    monkeypatch.setattr(compatibility.importlib, 'import_module', import_module)
    return versions, failures


def message() -> str:
    with pytest.raises(ImportError) as caught:
        compatibility.check_environment()
    text = str(caught.value)
    assert '\n' not in text
    return text


def test_this_machine_and_a_good_one_pass(machine):
    compatibility.check_environment()


def test_the_real_environment_passes():
    assert compatibility.find_problem() is None


@pytest.mark.parametrize('name', VERSIONS)
def test_a_missing_part_is_named(machine, name):
    del machine[0][name]
    text = message()
    assert f'{name} is not installed' in text
    assert 'make env' in text and "pip install 'mmman[fork]'" in text and 'mmman[upstream]' in text


@pytest.mark.parametrize(
    ('name', 'version', 'expected'),
    [
        ('torch', '1.13.1', 'torch is 1.13.1, >=2.3 is needed'),
        ('mmengine', '0.9.1', 'mmengine is 0.9.1, >=0.10.0,<1.0 is needed'),
        ('mmcv', '1.7.2', 'mmcv is 1.7.2, >=2.0.0,<3.0 is needed'),
        ('mmdet', '2.28.2', 'mmdet is 2.28.2, >=3.0.0,<4.0 is needed'),
        ('mmseg', '0.30.0', 'mmseg is 0.30.0, >=1.0.0,<2.0 is needed'),
        ('mmpretrain', '2.0.0', 'mmpretrain is 2.0.0, >=1.0.0,<2.0 is needed'),
    ],
)
def test_a_version_out_of_range_is_named_with_its_range(machine, name, version, expected):
    machine[0][name] = version
    text = message()
    assert expected in text and 'make env' in text


def test_all_wrong_versions_stand_in_one_line(machine):
    machine[0].update(mmcv='1.7.2', mmdet='2.28.2')
    text = message()
    assert 'mmcv is 1.7.2' in text and 'mmdet is 2.28.2' in text


def test_old_python_is_named(machine, monkeypatch):
    monkeypatch.setattr(compatibility.sys, 'version_info', (3, 9, 18, 'final', 0))
    assert 'Python is 3.9.18, >=3.10 is needed' in message()


def test_mmcv_without_ops_says_how_to_build_them(machine):
    machine[1]['mmcv._ext'] = ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext')
    text = message()
    assert 'mmcv 2.1.0 has no compiled ops' in text
    assert 'make env' in text and 'MMCV_WITH_OPS=1 pip install' in text


def test_ops_for_another_torch_are_told_from_missing_ones(machine):
    machine[1]['mmcv._ext'] = ImportError('_ext.so: undefined symbol: _ZN3c105ErrorC2')
    text = message()
    assert 'ops do not load (_ext.so: undefined symbol: _ZN3c105ErrorC2)' in text and 'make env' in text


def test_missing_system_libraries_of_opencv_are_named(machine):
    machine[1]['mmcv'] = ImportError('libGL.so.1: cannot open shared object file: No such file or directory')
    assert 'apt-get install libgl1 libglib2.0-0' in message()


def test_versions_compare_as_numbers():
    mmcv = compatibility.Requirement('mmcv', '2.0.0', '3.0')
    assert mmcv.accepts('2.0') and mmcv.accepts('2.10.1') and mmcv.accepts('2.2.0rc1')
    assert not mmcv.accepts('3.0.0') and not mmcv.accepts('1.99')


def test_a_version_is_found_without_importing_the_package(tmp_path, monkeypatch):
    package = tmp_path / 'mmman_fake_part'
    package.mkdir()
    (package / '__init__.py').write_text('raise AssertionError("imported whole")')
    (package / 'version.py').write_text("__version__ = '1.2.3'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert compatibility.installed_version('mmman_fake_part') == '1.2.3'
    assert compatibility.installed_version('mmman_no_such_part') is None

    # The fork's way: the version of a distribution, which a leftover folder does not have.
    (package / 'version.py').write_text(
        "from importlib.metadata import version\n__version__ = version('no-such-dist')\n"
    )
    importlib.invalidate_caches()
    assert compatibility.installed_version('mmman_fake_part') is None


def test_importing_the_package_runs_the_check(tmp_path):
    """mmcv hidden from a real interpreter: the package's import fails with our line and no other."""
    code = "import sys; sys.modules['mmcv'] = None; import mmman"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith(
        'ImportError: mmman cannot run here: mmcv is not installed (>=2.0.0,<3.0 is needed); run `make env'
    )
