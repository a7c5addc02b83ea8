# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# What quickstart.sh and test.sh share: installs what is missing on Debian 12,
# in the system (as root, or with sudo) and in a virtual environment, .venv.
# Sourced; call the functions in the order in which they stand.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
jobs=${PST_JOBS:-$(nproc)}

system_packages=(
  llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools clang-22 lld-22
  libomp-22-dev ccache ninja-build cmake nlohmann-json3-dev libcli11-dev
  python3-venv python3-dev)
test_system_packages=(libgtest-dev libgmock-dev)
build_python_packages=(scikit-build-core nanobind numpy tokenizers)

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "'$*' needs root: run this as root, or install sudo"
  fi
}

# install_system PACKAGE...: those that are not installed yet.
install_system() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  command -v apt-get >/dev/null || fail "this script installs Debian packages; please install: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "could not install ${missing[*]}: LLVM 22 is in Debian 12's security updates (bookworm-security); see that they are among apt's sources"
}

# make_venv: the virtual environment, made once.
make_venv() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null && return
  say "making the virtual environment .venv"
  "${PYTHON:-python3}" -m venv --clear "$venv" || fail "could not make $venv"
}

# install_python REQUIREMENT...: NAME or NAME==VERSION, what is missing only.
install_python() {
  local missing
  missing=$("$venv/bin/python" - "$@" <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version

def satisfied(requirement):
    name, _, wanted = requirement.partition("==")
    try:
        return not wanted or version(name).split("+")[0] == wanted if version(name) else False
    except PackageNotFoundError:
        return False

print(*(r for r in sys.argv[1:] if not satisfied(r)))
PYTHON
  )
  [ -z "$missing" ] && return
  say "installing $missing"
  # shellcheck disable=SC2086
  "$venv/bin/python" -m pip install -q --disable-pip-version-check $missing || fail "could not install $missing"
}

# install_pst: builds and installs the package, if a source has changed.
install_pst() {
  local stamp=$venv/.pst-installed
  if [ -e "$stamp" ] && [ -x "$venv/bin/pst" ] && [ -z "$(cd "$root" &&
    find CMakeLists.txt pyproject.toml README.md include lib runtime tools python-bindings -newer "$stamp" -type f -print -quit)" ]; then
    return
  fi
  say "building and installing the package (the first time takes some minutes)"
  CMAKE_BUILD_PARALLEL_LEVEL=$jobs "$venv/bin/python" -m pip install -q --disable-pip-version-check \
    --no-build-isolation --no-deps --force-reinstall "$root" || fail "the build failed"
  touch "$stamp"
}
