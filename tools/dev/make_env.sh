#!/usr/bin/env bash
# Make .venv with the pinned stack: torch, the OpenMMLab packages (mmcv's ops compiled), mmman itself, developer tools.
# Called by `make env`, which decides whether there is anything to do. PYTHON names the interpreter, VENV the folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
VENV=${VENV:-.venv}
SUPPORTED='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'

fail() {
    echo "make env: $*" >&2
    exit 1
}

# An interpreter is tried by running it: a pyenv shim exists for versions that are not installed, too.
if [ ! -x "$VENV/bin/python" ]; then
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.10}; do
        if "$candidate" -c "$SUPPORTED" >/dev/null 2>&1; then FOUND=$candidate && break; fi
    done
    [ -n "${FOUND:-}" ] || fail "no Python that fits among: ${PYTHON:-python3.11 python3 python3.12 python3.10};" \
        "mmman needs Python 3.10 to 3.12. Name one: make env PYTHON=python3.11"
    "$FOUND" -m venv "$VENV" || {
        rm -rf "$VENV"
        fail "'$FOUND -m venv' failed. On Debian: apt-get install python3-venv"
    }
fi
PY=$(cd "$VENV/bin" && pwd)/python
"$PY" -c "$SUPPORTED" || fail "$VENV has $("$PY" --version 2>&1); mmman needs Python 3.10 to 3.12. Remove $VENV and try again"
pip() { "$PY" -m pip --disable-pip-version-check --quiet "$@"; }
say() { echo "make env: $*"; }

say 'torch and the build tools (a download of some GB the first time)'
pip install -r requirements/build.txt
pip install -r requirements/torch.txt

# With a GPU and nvcc mmcv's setup.py builds the CUDA ops by itself, without a GPU the CPU ones; a GPU without nvcc has to
# be hidden from it. A built wheel fits one torch and one of the two only, so each pair gets its own folder in pip's
# cache: a second clone builds nothing.
TORCH=$("$PY" -c 'import torch; print(torch.__version__)')
DEVICE=$("$PY" -c "import torch; print('cuda' if torch.cuda.is_available() else 'cpu')")
NVCC=$(command -v "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" || command -v nvcc || true)
HIDE=()
if [ "$DEVICE" = cuda ] && [ -z "$NVCC" ]; then
    say "there is a GPU but no nvcc: mmcv's ops are built for the CPU. Install the CUDA toolkit and run: make env -B" >&2
    DEVICE=cpu
    HIDE=(env CUDA_VISIBLE_DEVICES=)
fi
KEY=torch$TORCH-$DEVICE
CACHE=$("$PY" -m pip cache dir)/mmman/$KEY

if [ -z "$(find "$CACHE" -name '*mmcv-*.whl' 2>/dev/null)" ]; then
    command -v g++ >/dev/null || fail "mmcv's ops are compiled and g++ is missing. On Debian: apt-get install g++ python3-dev"
    "$PY" -c "import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))" ||
        fail "mmcv's ops are compiled and Python.h is missing. On Debian: apt-get install python3-dev"
    say "mmcv's ops are compiled once for $KEY; this takes minutes"
fi

# torch's headers need the C++ standard that its own extension builder defaults to; mmcv's setup.py names an older one.
STD=$("$PY" -c "
import re, pathlib, torch.utils.cpp_extension as e
print(max(re.findall(r'-std=c\+\+(\d\d)', pathlib.Path(e.__file__).read_text())))")
WRAPPERS=$(mktemp -d)
trap 'rm -rf "$WRAPPERS"' EXIT
wrap() { # NAME REAL-COMPILER [FLAGS]: a compiler that puts the newer standard in the older one's place
    cat >"$WRAPPERS/$1" <<WRAPPER
#!/usr/bin/env bash
exec "$2" "\${@/#-std=c++1[47]/-std=c++$STD}" ${3:-}
WRAPPER
    chmod +x "$WRAPPERS/$1"
}
wrap c++ "$(command -v c++ || command -v g++ || echo c++)" -g0
wrap nvcc "${NVCC:-nvcc}"

# Ops that were built for another torch or device, or that do not load, are replaced.
AGAIN=(--force-reinstall)
if [ "$(cat "$VENV/.mmcv-ops" 2>/dev/null)" = "$KEY" ] && "$PY" -c 'import torch, mmcv._ext' 2>/dev/null; then AGAIN=(); fi
MMCV_WITH_OPS=1 CXX="$WRAPPERS/c++" PYTORCH_NVCC="$WRAPPERS/nvcc" "${HIDE[@]}" \
    "$PY" -m pip --disable-pip-version-check --quiet --cache-dir "$CACHE" \
    install --no-build-isolation --no-deps "${AGAIN[@]}" -r requirements/mmcv.txt
echo "$KEY" >"$VENV/.mmcv-ops"

say 'the OpenMMLab packages and the developer tools'
pip install --no-build-isolation -r requirements/openmmlab.txt -r requirements/dev.txt -r requirements/export.txt \
    -r requirements/docs.txt
OPENCV=$("$PY" -c 'import cv2' 2>&1) ||
    fail "OpenCV does not import (${OPENCV##*$'\n'}). On Debian: apt-get install libgl1 libglib2.0-0"
pip install --no-build-isolation --no-deps -e .
"$PY" -c "import mmman; print('make env: mmman', mmman.__version__, 'is ready in $VENV')"
