"""A process forks while its store is idle, in a transaction, or being synced.

Whatever the child does with the handle, it is refused, touches no file, and the
parent goes on as if nothing had happened.
"""

import pytest

from tests.support.processes import run_python

SCRIPT = """
    import gc, os, sys, threading, warnings
    from hypercache import Cache, os_file
    from hypercache.errors import ForkedStoreError
    from tests.support.files import difference, snapshot
    from pathlib import Path

    warnings.simplefilter("ignore", DeprecationWarning)
    path, engine, log_io = sys.argv[1:4]
    arguments = {"log_io": log_io} if engine != "persistent" else {}
    cache = Cache(path, engine=engine, **arguments)
    contents = {b"k%02d" % n: [n, "v" * 50] for n in range(30)}
    cache.set_many(contents)

    # The child ends as a program does, uses the handle, or lets go of it.
    def fork(action):
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1]
        if action == "exit":
            sys.exit(0)
        if action == "use":
            calls = [
                lambda: cache.get("k01"), lambda: cache.set("k01", 0), cache.sync,
                lambda: list(cache.scan()), lambda: len(cache), cache.check,
                cache.checkpoint, lambda: cache.incr("n"),
            ]
            for number, call in enumerate(calls):
                try:
                    call()
                except ForkedStoreError:
                    continue
                os._exit(number + 1)
            cache.close()
        else:
            globals()["cache"] = None
            gc.collect()
        os._exit(0)

    def fork_each():
        before = snapshot(Path(path))
        for action in ("exit", "use", "drop"):
            status = fork(action)
            assert status == 0, (state, action, status)
        changed = difference(before, snapshot(Path(path)))
        assert state == "maintaining" or not changed, changed

    def while_held(owner, name, work):
        # Another thread is inside this call when the process forks.
        inside, go_on = threading.Event(), threading.Event()
        real = getattr(owner, name)
        def held(*arguments, **options):
            inside.set()
            assert go_on.wait(60)
            return real(*arguments, **options)
        setattr(owner, name, held)
        thread = threading.Thread(target=work)
        thread.start()
        assert inside.wait(60)
        setattr(owner, name, real)
        fork_each()
        go_on.set()
        thread.join()

    for state in ("idle", "transaction", "syncing", "maintaining"):
        if state == "idle":
            fork_each()
        elif state == "transaction":
            with cache.transaction():
                cache.set("k01", contents[b"k01"])
                fork_each()
        elif state == "syncing" and engine == "persistent":
            held = cache._engine._store, "write"
            while_held(*held, lambda: cache.set("k02", contents[b"k02"]))
        elif state == "syncing":
            cache.set("k01", contents[b"k01"])
            while_held(os_file, "sync_data", cache.sync)
        elif engine == "persistent":
            held = cache._engine._store, "clear_dead_readers"
            while_held(*held, lambda: cache.set("k03", contents[b"k03"]))
        else:
            while_held(cache._engine._upkeep, "steps", cache.compact)
    cache.set("after", 1)
    assert cache.pop("after") == 1
    assert dict(cache.scan()) == contents
    assert cache.check().ok
    cache.close()
    with Cache(path, engine=engine, verify="full") as cache:
        assert dict(cache.scan()) == contents
    print("whole")
"""


@pytest.mark.parametrize(
    ("engine", "log_io"),
    [("memory", "write"), ("hybrid", "mmap"), ("persistent", "")],
    ids=["memory", "hybrid", "persistent"],
)
def test_a_fork_in_any_state_harms_nobody(tmp_path, engine, log_io):
    assert run_python(SCRIPT, tmp_path / "store", engine, log_io) == "whole\n"
