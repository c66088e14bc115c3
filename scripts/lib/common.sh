# Shared by the scripts of this folder; sourced, not run.
# After `need_tools`, $BUN is the Bun that this checkout's lock file names.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# apt_need COMMAND PACKAGE…: installs the Debian packages unless COMMAND exists.
apt_need() {
  local command=$1; shift
  command -v "$command" >/dev/null 2>&1 || apt_install "$@"
}

# apt_install PACKAGE…
apt_install() {
  [ "$(id -u)" = 0 ] || die "only root can install what is missing: apt-get install $*"
  say "installing $* (Debian package)"
  # Somebody else's apt may be at work, as on a machine that has just started.
  local install=(apt-get install -o DPkg::Lock::Timeout=600 -y -qq --no-install-recommends "$@")
  if ! DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null 2>&1; then
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive "${install[@]}" >&2
  fi
}

# Installs the npm packages of the lock file (which carry Bun itself) when they are not there yet.
need_tools() {
  local stamp=$ROOT/node_modules/.vdpactl-lock
  if ! cmp -s "$ROOT/package-lock.json" "$stamp" 2>/dev/null; then
    if command -v npm >/dev/null 2>&1 || ! command -v bun >/dev/null 2>&1; then
      apt_need npm nodejs npm
      say "installing npm packages"
      (cd "$ROOT" && npm ci --no-audit --no-fund --loglevel=error >&2)
    else
      say "installing npm packages with the bun of this machine"
      (cd "$ROOT" && bun install --no-save >&2)
    fi
    cp "$ROOT/package-lock.json" "$stamp"
  fi
  BUN=$ROOT/node_modules/.bin/bun
  if ! "$BUN" --version >/dev/null 2>&1; then
    # npm may be set up to run no install scripts; the platform package holds the binary itself.
    for BUN in "$ROOT"/node_modules/@oven/bun-linux-*/bin/bun; do
      "$BUN" --version >/dev/null 2>&1 && break
    done
    "$BUN" --version >/dev/null 2>&1 || die "Bun was not installed by the lock file's packages"
  fi
  export BUN
}
