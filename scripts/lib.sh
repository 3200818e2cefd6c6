# Sourced by the scripts: what they share. Run from the top of the checkout.

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else die "needs root for: $*"; fi
}

# Installs those of the named Debian packages that are missing.
packages() {
  missing=
  for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
  done
  [ -z "$missing" ] && return
  command -v apt-get >/dev/null || die "please install:$missing"
  say "installing$missing"
  as_root apt-get -qq update >&2
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >&2
  # The tests start servers of their own: those that came with a package now are not to run here, nor after the next boot.
  command -v systemctl >/dev/null || return 0
  # shellcheck disable=SC2086
  for unit in $(dpkg -L $(echo "$missing " | sed 's/ systemd / /') | sed -n 's#.*/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$#\1#p'); do
    as_root systemctl disable --quiet --now "$unit" >/dev/null 2>&1 || true
  done
}

build_packages() {
  packages gcc libc6-dev pkg-config libssl-dev ca-certificates
  command -v cargo >/dev/null || die "no cargo: install a Rust toolchain of at least 1.88 (rustup.rs, or Debian's rustup package)"
}

# The Python with dnspython that asks over HTTPS and QUIC, for a test. Prints its program.
python_of_tests() {
  packages python3-minimal python3-venv
  place=$(pwd)/target/python
  if ! cmp -s scripts/python/requirements.txt "$place/requirements.txt"; then
    say "installing dnspython in $place"
    /usr/bin/python3 -m venv --clear "$place" >&2
    "$place/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r scripts/python/requirements.txt >&2
    cp scripts/python/requirements.txt "$place/"
  fi
  echo "$place/bin/python3"
}

# What looks at the status page: Chromium, and the npm packages of scripts/page. Prints the folder of the packages.
page_modules() {
  packages chromium
  command -v npm >/dev/null || packages nodejs npm
  place=$(pwd)/target/page-check
  mkdir -p "$place"
  cp scripts/page/package.json scripts/page/package-lock.json "$place/"
  (cd "$place" && npm ci --no-audit --no-fund --ignore-scripts >&2)
  echo "$place/node_modules"
}
