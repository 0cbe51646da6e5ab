"""The peers of Python: the same workloads, the same command line, one line of JSON.

    python3 peers.py versions
    python3 peers.py WORKLOAD PEER DIR COUNT LENGTH THREADS SLEEP_MS OUTCOME
"""

import functools
import hashlib
import json
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

RUNS = 0
RUNS_LOCK = threading.Lock()
NOISE = hashlib.shake_128(b"noise").digest(1 << 21)


class Body:
    """The function that all peers memoize."""

    length, sleep, outcome = 100, 0, "value"


def value_of(key):
    """A copy of noise that begins with the key: cheap to make, and no two are alike."""
    start = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "little") % (1 << 19)
    head = key.encode()[: Body.length]
    return head + NOISE[start + len(head) : start + Body.length]


def body(key):
    global RUNS
    with RUNS_LOCK:
        RUNS += 1
    if Body.sleep:
        time.sleep(Body.sleep / 1e3)
    if Body.outcome in ("error", "panic"):
        raise ValueError("as told")
    return value_of(key)


class Cache:
    """A memoized function, and how it is called with many keys."""

    get = staticmethod(body)

    def all(self, keys):
        for key in keys:
            yield self.get(key)

    def flush(self):
        pass


class LruCache(Cache):
    def __init__(self, _dir):
        self.get = functools.lru_cache(maxsize=200_000)(body)


class Executor(Cache):
    def __init__(self, _dir):
        self.pool = ThreadPoolExecutor()

    def all(self, keys):
        return self.pool.map(self.get, keys)


class ExecutorLru(Executor):
    def __init__(self, dir):
        super().__init__(dir)
        self.get = functools.lru_cache(maxsize=200_000)(body)


class DiskCache(Cache):
    def __init__(self, dir):
        import diskcache

        self.cache = diskcache.Cache(os.path.join(dir, "diskcache"))
        self.get = self.cache.memoize()(body)

    def flush(self):
        self.cache.close()


class Joblib(Cache):
    def __init__(self, dir):
        import joblib

        # It asks for the function's source, and keys it by its module.
        self.get = joblib.Memory(os.path.join(dir, "joblib"), verbose=0).cache(body)


CACHES = {
    "lru_cache": LruCache,
    "executor": Executor,
    "executor-lru": ExecutorLru,
    "diskcache": DiskCache,
    "joblib": Joblib,
}


def keys_of(count):
    return ["corpus/part-%03d/item-%06d.txt" % (n % 997, n) for n in range(count)]


def zipf(count):
    import bisect

    keys, sums, total, seed = keys_of(max(count // 10, 1)), [], 0.0, 0x5EED
    for rank in range(1, len(keys) + 1):
        total += 1 / rank
        sums.append(total)
    picked = []
    for _ in range(count):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        at = (seed >> 11) / (1 << 53) * total
        picked.append(keys[min(bisect.bisect_left(sums, at), len(keys) - 1)])
    return picked


def each(cache, keys):
    for _ in cache.all(keys):
        pass


def threads(count, work):
    """Runs work in so many threads; the seconds from the first start to the last end, by their own clocks."""
    start, times = threading.Barrier(count), []

    def run():
        start.wait()
        begin = time.perf_counter()
        work()
        times.append((begin, time.perf_counter()))

    started = [threading.Thread(target=run) for _ in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return max(end for _, end in times) - min(begin for begin, _ in times)


def warm(cache, keys, width):
    each(cache, keys)
    count, step = len(keys), (len(keys) * 5 // 8) | 1
    order = [keys[n * step % count] for n in range(count)]

    def work():
        get = cache.get
        for key in order:
            get(key)

    return min(threads(width, work) for _ in range(7)) * 1e9 / count


def ask(cache):
    try:
        cache.get("cold")
    except ValueError:
        pass


def read(cache, keys):
    """How many values were wrong. Whoever gets an exception computes."""
    wrong = 0
    for key in keys:
        try:
            got = cache.get(key)
        except Exception:
            got = body(key)
        if Body.outcome == "checked" and got != value_of(key):
            wrong += 1
    return wrong


def perform(workload, open_cache, keys, width):
    begin, computed = time.perf_counter(), time.process_time()
    cache = open_cache()
    opened, found = time.perf_counter(), {}
    if workload == "warm":
        return {"ns": warm(cache, keys, width)}
    if workload == "herd":
        threads(width, lambda: ask(cache))
        return {"runs": RUNS}
    if workload == "together":
        print("ready", flush=True)
        sys.stdin.readline()
        ask(cache)
        return {"runs": RUNS}
    if workload == "first":
        cache.get(keys[len(keys) // 2])
        per = 1
    elif workload == "read":
        found["wrong"] = read(cache, keys)
        per = len(keys)
    else:
        each(cache, keys)
        if workload == "fill":
            cache.flush()
        begin, per = opened, 1 if workload == "zipf" else len(keys)
    took, computed = time.perf_counter() - begin, time.process_time() - computed
    return {"ns": took * 1e9 / per, "cpu": computed * 1e9 / per, "runs": RUNS, **found}


def versions():
    found = {"python": "%d.%d.%d" % sys.version_info[:3]}
    for name in ("joblib", "diskcache"):
        try:
            found[name] = __import__(name).__version__
        except ImportError:
            pass
    return found


def main(args):
    if args == ["versions"]:
        return versions()
    workload, peer, dir, *rest = args
    count, Body.length, width, Body.sleep = map(int, rest[:4])
    Body.outcome = rest[4]
    warnings.simplefilter("ignore")
    if peer in ("joblib", "diskcache"):
        # A program imports once, whatever it opens.
        __import__(peer)
    keys = zipf(count) if workload == "zipf" else keys_of(count)
    return perform(workload, lambda: CACHES[peer](dir), keys, width)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])), flush=True)
