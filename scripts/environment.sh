# Sourced by the other scripts: a virtual environment with this project in it, made once and again when it has to change.
# Sets `root` (the checkout) and `bin` (the environment's programs). Installation talk goes to standard error.

root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=$root/.venv/bin

# Where this is set, as in many images of containers, each process compiles the whole program before it does anything.
unset PYTHONDONTWRITEBYTECODE

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# The Python of the environment while it works: a timer or another user may have others in the PATH.
find_python() {
    local candidate
    for candidate in "$bin/python" "${PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed (on Debian: apt-get install python3 python3-venv); PYTHON=... names one"
}

# install_project EXTRAS: EXTRAS is "" or "[test]". The stamp makes the second time fast: no package client is started,
# and no network is needed, also after the system has brought its Python up to date.
install_project() {
    local extras=$1 python fingerprint
    if is_installed; then
        return
    fi
    # Another script may be at it: two would clear each other's environment. The checkout itself is what is locked, as
    # everything in .venv may be removed; where there is no flock, or the file system has none, it goes on without.
    exec 9<"$root"
    if command -v flock >/dev/null 2>&1 && ! flock --nonblock 9 2>/dev/null; then
        printf 'waiting for another installation into %s/.venv ...\n' "$root" >&2
        flock 9 || true
    fi
    is_installed || make_environment
    exec 9<&-
}

# Whether the environment has what `extras` asks for. Sets `python` and `fingerprint`, which are those of the caller.
is_installed() {
    local stamp
    python=$(find_python) || exit 1
    fingerprint=$("$python" - "$root" <<'PYTHON'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
version = "%d.%d" % sys.version_info[:2]
print(hashlib.sha256((root / "pyproject.toml").read_bytes() + f"{version} {root}".encode()).hexdigest())
PYTHON
    )
    for stamp in "$root/.venv/installed$extras" "$root/.venv/installed[test]"; do
        if [ "$python" = "$bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ]; then
            return 0
        fi
    done
    return 1
}

make_environment() {
    printf 'installing into %s/.venv ...\n' "$root" >&2
    if [ "$python" != "$bin/python" ] || [ ! -x "$bin/pip" ]; then
        "$python" -m venv --clear "$root/.venv" >&2 ||
            fail "$root/.venv could not be made: see the lines above (for want of ensurepip, on Debian: apt-get install python3-venv)"
    fi
    # Where the site has pip install into homes or other folders, this environment stays its own.
    env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 \
        "$bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$extras" >&2 ||
        fail "the project could not be installed: see the lines above; is a package index within reach?"
    # Whoever runs it later may not write here, or be told not to.
    "$bin/python" -m compileall -q "$root/pacs_server" >&2
    printf '%s\n' "$fingerprint" >"$root/.venv/installed$extras"
}
