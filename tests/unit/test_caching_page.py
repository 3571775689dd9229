"""What docs/caching.md shows works as shown."""

import re

from tests.support.processes import ROOT, run_python

PAGE = ROOT / "docs" / "caching.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_page_run_from_top_to_bottom(tmp_path):
    code = "\n".join(BLOCK.findall(PAGE.read_text()))
    assert code.count("cache.") > 10
    run_python(f"{code}\nprint('done')", cwd=tmp_path)
