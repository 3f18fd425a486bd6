"""The house: one question a room, imports in one direction, files that can be read at once, names that stay."""

import ast
import importlib
import statistics
from pathlib import Path

import pytest

import mmman
from mmman import registry

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'mmman'
# A room imports only those before it (docs/en/architecture.md); what lies below all rooms is the foundation.
FOUNDATION = ('version', 'compatibility', 'toolboxes', 'registry')
ROOMS = (
    'memory',
    'partition',
    'auxiliary',
    'local_heads',
    'models',
    'optim',
    'resume',
    'hooks',
    'pipeline',
    'costs',
    'theory',
    'planning',
    'apis',
    'probing',
    'classification',
    'testing',
    'zoo',
)
FRONT_DOORS = ('__init__', 'engine')  # engine: the old names
FLOORS = {name: floor for floor, name in enumerate((*FOUNDATION, *ROOMS, *FRONT_DOORS))}
MODULES = sorted(PACKAGE.rglob('*.py'))


def room_of(module: str) -> str:
    """The room of a dotted name: ``'costs'`` for ``mmman.costs.dry_run``, ``'__init__'`` for ``mmman``."""
    return (module.split('.') + ['__init__'])[1]


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a module imports, wherever in the file."""
    package = ['mmman', *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = '.'.join([*base, *([node.module] if node.module else [])])
            # `from mmman import costs` names a room, `from mmman.costs import DryRun` none further.
            found |= {f'{module}.{alias.name}' for alias in node.names} if module == 'mmman' else {module}
    return {room_of(module) for module in found if module.split('.')[0] == 'mmman'}


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_in_one_direction(path):
    own = path.relative_to(PACKAGE).with_suffix('').parts[0]
    assert own in FLOORS, f'{own} is no room: add it to ROOMS, and to docs/en/architecture.md'
    imported = {room if room in FLOORS else '__init__' for room in imported_rooms(path)}  # else a name of mmman itself
    assert not {room for room in imported - {own} if FLOORS[room] > FLOORS[own]}


def test_an_import_against_the_direction_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(f'{__name__}.PACKAGE', tmp_path)
    (tmp_path / 'costs').mkdir()
    path = tmp_path / 'costs/new.py'
    path.write_text(
        'import torch, mmman.theory.schedule\nfrom .dry_run import DryRun\nfrom ..planning.planner import Plan\n'
        'def late():\n    from mmman import apis\n    from .. import probing\n    from mmman.models import LocalStep\n'
    )
    assert imported_rooms(path) == {'theory', 'costs', 'planning', 'apis', 'probing', 'models'}


def test_files_can_be_read_at_once():
    lengths = {path: len(path.read_text().splitlines()) for path in [*MODULES, *(ROOT / 'tools').rglob('*.py')]}
    assert not {str(path): length for path, length in lengths.items() if length > 500}
    modules = [lengths[path] for path in MODULES if path.name != '__init__.py']
    assert 60 <= statistics.median(modules) <= 200


def test_what_configs_name_is_importable_from_the_package():
    assert sorted(mmman.__all__) == sorted(set(mmman.__all__))
    assert all(hasattr(mmman, name) for name in mmman.__all__)
    for value in vars(registry).values():
        if not isinstance(value, registry.Registry) or value.scope != 'mmman':
            continue
        for name, kind in value.module_dict.items():
            # Importing classification takes seconds; it has a name of its own, as others that are not ours.
            if kind.__module__.startswith('mmman.') and room_of(kind.__module__) not in (
                'classification',
                'testing',
                'zoo',
            ):
                assert name in mmman.__all__ and getattr(mmman, name) is kind


def test_the_old_names_still_lead_to_the_new_ones():
    old = importlib.import_module('mmman.engine')
    assert all(getattr(old, name) is getattr(mmman, name) for name in old.__all__)
