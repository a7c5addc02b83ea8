# The configuration of the lit tests. What is missing on this machine becomes a
# missing feature, so that a test that `REQUIRES:` it is skipped by name.

import os
import platform
import sys
from pathlib import Path

import lit.formats
import lit.util

config.name = "PST"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["CMakeLists.txt", "Unit", "Python", "Fuzz", "Inputs", "TestDialect"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.pst_binary_dir, "test")

config.environment["PATH"] = os.pathsep.join(
    [config.pst_tools_dir, config.llvm_tools_dir, os.environ.get("PATH", "")]
)
# What a test that fails must not depend on, and what it may.
for variable in ("OMP_NUM_THREADS", "PST_DATA", "ASAN_OPTIONS", "TMPDIR"):
    if variable in os.environ:
        config.environment[variable] = os.environ[variable]

# Not the user's cache of compiled programs.
config.environment["PST_CACHE_DIR"] = os.path.join(config.test_exec_root, "cache")

# The Python that runs lit may lack NumPy; PST_PYTHON names another.
python = os.environ.get("PST_PYTHON", sys.executable)
config.substitutions += [
    ("%python", python),
    ("%source_dir", config.pst_source_dir),
    ("%binary_dir", config.pst_binary_dir),
    ("%mlir_include", config.mlir_include_dir),
    ("%test_dialect", f"{config.pst_binary_dir}/lib/pst-test-dialect.so"),
]

for tool in ("pst-opt", "pst-compile", "pst-run", "pst-bench", "pst-lsp-server"):
    if os.path.exists(os.path.join(config.pst_tools_dir, tool)):
        config.available_features.add(tool)

wanted = ("numpy", "torch", "transformers", "safetensors")
found = lit.util.executeCommand(
    [python, "-c", "import importlib.util as u, sys\n"
     "print(*[m for m in sys.argv[1:] if u.find_spec(m)])", *wanted])[0]
config.available_features.update(found.split())

if lit.util.which("ptxas", config.environment["PATH"]):
    config.available_features.add("ptxas")
config.substitutions.append(
    ("%ptxas", f"{python} {config.test_source_root}/Codegen/GPU/Inputs/assemble.py"))

data = Path(os.environ.get("PST_DATA", f"{config.pst_source_dir}/../shared/data"))
if data.is_dir():
    config.available_features.add("data")
    config.substitutions.append(("%data", str(data.resolve())))

config.available_features.add(platform.machine())
if "-fsanitize=" in config.pst_cxx_flags:
    config.available_features.add("asan")
