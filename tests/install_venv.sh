#!/bin/sh
# Debian and Ubuntu ship python3 without the module that makes virtual environments: root gets it, others are told.
set -u
python=$1
directory=$2
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing python3-venv"
    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    rm -rf "$directory"
    exec "$python" -m venv "$directory"
fi
rm -rf "$directory"
echo "wproxy needs Python's venv module: apt-get install python3-venv" >&2
exit 1
