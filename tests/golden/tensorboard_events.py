"""An event file as Python's `tensorboard` writes it: framing, checksums and protocol buffers, byte for byte.

Needs `pip install tensorboard==2.21.0`, so that it runs without the environment of the other programs. With a folder as its
argument it writes nothing, but prints every scalar that TensorBoard reads from the event files there.
"""

import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

PATH = pathlib.Path(__file__).resolve().parents[2] / "crates" / "byol" / "tests" / "data" / "events.out.tfevents.golden"


def scalars(**values):
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=t, simple_value=v) for t, v in values.items()])


def events():
    yield event_pb2.Event(wall_time=1.7e9, file_version="brain.Event:2")
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    yield event_pb2.Event(wall_time=1_700_000_000.25, step=300, session_log=start)
    yield event_pb2.Event(wall_time=1_700_000_001.5, summary=scalars(**{"train/loss": 4.125}))
    both = {"train/loss": 0.0, "online/knn_top1": -1.5e-7}
    yield event_pb2.Event(wall_time=1_700_000_002.0, step=300, summary=scalars(**both))
    long = {"a tag of more than 127 bytes " * 6: float("nan")}
    yield event_pb2.Event(wall_time=1_700_000_003.0, step=1 << 40, summary=scalars(**long))


def write():
    with PATH.open("wb") as file:
        writer = RecordWriter(file)
        for event in events():
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()
    print(PATH.name, PATH.stat().st_size, "bytes")


def read(folder):
    accumulator = event_accumulator.EventAccumulator(folder, size_guidance={event_accumulator.SCALARS: 0})
    accumulator.Reload()
    for tag in accumulator.Tags()["scalars"]:
        print(tag, [(scalar.step, scalar.value) for scalar in accumulator.Scalars(tag)])


if __name__ == "__main__":
    read(sys.argv[1]) if len(sys.argv) > 1 else write()
