#!/bin/sh
# Runs the tests on the Pythons of newer Debians, each in a root directory of its own below .pythons/ (debootstrap, once).
# usage, as root: tests/run_on_pythons.sh [SUITE ...], with TESTS="paths and options of pytest"
#
# Mounts and processes live in namespaces that end with the run, so that nothing is left behind in them or beside them.
set -u
cd "$(dirname "$0")/.."
tests=${TESTS:-"-q -m 'not soak and not applications' -n 2 --dist loadfile"}
[ $# -gt 0 ] || set -- trixie sid

skip() {
    echo "make pythons: skipped, $1" >&2
    exit 0
}

[ "$(id -u)" = 0 ] || skip "only root can set up and enter the root directory of another Debian"
unshare --mount --pid --fork true 2>/dev/null || skip "this machine allows no namespaces of mounts and processes"
command -v debootstrap >/dev/null 2>&1 || {
    command -v apt-get >/dev/null 2>&1 || skip "there is no debootstrap"
    apt-get update -qq >/dev/null && apt-get install -y -qq debootstrap >/dev/null || skip "debootstrap cannot be installed"
}
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 '/debian/*$')
[ -n "$mirror" ] || skip "apt names no mirror of Debian"

# Set up the root directory of a suite; what is set up is kept.
prepare() {
    suite=$1 root=$2
    [ ! -e "$root/.prepared" ] || return 0
    rm -rf "$root"
    mkdir -p "$root"
    echo "$suite: setting up $root from $mirror"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
        tail -n 5 "$root.log"
        return 1
    }
    # No server may start because its package is installed.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    # A mirror that stands still serves as well as one that moves.
    inside "$root" 'echo "Acquire::Check-Valid-Until \"false\";" >/etc/apt/apt.conf.d/50wproxy && apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends nginx nodejs wrk curl logrotate git procps sudo adduser' \
        >>"$root.log" 2>&1 || {
        tail -n 5 "$root.log"
        return 1
    }
    : >"$root/.prepared"
}

# Run a command of the shell inside a root directory. What tells this machine the way to the network is told there, too.
inside() {
    root=$1
    for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || cp -L "$file" "$root$file"
    done
    HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        unshare --mount --pid --fork --propagation private sh -c '
        # The root is a mount of its own, so that tests may make namespaces in it.
        mount --bind "$1" "$1" && cd "$1" && mount -t proc proc "$1/proc" &&
        mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" && exec chroot "$1" sh -c "$2"' sh "$root" "$2"
}

failed=""
for suite in "$@"; do
    root=$PWD/.pythons/$suite
    prepare "$suite" "$root" || {
        echo "$suite: cannot be set up, see $root.log"
        failed="$failed $suite"
        continue
    }
    mkdir -p "$root/srv/wproxy"
    # Files that are gone here must go there; the environment stays, it is brought up to date.
    find "$root/srv/wproxy" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
    git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null |
        tar -c -T - | tar -x -C "$root/srv/wproxy"
    echo "$suite: $(inside "$root" 'python3 --version')"
    inside "$root" "cd /srv/wproxy && git init -q . || exit 1
        [ -e .venv/bin/python ] || python3 -m venv .venv
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' && .venv/bin/python -m pytest $tests" ||
        failed="$failed $suite"
done
[ -z "$failed" ] || echo "make pythons: failed on$failed"
[ -z "$failed" ]
