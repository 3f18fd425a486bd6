#!/usr/bin/env python
"""Run the documentation's shell commands that are marked for it, on small data; list the others with the reason.

A comment before a fenced bash block marks it. `<!-- not run: REASON -->`, or `<!-- run` with options in YAML:
env (variables), replace (text for text), append (behind the last line), expect (text in the output), files (texts to
write before; `@python` stands for the page's first Python block). Everything runs in a temporary folder with links to
the repository, one page after the other, so that a page may use what an earlier one left in work_dirs.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
# get_started first: it trains what the others use.
PAGES = ['docs/en/get_started.md', 'README.md', 'CONTRIBUTING.md', 'docs/en/*.md', 'configs/**/*.md', 'demo/*.md']
BLOCK = re.compile(
    r'(?:^ *<!--\s*(?P<mark>(?:not run|run)\b(?:(?!-->).)*?)\s*-->\n)?^ *```(?:bash|shell|sh)\n(?P<code>.*?)^ *```$',
    re.DOTALL | re.MULTILINE,
)
PYTHON = re.compile(r'^```python\n(.*?)^```$', re.DOTALL | re.MULTILINE)
OPTIONS = {'env', 'replace', 'append', 'expect', 'files'}
LINKED = ('configs', 'demo', 'docs', 'mmman', 'tools', 'README.md', 'model-index.yml')
TIMEOUT = 300  # seconds for one command


class Block(NamedTuple):
    """A fenced block of shell commands: where it is, what it says, how to run it or why not."""

    place: str
    code: str
    options: dict | None
    reason: str


def blocks_of(page: Path, root: Path = ROOT) -> list[Block]:
    """Read a page's shell blocks with their marks; an unknown option is a ValueError that names it."""
    text, blocks = page.read_text(), []
    for match in BLOCK.finditer(text):
        place = f'{page.relative_to(root)}:{text.count(chr(10), 0, match.start("code"))}'
        mark = match['mark'] or 'not run: no mark'
        if mark.startswith('not run'):
            blocks.append(
                Block(place, match['code'], None, ' '.join(mark.removeprefix('not run').lstrip(': ').split()))
            )
            continue
        options = yaml.safe_load(mark.removeprefix('run')) or {}
        if set(options) - OPTIONS:
            raise ValueError(f'{place}: unknown option {", ".join(sorted(set(options) - OPTIONS))}')
        python = PYTHON.search(text)
        files = {name: python[1] if body == '@python' else body for name, body in options.get('files', {}).items()}
        blocks.append(Block(place, match['code'], {**options, 'files': files}, ''))
    return blocks


def command_of(block: Block) -> str:
    """What is run of a block: its text with the replacements, and what is appended."""
    code = block.code.rstrip()
    for old, new in block.options.get('replace', {}).items():
        if old not in code:
            raise ValueError(f"{block.place}: there is no '{old}' to replace")
        code = code.replace(old, new)
    code = f'{code} {block.options.get("append", "")}'
    return code.replace('.venv/bin/', f'{Path(sys.executable).parent}/')


def run(block: Block, folder: Path) -> tuple[bool, str]:
    """Run a block; whether it succeeded and printed what is expected, and its output."""
    for name, body in block.options['files'].items():
        (folder / name).write_text(body)
    env = {**os.environ, 'PYTHONPATH': str(ROOT), **block.options.get('env', {})}
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    command = ['bash', '-euo', 'pipefail', '-c', command_of(block)]
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return False, f'no end after {TIMEOUT} s'
    expected = block.options.get('expect', '')
    found = str(expected) in done.stdout
    return done.returncode == 0 and found, done.stdout + ('' if found else f"\nnot in the output: '{expected}'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--list', action='store_true', help='run nothing, list all blocks')
    args = parser.parse_args()

    pages = dict.fromkeys(page for pattern in PAGES for page in sorted(ROOT.glob(pattern)))
    blocks = [block for page in pages for block in blocks_of(page)]
    marked = [block for block in blocks if block.options is not None]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in LINKED:
            (Path(folder) / name).symlink_to(ROOT / name)
        for block in marked:
            first = block.code.splitlines()[0]
            if args.list:
                print(f'to run   {block.place}: {first}')
                continue
            start = time.time()
            success, output = run(block, Path(folder))
            failed += not success
            print(
                f'{"ran" if success else "FAILED"} in {time.time() - start:.0f} s   {block.place}: {first}', flush=True
            )
            if not success:
                print(output[-5000:])
    for block in blocks:
        if block.options is None:
            print(f'not run  {block.place}: {block.code.splitlines()[0]}\n         {block.reason}')
    print(f'{len(marked)} blocks of commands run, {failed} failed; {len(blocks) - len(marked)} not run')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
