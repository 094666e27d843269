"""Rebuilds the golden data of the method in crates/byol/tests/data, of frozen protocols in byol-eval's. See README.md."""

import json
import pathlib

import torch

import byol
import evaluation
import features
import optimisers
import schedules
import weights

CRATES = pathlib.Path(__file__).resolve().parents[2] / "crates"
DATA = CRATES / "byol" / "tests" / "data"


def write_json(name, value, data=DATA):
    (data / name).write_text(json.dumps(value, indent=None, separators=(",", ":")) + "\n")


def agreement(reference: dict, other: dict) -> str:
    """Largest relative error of norms, a hint for tolerances: what float32 alone costs."""
    worst = max((abs(other[n] / v - 1).item(), n) for n, v in reference.items() if "norm" in n and v > 1e-6)
    return f"{worst[0]:.1e} ({worst[1]})"


def main():
    torch.set_num_threads(1)
    DATA.mkdir(parents=True, exist_ok=True)
    write_json("fill.json", weights.fill_examples())
    weights.save(DATA / "features.safetensors", features.features())

    bottleneck = features.gradients()
    weights.save(DATA / "resnet50_gradients.safetensors", bottleneck)
    print(f"gradients of ResNet-50: float32 differs by {agreement(bottleneck, features.gradients(torch.float32))}")

    step = byol.one_step()
    weights.save(DATA / "byol_step.safetensors", step)
    print(f"one step: loss {step['loss'].item():.6f}; float32 differs by {agreement(step, byol.one_step(torch.float32))}")

    summary = {**byol.TRAJECTORY, "input": byol.INPUT, "batch": byol.BATCH, "runs": []}
    final = {}
    for accumulation in (1, 2):
        rows, state = byol.trajectory(accumulation)
        rows32, state32 = byol.trajectory(accumulation, torch.float32)
        drift = max(abs(a["loss"] / b["loss"] - 1) for a, b in zip(rows, rows32))
        print(f"trajectory {accumulation}: {[round(r['loss'], 4) for r in rows]}")
        print(f"  float32 differs in losses by {drift:.1e}, in norms by {agreement(state, state32)}")
        summary["runs"].append({"accumulation": accumulation, "steps": rows})
        final |= {f"accumulation{accumulation}.{name}": tensor for name, tensor in state.items()}
    write_json("trajectory.json", summary)
    weights.save(DATA / "trajectory.safetensors", final)

    source = {"input": byol.INPUT_FOR_BF16, "batch": byol.BATCH_FOR_BF16}
    runs = [{"accumulation": a, "steps": byol.trajectory(a, **source)[0]} for a in (1, 2)]
    write_json("trajectory_bf16.json", {**byol.TRAJECTORY, **source, "runs": runs})

    write_json("optimisers.json", optimisers.cases())
    write_json("schedules.json", schedules.presets())
    write_json("knn_linear.json", evaluation.results(), CRATES / "byol-eval" / "tests" / "data")
    for path in sorted(DATA.iterdir()):
        print(f"{path.stat().st_size:8d} {path.name}")


if __name__ == "__main__":
    main()
