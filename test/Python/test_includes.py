"""Files include what lies below them: CONTRIBUTING.md lists the folders in order.

Targets (lib/Codegen/CPU, lib/Codegen/GPU) stand beside each other and never meet.
"""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ("lib", "include/pst", "runtime", "tools", "python-bindings")


def read_order():
    """For each folder (or file) of the list: its row, and its place between the bars of the row."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    block = re.search(r"walks the includes\.\n\n((?:    .*\n)+)", text).group(1)
    return {name.strip(): (row, place)
            for row, line in enumerate(block.splitlines())
            for place, names in enumerate(line.split("|"))
            for name in names.split(",")}


ORDER = read_order()


def place_of(path):
    """Row and place of the longest entry of the list that holds `path`; headers lie with their sources."""
    path = path.removeprefix("./")
    as_source = re.sub(r"^include/pst", "lib", path)
    for candidate in (path, as_source):
        parts = candidate.split("/")
        for length in range(len(parts), 0, -1):
            prefix = "/".join(parts[:length])
            if prefix in ORDER and (prefix != "lib" or length >= len(parts) - 1):
                return ORDER[prefix]
    return None


def target_of(path, include):
    """The file that `#include "include"` in `path` means, as a path from the root; None for others' headers."""
    for base in (path.parent, ROOT / "include", ROOT / "lib", ROOT / "runtime/include", ROOT / "runtime/lib"):
        found = (base / include).resolve()
        if found.exists() and found.is_relative_to(ROOT):
            return str(found.relative_to(ROOT))
    return None


def sources():
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp"):
                yield path


def find_faults(path):
    own = place_of(str(path.relative_to(ROOT)))
    for include in re.findall(r'#include "([^"]+)"', path.read_text()):
        found = target_of(path, include)
        if found is None:
            continue
        row, place = place_of(found)
        if row > own[0]:
            yield f"{path.relative_to(ROOT)} includes {found}, which lies above it"
        elif row == own[0] and place != own[1]:
            yield f"{path.relative_to(ROOT)} includes {found}, which stands beside it"


def test_every_file_has_a_place():
    lost = [str(path.relative_to(ROOT)) for path in sources()
            if place_of(str(path.relative_to(ROOT))) is None]
    assert not lost


def test_nothing_includes_upward():
    faults = [fault for path in sources() for fault in find_faults(path)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("here, include", [
    ("lib/Codegen/CPU/AdamW.cpp", "../GPU/KernelContext.h"),
    ("lib/Codegen/GPU/AdamW.cpp", "../CPU/KernelContext.h"),
    ("lib/Codegen/Kernel/AdamW.cpp", "../CPU/KernelContext.h"),
    ("lib/Transforms/Sparsify.cpp", "pst/Compiler.h")])
def test_faults_are_found(tmp_path, monkeypatch, here, include):
    """The walk sees what it looks for."""
    monkeypatch.setattr(pathlib.Path, "read_text", lambda self: f'#include "{include}"\n')
    assert list(find_faults(ROOT / here))
