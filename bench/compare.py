"""Runs `byol bench` and its peers in turn (A B A B …) on this machine and prints the ratios as a Markdown table.

usage: compare.py BYOL_BINARY [--rounds N] [--iterations N] [--threads N] [--work NAME …] [--isa ISA …]

Every measurement is a process of its own; a figure is the median over the rounds. Of PyTorch's settings the fastest that
runs counts (some die with an illegal instruction on some machines, which counts as not running); it is found first, with
one short measurement each.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# name: command of byol bench, architecture, side in pixels, batch, heads
WORK = {
    "step-small-24": ("step", "resnet18x0.25", 24, 128, "4096/256"),
    "step-small-24-narrow": ("step", "resnet18x0.25", 24, 128, "512/64"),
    "step-small-48": ("step", "resnet18x0.25", 48, 64, "512/64"),
    "step-resnet18": ("step", "resnet18", 32, 128, "4096/256"),
    "step-resnet50": ("step", "resnet50", 224, 16, "4096/256"),
    "embed-resnet18": ("embed", "resnet18", 32, 128, None),
    "embed-resnet50": ("embed", "resnet50", 224, 16, None),
}
SETTINGS = [(p, layout) for p in ("f32", "bf16") for layout in ("channels_last", "channels_first")]
TIMEOUT_SECS = 900
# A setting of a peer that needs longer for three steps, or is that many times slower than its best, is left out.
PROBE_SECS = 150
MAX_SLOWNESS = 3
# What keeps PyTorch to the instructions that `--isa avx2` keeps byol to.
AVX2_ONLY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def run(command: list, timeout_secs: int = TIMEOUT_SECS, environment: dict | None = None) -> dict | None:
    """The JSON object that `command` prints; None if it fails or takes longer."""
    words, environment = [str(part) for part in command], os.environ | (environment or {})
    try:
        done = subprocess.run(words, capture_output=True, timeout=timeout_secs, check=True, env=environment)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return json.loads(done.stdout)


def byol(binary: str, work: tuple, precision: str, isa: str | None, options) -> list:
    kind, arch, size_px, batch, heads = work
    command = [binary, "bench", kind, "--arch", arch, "--size", size_px, "--batch", batch, "--precision", precision]
    command += ["--iterations", options.iterations, "--threads", options.threads, "--json"]
    command += ["--heads", heads] if heads else []
    return command + (["--isa", isa] if isa else [])


def pytorch(work: tuple, setting: tuple, iterations: int, threads: int) -> list:
    return [sys.executable, HERE / "pytorch_step.py", *work[1:], *setting, iterations, threads]


def peer_environment(options) -> dict:
    return AVX2_ONLY if options.isa == ["avx2"] else {}


def peers(work: tuple, options) -> dict:
    """The commands of the peers for this work, by the name they get in the table."""
    if work[0] == "embed":
        script = HERE / "onnxruntime_embed.py"
        return {"ONNX Runtime f32": [sys.executable, script, *work[1:4], options.iterations, options.threads]}
    speed = {}
    for setting in SETTINGS:
        result = run(pytorch(work, setting, 1, options.threads), PROBE_SECS, peer_environment(options))
        speed[setting] = result["images_per_second"] if result else 0.0
        said = f"{speed[setting]:.1f} images/s" if result else f"does not run, or not within {PROBE_SECS} s"
        print(f"  PyTorch {' '.join(setting)}: {said}", file=sys.stderr)
    if not any(speed.values()):
        sys.exit("PyTorch does not run")
    chosen = {}
    for precision in ("f32", "bf16"):
        best = max((s for s in SETTINGS if s[0] == precision), key=speed.get)
        if speed[best] * MAX_SLOWNESS > max(speed.values()):
            chosen[f"PyTorch {' '.join(best)}"] = pytorch(work, best, options.iterations, options.threads)
        else:
            print(f"  PyTorch {precision} is left out: it runs not at all or hopelessly", file=sys.stderr)
    return chosen


def compare(name: str, options) -> list:
    """Rows of the table for one kind of work."""
    work = WORK[name]
    ours = {}
    for isa in options.isa or [None]:
        for precision in ("f32", "bf16"):
            label = f"byol {precision}" + (f" {isa}" if isa else "")
            ours[label] = byol(options.binary, work, precision, isa, options)
    others = peers(work, options)
    results = {label: [] for label in (*ours, *others)}
    for round_number in range(options.rounds):
        for label, command in {**ours, **others}.items():
            result = run(command, environment=peer_environment(options) if label in others else None)
            if result is None:
                sys.exit(f"{label} failed: {' '.join(map(str, command))}")
            print(f"  round {round_number + 1}: {label} {result['images_per_second']:.1f} images/s", file=sys.stderr)
            results[label].append(result)

    def median(label, key):
        return statistics.median(result[key] for result in results[label])

    rows = []
    for label in results:
        speed, memory = median(label, "images_per_second"), median(label, "peak_rss_bytes")
        ratios = [f"{speed / median(other, 'images_per_second'):.2f}" for other in others]
        shares = [f"{memory / median(other, 'peak_rss_bytes'):.2f}" for other in others]
        isa = results[label][0].get("isa", "")
        rows.append([name, label + (f" ({isa})" if isa else ""), f"{speed:.1f}", " / ".join(ratios), f"{memory / 2**20:.0f}", " / ".join(shares)])
    rows.append(["", f"columns of ratios: {' / '.join(others)}", "", "", "", ""])
    return rows


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--isa", nargs="+")
    options = parser.parse_args()
    rows = []
    for name in options.work:
        print(name, file=sys.stderr)
        rows += compare(name, options)
    print(f"{cpu_name()}, {options.threads} threads, {datetime.date.today()}, medians of {options.rounds} rounds\n")
    print("| work | program | images/s | ratio | peak memory, MiB | ratio |\n|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
