"""CPython's ThreadPoolExecutor, for benches/executors.rs: one line of input is one round, its answer the nanoseconds it took."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor


def work(n):
    return n + 1


def batch(executor, items):
    start = time.perf_counter_ns()
    for result in executor.map(work, range(items)):
        assert result
    return time.perf_counter_ns() - start


def trips(executor, items):
    start = time.perf_counter_ns()
    for n in range(items):
        assert executor.submit(work, n).result()
    return time.perf_counter_ns() - start


def main():
    print(sys.version.split()[0], flush=True)
    for line in sys.stdin:
        kind, threads, items = line.split()
        with ThreadPoolExecutor(int(threads)) as executor:
            # Its threads are there before the clock starts.
            list(executor.map(work, range(1000)))
            took = {"batch": batch, "trips": trips}[kind](executor, int(items))
        print(took, flush=True)


main()
