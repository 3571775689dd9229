"""What docs/extending.md shows works as shown, and the suite finds what breaks."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import memory_disk
from tests.support.packages import install
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
MODULE, SUITE = "hypercache_sqlite.py", "test_hypercache_sqlite.py"


def shown() -> dict[str, str]:
    """Return the files that the page shows, each put together from its blocks."""
    files: dict[str, str] = {}
    for title, code in BLOCK.findall(PAGE.read_text()):
        files[title] = files.get(title, "") + code
    return files


def install_what_is_shown(site: Path, files: dict[str, str]) -> None:
    project = tomllib.loads(files["pyproject.toml"])["project"]
    points = project["entry-points"]["hypercache.engines"]
    install(site, project["name"], points, hypercache_sqlite=files[MODULE])
    for title in (SUITE, "example.py", "sqlite_log.py", "use_the_log.py"):
        (site / title).write_text(files[title])


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    quick = {"TMPDIR": place} if (place := memory_disk.place()) else {}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=site,
        env={**inherited, **quick, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def run_suite(site: Path, *arguments: str) -> subprocess.CompletedProcess:
    options = ("-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(site))
    # Without the plugin that imports Hypothesis, for a second.
    options += ("-p", "no:hypothesispytest")
    return run(site, "-m", "pytest", *options, *arguments, SUITE)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install_what_is_shown(tmp_path / "site", shown())
    return tmp_path / "site"


def test_the_engine_of_the_page_is_opened_by_the_name_it_registers(site):
    look = (
        "from hypercache import Cache\n"
        "with Cache('store', engine='sqlite') as cache:\n"
        "    print(cache['user:7'], cache['visits'], cache.stats().engine)\n"
    )
    for turn in (1, 2):
        example = run(site, "example.py")
        assert example.returncode == 0, example.stderr
        found = run(site, "-c", look)
        assert found.returncode == 0, found.stderr
        assert found.stdout == f"{{'name': 'Ada'}} {turn} sqlite\n"


def test_a_second_process_is_told_that_the_store_is_open(site):
    code = (
        "import subprocess, sys\n"
        "from hypercache import Cache\n"
        "open_it = \"from hypercache import Cache; Cache('store', engine='sqlite')\"\n"
        "with Cache('store', engine='sqlite'):\n"
        "    again = [sys.executable, '-c', open_it]\n"
        "    print(subprocess.run(again, capture_output=True).stderr.decode())\n"
    )
    done = run(site, "-c", code)
    assert "StoreLockedError" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_engine_of_the_page_passes_the_suite_that_ships(site):
    done = run_suite(site)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)
    assert passed, f"nothing may be skipped: {done.stdout}"
    assert int(passed[1]) > 80


BREAKS = {
    "a batch that is not atomic": (
        "self._database() as db, db:\n            for",
        "self._database() as db:\n            for",
        "test_everything_is_there_after_close_and_open",
    ),
    "a damaged value": (
        "if crc != checksum(key, value, expires_ms):",
        "if False:",
        "test_check_names_the_file_in_which_a_byte_was_flipped",
    ),
    "writers that do not wait": (
        "with self._writers:\n",
        "with contextlib.nullcontext():\n",
        "test_a_write_waits_for_the_end_of_an_exclusive_block",
    ),
    "a scan in the wrong order": (
        "ORDER BY key {order}",
        "ORDER BY length(key), key {order}",
        "test_long_keys_with_one_prefix_stay_in_key_order",
    ),
    "entries that do not expire": (
        "return self._expiry.live((value, expires_ms))",
        "return Entry(value, expires_ms)",
        "test_an_entry_is_there_until_it_expires_and_then_nowhere",
    ),
    "an LSN that stands still": (
        "last = last + ?",
        "last = last + 0 * ?",
        "test_lsns_rise_with_every_write_and_are_never_reused",
    ),
    "calls after the end": (
        "if self._closed:",
        "if False:",
        "test_close_is_repeatable_and_every_later_call_is_refused",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_the_suite_finds_an_engine_that_breaks_a_promise(tmp_path, what):
    good, bad, test = BREAKS[what]
    files = shown()
    assert good in files[MODULE]
    files[MODULE] = files[MODULE].replace(good, bad)
    install_what_is_shown(tmp_path, files)
    done = run_suite(tmp_path, "-k", test)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED {SUITE}::TestSqliteEngine::{test}" in done.stdout


def test_a_failure_of_the_suite_shows_the_values(tmp_path):
    files = shown()
    good = "row = (key, *entry, checksum(key, *entry))"
    bad = "row = (key, b'wrong', 0, checksum(key, b'wrong', 0))"
    assert good in files[MODULE]
    files[MODULE] = files[MODULE].replace(good, bad)
    install_what_is_shown(tmp_path, files)
    done = run_suite(tmp_path, "-k", "test_what_was_put_is_got")
    assert "assert b'wrong' == b'value'" in done.stdout


def test_the_log_of_the_page_gives_back_what_was_appended(site):
    for turn in (1, 2, 3):
        done = run(site, "use_the_log.py")
        assert done.returncode == 0, done.stderr
        entry = "Entry(value=b'2', expires_at_ms=0)"
        assert done.stdout == f"{3 * turn} {{b'b': {entry}}}\n"


LOG = """
from hypercache import ops
from hypercache.errors import CorruptionError
from hypercache.ops import Clear, Delete, Put, Touch
from sqlite_log import SqliteLog

batches = [
    [Put(b"a", b"1", 5)],
    [Put(b"b", b"2"), Delete(b"a"), Touch(b"b", 9)],
    [Clear()],
    [Put(b"c", b"needle")],
]
log = SqliteLog("log")
assert list(log.replay()) == []
packer = ops.Packer()
lsns = [log.append(ops.encode(packer, batch), len(batch)) for batch in batches]
assert lsns == [1, 4, 5, 6] and log.appended_lsn() == 6
log.sync_active()
numbered = list(enumerate((op for batch in batches for op in batch), start=1))
again = SqliteLog("log")  # as after a kill: the first was not closed
assert list(again.replay()) == numbered
again.trim(4)
again.close()
again = SqliteLog("log")
assert list(again.replay()) == numbered[4:]
again.trim(6)
again.close()
again = SqliteLog("log")
list(again.replay())
assert again.appended_lsn() == 6
assert again.append(ops.encode(packer, batches[0]), 1) == 7
again.close()
log.close()
with open("log/log.sqlite", "r+b") as file:
    data = file.read()
    file.seek(data.index(b"needle"))
    file.write(b"noodle")
damaged = SqliteLog("log")
try:
    list(damaged.replay())
except CorruptionError as error:
    print(error.lsn)
damaged.close()
"""


def test_the_log_of_the_page_keeps_the_contract_of_a_backend(site):
    done = run(site, "-W", "error", "-c", LOG)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "6\n"
