# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""tools/summarize.py adds up what the three runners write."""

import subprocess
import sys

from conftest import ROOT

CTEST = """<testsuite><testcase name="A" status="run"/><testcase name="B" status="fail"><failure message="Failed"/></testcase>
<testcase name="C" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/></testcase></testsuite>"""
LIT = """<testsuites><testsuite><testcase classname="pst.Dialect" name="ops.mlir"/>
<testcase classname="pst.GPU" name="g.mlir"><skipped message="missing feature: gpu"/></testcase></testsuite></testsuites>"""
PYTEST = """<testsuites><testsuite><testcase classname="t.x" name="a"/><testcase classname="t.x" name="b"><error/></testcase>
</testsuite></testsuites>"""


def summarize(tmp_path, *contents):
    paths = []
    for i, content in enumerate(contents):
        path = tmp_path / f"{i}.xml"
        if content is not None:
            path.write_text(content)
        paths.append(path)
    done = subprocess.run([sys.executable, ROOT / "tools" / "summarize.py", *paths], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_totals_and_names(tmp_path):
    status, lines = summarize(tmp_path, CTEST, LIT, PYTEST)
    assert status == 1
    assert lines[-1] == "3 passed, 2 failed, 2 skipped"
    assert "failed: B" in lines and "failed: t.x.b" in lines
    assert "skipped: pst.GPU.g.mlir (missing feature: gpu)" in lines
    assert any(line.startswith("skipped: C") for line in lines)


def test_success(tmp_path):
    status, lines = summarize(tmp_path, LIT)
    assert (status, lines[-1]) == (0, "1 passed, 0 failed, 1 skipped")


def test_a_runner_that_did_not_run_is_a_failure(tmp_path):
    for content in (None, "<testsuite></testsuite>", "<testsuite>"):
        status, lines = summarize(tmp_path, LIT, content)
        assert (status, lines[-1]) == (1, "1 passed, 1 failed, 1 skipped"), content
