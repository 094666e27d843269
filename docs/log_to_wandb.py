"""Puts a run of byol into Weights & Biases, by its own library.

usage: python log_to_wandb.py RUN [--project NAME] [--online]

Needs `pip install wandb`. Without --online nothing is sent: the run becomes a folder wandb/offline-run-…, which `wandb sync` sends when you
want it to.
"""

import argparse
import datetime
import json
import pathlib
import tomllib

import wandb

arguments = argparse.ArgumentParser()
arguments.add_argument("run", type=pathlib.Path)
arguments.add_argument("--project", default="byol")
arguments.add_argument("--online", action="store_true")
arguments = arguments.parse_args()

config = tomllib.loads((arguments.run / "config.toml").read_text(encoding="utf-8"))
about = json.loads((arguments.run / "run.json").read_text(encoding="utf-8"))
kept = ("version", "preset", "data_fingerprint", "images", "device")
config["run"] = {key: about[key] for key in kept if key in about}
# The fingerprint is a number of 64 bits, which JavaScript would round.
config["run"]["data_fingerprint"] = f"{about['data_fingerprint']:016x}"

mode = "online" if arguments.online else "offline"
run = wandb.init(project=arguments.project, name=arguments.run.resolve().name, config=config, mode=mode)
# `step` counts optimiser steps; wandb's own count is that of the lines.
run.define_metric("step")
run.define_metric("*", step_metric="step")
count = 0
for text in (arguments.run / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
    try:
        line = json.loads(text)
    except ValueError:
        continue  # torn by a crash
    if "step" not in line or "watch" in line:
        continue
    numbers = {"step": line["step"]}
    if line.get("time"):
        numbers["_timestamp"] = datetime.datetime.fromisoformat(line["time"]).timestamp()
    if line.get("eval") in (None, "online"):
        group = line.get("eval", "train")
        numbers |= {f"{group}/{key}": value for key, value in line.items() if key != "step" and isinstance(value, (int, float))}
    else:
        for row in line["rows"]:
            network = row["network"].replace("encoder", "pretrained")
            name = "/".join(part for part in (line["eval"], network, row["setting"]) if part)
            numbers |= {f"{name}/{metric}": number["mean"] for metric, number in row["numbers"].items()}
    run.log(numbers)
    count += 1
run.finish()
print(f"{count} lines of {arguments.run} logged, {mode}: {run.dir}")
