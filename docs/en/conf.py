"""Sphinx: `make docs` writes docs/_build/html and stops at any warning."""

import re
from pathlib import Path

project = 'mmman'
copyright = 'the mmman contributors'
release = re.search(r"__version__ = '(.+)'", Path(__file__, '../../../mmman/version.py').resolve().read_text()).group(1)
version = release

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
myst_heading_anchors = 4
nb_execution_mode = 'off'  # tests/test_docs.py executes the notebook
autodoc_typehints = 'none'  # the docstrings give types, shapes and units
autodoc_member_order = 'bysource'
html_theme = 'furo'
html_title = f'mmman {release}'
