#!/bin/sh
# compiled_tree.sh PYTHON TREE: make TREE a copy of the repository with compiled modules (wproxy/compiled.py) beside their sources.
# What has not changed since the last time is not compiled again.
set -eu
python=$(realpath -s "$1")
mkdir -p "$2"
tree=$(realpath "$2")
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard -z | xargs -0 sh -c 'for file; do [ ! -f "$file" ] || printf "%s\0" "$file"; done' sh |
    tar --null --files-from=- -cf - | tar -C "$tree" -xf -
cd "$tree"
# Without those of modules that are no longer compiled: Python would prefer them.
find . -name '*.so' -not -path './build/*' -delete
WPROXY_COMPILE=1 "$python" setup.py --quiet build_ext --inplace --parallel 2 || {
    echo "THE MODULES OF wproxy/compiled.py CANNOT BE COMPILED, for the reason above (docs/compiled.md); nothing is tested."
    exit 1
} >&2
PYTHONPATH="$tree" "$python" -c 'from wproxy.compiled import how_it_runs; print(how_it_runs())'
