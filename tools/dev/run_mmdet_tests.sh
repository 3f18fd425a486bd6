#!/usr/bin/env bash
# Run mmdet's own tests with LocalBackbone, K = 1, in place of every ResNet, ResNetV1d and ResNeXt they build.
#
#   tools/dev/run_mmdet_tests.sh TESTS [pytest arguments]
#
# TESTS is the folder `tests` of an mmdet 3.x checkout, or files of it. `--stock-backbone` runs the same tests as they are.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
VENV=${VENV:-$ROOT/.venv}
PYTHONPATH=$ROOT/tests/upstream${PYTHONPATH:+:$PYTHONPATH} \
    exec "$VENV/bin/python" -m pytest -p local_backbone_plugin -p no:cacheprovider "$@"
