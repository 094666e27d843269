"""Runs `byol bench --device cuda:0` and PyTorch in turn (A B C A B C …) on this machine's GPU and prints the ratios as a
Markdown table; before it the tests of `--tests` and which share of a step the GPU is busy with what, after it, with `--data`, as many
epochs of CIFAR-10 as the minutes allow.

usage: gpu.py BYOL_BINARY [--quick] [--seconds N] [--tests FOLDER] [--data CIFAR-10] [--json FILE]

Every measurement is a process of its own; a figure is the median over the rounds. The rounds go over all work, so that every
kind has been measured once before any is repeated: when the time is up, later rounds are left out and the table says how many
there were. What fails is not repeated, and the table says why. `--json FILE` keeps every single result.
"""

import argparse
import ctypes
import datetime
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
# name: command of byol bench, architecture, side in pixels, batch, heads, timed repetitions
WORK = {
    "step, ResNet-50, 224 px, batch 256, heads 4096/256": ("step", "resnet50", 224, 256, "4096/256", 10),
    "step, ResNet-18, 32 px, batch 512, heads 4096/256": ("step", "resnet18", 32, 512, "4096/256", 30),
    "inference, ResNet-50, 224 px, batch 256": ("embed", "resnet50", 224, 256, None, 30),
    "inference, ResNet-18, 32 px, batch 512": ("embed", "resnet18", 32, 512, None, 30),
}
PRECISION = "bf16"
# name: seconds that one measurement may take. The first ones compile: byol its kernels, PyTorch a network within about a minute.
PROGRAMS = {"byol": 120, "PyTorch eager": 90, "PyTorch compile": 150}
# For everything, since machines with a GPU are often lent for ten minutes.
TOTAL_SECS = 540
# One program of tests compiles some hundred kernels.
TEST_SECS = 90
# What one round of the table is left at least.
TABLE_SECS = 150
# Of a training, of which that share trains and the rest starts, measures and lets k-NN tell what was learned.
TRAINING_SECS, TRAINING_SHARE = 150, 0.5
SAMPLE_SECS = 0.05
STDERR_LINES, STDERR_CHARACTERS = 4, 400


class Memory:
    """Memory in use on the first GPU, by the driver's own count: what allocators keep and what a context takes is part of it, so
    that programs are comparable which say nothing about it, or not the same."""

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    def __init__(self):
        self.device = ctypes.c_void_p()
        try:
            self.nvml = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            self.nvml = None
            return
        if self.nvml.nvmlInit_v2() or self.nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.device)):
            self.nvml = None

    def used(self) -> int | None:
        info = self.Info()
        if self.nvml is None or self.nvml.nvmlDeviceGetMemoryInfo(self.device, ctypes.byref(info)):
            return None
        return info.used


def run(command: list, timeout_secs: float, memory: Memory) -> dict:
    """The JSON object that `command` prints and the memory it took on the device; with `error` if it fails or takes longer."""
    printed, result = execute(command, timeout_secs, memory)
    if "error" in result:
        return result
    try:
        return result | json.loads(printed)
    except ValueError:
        return result | {"error": f"printed no JSON: {printed[:STDERR_CHARACTERS]}"}


def execute(command: list, timeout_secs: float, memory: Memory, **how) -> tuple:
    """What `command` prints, and its seconds and the memory it took on the device; with `error` if it fails or takes longer."""
    before, peak = memory.used(), 0
    start = time.monotonic()
    # Files, since what a killed process leaves behind (compilers) could keep pipes open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True, **how)
        except OSError as error:
            return "", {"error": str(error)}
        try:
            while process.poll() is None and time.monotonic() - start < timeout_secs:
                peak = max(peak, memory.used() or 0)
                time.sleep(SAMPLE_SECS)
        finally:
            late = process.poll() is None
            if late:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        err.seek(0)
        printed = out.read().decode(errors="replace")
        lines = [line.strip() for line in err.read().decode(errors="replace").splitlines() if line.strip()]
    result = {"wall_seconds": time.monotonic() - start}
    said = " / ".join(lines[-STDERR_LINES:])[-STDERR_CHARACTERS:]
    if late:
        return printed, result | {"error": f"not done within {timeout_secs:.0f} s: {said}"}
    if process.returncode != 0:
        return printed, result | {"error": f"exit code {process.returncode}: {said}"}
    return printed, result | ({"device_memory_bytes": peak - before} if before is not None and peak > before else {})


def command_of(program: str, binary: str, work: tuple) -> list:
    kind, arch, size_px, batch, heads, iterations = work
    if program == "byol":
        command = [binary, "bench", kind, "--device", "cuda:0", "--arch", arch, "--size", size_px, "--batch", batch]
        command += ["--precision", PRECISION, "--iterations", iterations, "--json"] + (["--heads", heads] if heads else [])
    else:
        mode = program.removeprefix("PyTorch ")
        command = [sys.executable, "-B", HERE / "pytorch_gpu.py", kind, arch, size_px, batch, heads or "-", PRECISION, mode, iterations]
    return [str(part) for part in command]


def check(options, memory: Memory, end: float) -> bool:
    """Runs the programs of tests in a folder; prints what they come to, and says whether all passed."""
    passed = True
    environment = os.environ | {"CARGO_MANIFEST_DIR": str(HERE.parent / "crates" / "byol")}
    for program in sorted(Path(options.tests).iterdir()):
        printed, result = execute([str(program.absolute())], min(TEST_SECS, end - time.monotonic()), memory, env=environment)
        passed &= "error" not in result
        outcome = [line for line in printed.splitlines() if line.startswith("test result:") or line.endswith("FAILED")]
        print(f"{program.name}: {'; '.join(outcome) or result.get('error', 'printed nothing')}")
    return passed


def profile(options, memory: Memory, end: float):
    """Prints which share of a step the GPU is busy, and with which kernels."""
    steps = {name: work for name, work in WORK.items() if work[0] == "step"}
    for name, work in steps.items():
        result = run(command_of("byol", options.binary, work) + ["--kernels"], min(PROGRAMS["byol"], end - time.monotonic()), memory)
        if "error" in result:
            print(f"{name}: {result['error']}")
            continue
        busy = sum(kernel["seconds"] for kernel in result["kernels"])
        launches = sum(kernel["launches"] for kernel in result["kernels"])
        print(f"\n{name}: busy {busy / result['seconds_median']:.1%} of {1e3 * result['seconds_median']:.1f} ms, {launches} launches\n")
        print("| kernel | launches | ms | share |\n|---|---|---|---|")
        for kernel in result["kernels"]:
            if kernel["seconds"] >= busy / 100:
                print(f"| {kernel['name']} | {kernel['launches']} | {1e3 * kernel['seconds']:.2f} | {kernel['seconds'] / busy:.1%} |")


def train(options, memory: Memory, end: float):
    """Trains on CIFAR-10 and prints what k-NN says of it, beside random weights."""
    with tempfile.TemporaryDirectory() as folder:
        run_folder = str(Path(folder) / "run")
        common = ["--device", "cuda:0"]
        minutes = f"{max(TRAINING_SHARE * (end - time.monotonic()), 15) / 60:.2f}"
        settings = ["--preset", "cifar10", "--minutes", minutes, "--set", "eval.every_epochs=0", "--split", "train", "--out", run_folder]
        for command in ["pretrain", options.data, *common, *settings], ["eval", "knn", run_folder, options.data, *common, "--json"]:
            printed, result = execute([options.binary, *command], end - time.monotonic(), memory)
            # 1 is a bar that byol states itself and that a short training may miss.
            if "error" in result and not result["error"].startswith("exit code 1:"):
                return print(f"byol {command[0]}: {result['error']}")
        log = [json.loads(line) for line in (Path(run_folder) / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in log if "images_per_second" in line]
        waits = statistics.median(line["data_wait"] for line in steps)
        speed = statistics.median(line["images_per_second"] for line in steps)
        print(f"\nCIFAR-10, {steps[-1]['epoch']:.1f} epochs: {speed:.0f} images/s, waiting for pictures {waits:.2%} (medians)")
        for row in json.loads(printed)["rows"]:
            print(f"k-NN, {row['name']}: {row['numbers']['top1']['mean']:.1f} %")


def measure(options, memory: Memory, end: float) -> list:
    """Every single result, in the order of measuring."""
    results, last = [], {}
    for round_number in range(1, options.rounds + 1):
        for name, work in WORK.items():
            for program, limit_secs in PROGRAMS.items():
                left_secs = end - time.monotonic()
                previous = last.get((name, program))
                # One that does not fit any more would only become a failure.
                if previous and ("error" in previous or previous["wall_seconds"] > left_secs):
                    continue
                command = command_of(program, options.binary, work)
                if left_secs > 1:
                    result = run(command, min(limit_secs, left_secs), memory)
                else:
                    result = {"error": f"not started: all {options.seconds} s are used"}
                said = result.get("error") or f"{result['images_per_second']:.1f} images/s"
                print(f"round {round_number}: {name}: {program}: {said}", file=sys.stderr)
                last[name, program] = result
                results.append({"work": name, "program": program, "round": round_number, "command": command, **result})
                # At once, so that an interrupted comparison leaves what it has.
                if options.json:
                    Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return results


def rows_of(name: str, results: list) -> list:
    """Rows of the table for one kind of work: the figures, then one row for each program that failed."""
    speed, memory, cells, failures = {}, {}, [], []
    for program in PROGRAMS:
        own = [r for r in results if r["work"] == name and r["program"] == program]
        good = [r for r in own if "error" not in r]
        failures += [[f"{program} failed: {r['error']}".replace("|", "\\|").replace("\n", " "), *[""] * 5] for r in own if "error" in r]
        if not good:
            cells.append("failed")
            continue
        speed[program] = statistics.median(r["images_per_second"] for r in good)
        bytes_used = [r["device_memory_bytes"] for r in good if "device_memory_bytes" in r]
        memory[program] = statistics.median(bytes_used) if bytes_used else None
        mib = f"{memory[program] / 2**20:.0f} MiB" if bytes_used else "memory unknown"
        cells.append(f"{speed[program]:.1f} images/s, {mib}, {len(good)} rounds")
    peers = [program for program in speed if program != "byol"]
    ratio = share = ""
    if "byol" in speed and peers:
        best = max(peers, key=speed.get)
        ratio = f"**{speed['byol'] / speed[best]:.2f}**"
        share = f"{memory['byol'] / memory[best]:.2f}" if memory["byol"] and memory[best] else "unknown"
    return [[f"{name}, {PRECISION}", *cells, ratio, share], *failures]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--quick", action="store_true", help="two rounds in place of three")
    parser.add_argument("--seconds", type=int, default=TOTAL_SECS, help="for everything")
    parser.add_argument("--tests", metavar="FOLDER", help="programs of tests to run first, as `make gpu-kit` leaves them")
    parser.add_argument("--data", metavar="CIFAR-10", help="what to train on at the end")
    parser.add_argument("--json", metavar="FILE", help="where every single result goes")
    options = parser.parse_args()
    options.rounds = 2 if options.quick else 3
    memory, end = Memory(), time.monotonic() + options.seconds
    # Each part leaves what the later ones need at least.
    end_of_table = end - (TRAINING_SECS if options.data else 0)
    passed = not options.tests or check(options, memory, end_of_table - 2 * TABLE_SECS)
    profile(options, memory, end_of_table - TABLE_SECS)
    results = measure(options, memory, end_of_table)
    peer = next((r for r in results if "tool" in r), {"device": "unknown GPU", "tool": "no PyTorch"})
    print(f"\n{peer['device']}, {peer['tool']}, {platform.machine()}, {datetime.date.today()}, medians of up to {options.rounds} rounds\n")
    print("| work | " + " | ".join(PROGRAMS) + " | ratio to the best | memory ratio |\n|---|---|---|---|---|---|")
    for name in WORK:
        for row in rows_of(name, results):
            print("| " + " | ".join(row) + " |")
    print("\nRatios are those of byol to the faster one of PyTorch's two; memory is what the driver counts, with what allocators keep.")
    print("PyTorch's step has LARS, byol's (`byol bench step`) SGD with momentum, which is less work by a few passes over the weights.")
    if options.data:
        train(options, memory, end)
    if not passed:
        sys.exit("a test failed, see above")


if __name__ == "__main__":
    main()
