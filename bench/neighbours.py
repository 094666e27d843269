"""Times the neighbours of embeddings beside FAISS and hnswlib on the same vectors, in turn (A B A B …), and prints a Markdown table.

usage: neighbours.py EXAMPLE [--rows N] [--size N] [--queries N] [--k N] [--rounds N] [--threads N] [--work search all hnsw]

EXAMPLE is what `cargo build --release -p byol-index --example neighbours` builds. Every measurement is a process of its own, a figure the
median over the rounds. Reading the vectors counts for peak memory, not for time.
"""

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# What HNSW is built and searched with, the same on both sides.
LINKS, BUILDING, SEARCHING = 16, 100, 128
PEERS = {"search": "FAISS IndexFlatIP", "all": "FAISS IndexFlatIP", "hnsw": "hnswlib"}


def drawn(rows: int, size: int) -> np.ndarray:
    """Rows around a thousand centres, the same each time: embeddings are no even noise, for which no index helps."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, size)).astype(np.float32)
    return centres[rng.integers(0, 1000, rows)] + rng.normal(size=(rows, size)).astype(np.float32)


def peer(array: str, work: str, queries: int, k: int, threads: int) -> dict:
    """One measurement of the peer, in this process."""
    rows = np.load(array)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked = rows if work == "all" else rows[:queries]
    if work == "hnsw":
        import hnswlib

        started = time.perf_counter()
        index = hnswlib.Index(space="ip", dim=rows.shape[1])
        index.init_index(max_elements=len(rows), ef_construction=BUILDING, M=LINKS, random_seed=0)
        index.set_num_threads(threads)
        index.add_items(rows)
        build_seconds = time.perf_counter() - started
        index.set_ef(SEARCHING)
        started = time.perf_counter()
        found, _ = index.knn_query(asked, k=k)
        seconds = time.perf_counter() - started
        exact = np.argsort(-(asked[:200] @ rows.T), axis=1)[:, :k]
        recall = float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found[:200], exact)]))
        result = {"seconds": seconds, "build_seconds": build_seconds, "recall": recall}
    else:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        # Each row finds itself first, which ours leaves out.
        wanted = k + 1 if work == "all" else k
        started = time.perf_counter()
        cosines, _ = index.search(asked, wanted)
        result = {"seconds": time.perf_counter() - started, "last": float(cosines[-1, -1])}
    return result | {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def run(command: list, threads: int) -> dict:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = os.environ | {name: str(threads) for name in names}
    done = subprocess.run([str(part) for part in command], capture_output=True, check=True, env=environment, text=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("example")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--peer", nargs=2, metavar=("WORK", "ARRAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(peer(options.peer[1], options.peer[0], options.queries, options.k, options.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder) / "rows.npy"
        np.save(array, drawn(options.rows, options.size))
        print(f"{options.rows} × {options.size}, {options.queries} queries, k {options.k}, {options.threads} threads, {datetime.date.today()}\n")
        print("| work | program | seconds | ratio | building, s | recall | peak memory, MiB |\n|---|---|---|---|---|---|---|")
        for work in options.work:
            ours = [options.example, array, work, options.queries, options.k]
            theirs = [sys.executable, __file__, "-", "--peer", work, array, "--threads", options.threads]
            theirs += ["--queries", options.queries, "--k", options.k]
            results = {"byol": [], PEERS[work]: []}
            for round_number in range(options.rounds):
                for name, command in zip(results, (ours, theirs)):
                    results[name].append(run(command, options.threads))
                    print(f"  round {round_number + 1}: {work} {name} {results[name][-1]}", file=sys.stderr)
            if work != "hnsw":
                last = [result[0]["last"] for result in results.values()]
                assert abs(last[0] - last[1]) < 1e-4, f"the two found other neighbours: {last}"
            median = lambda name, key: statistics.median(result[key] for result in results[name])
            for name in results:
                cell = lambda key, form: form.format(median(name, key)) if key in results[name][0] else ""
                ratio = median(name, "seconds") / median(PEERS[work], "seconds")
                memory = median(name, "peak_rss_bytes") / 2**20
                row = [work, name, f"{median(name, 'seconds'):.2f}", f"{ratio:.2f}", cell("build_seconds", "{:.1f}"), cell("recall", "{:.3f}"), f"{memory:.0f}"]
                print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
