"""Writes small data sets in the forms that byol-data reads, and what the usual programs read from them.

The files go to crates/byol-data/tests/data/sources/, and expected.json holds pixels, labels and names as pyarrow, datasets, NumPy and
torchvision's own dataset classes give them. torchvision reads the binary sets from the very files that are committed, in
their original layout; its readers of CIFAR want pickles, which are made in a temporary folder from the same records. Run from
the repository root.
"""

import datetime
import gzip
import io
import json
import pickle
import shutil
import tempfile
from pathlib import Path

import datasets as hf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torchvision import datasets

FOLDER = Path("crates/byol-data/tests/data/sources")
CLASSES = ["cat", "dog", "hen"]


def scene(seed: int, height: int = 12, width: int = 16, channels: int = 3) -> np.ndarray:
    """A smooth picture without symmetry that its seed tells from others. [height, width, channels] u8."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    planes = [(20 + 7 * seed + 30 * c + (150 - 20 * c) * x + (40 + 9 * c) * y * y) % 256 for c in range(channels)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def hugging_face(table: pa.Table, label: str = "label") -> pa.Table:
    """Adds the metadata that `datasets` writes for an image column and a ClassLabel."""
    features = {"image": {"_type": "Image"}, label: {"names": CLASSES, "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def table(seeds: range, null: int | None = None) -> pa.Table:
    """Pictures as `datasets.Image` has them, labels 0 to 2; the picture with the seed `null` is missing."""
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = [None if seed == null else {"bytes": png(scene(seed)), "path": f"{seed}.png"} for seed in seeds]
    return pa.table({"image": pa.array(pictures, picture), "label": pa.array([seed % 3 for seed in seeds], pa.int64())})


def read_parquet(path: Path, column: str) -> tuple[list, list]:
    """Pixels (None for a null) and labels, as pyarrow and Pillow read them."""
    read = pq.read_table(path)
    pixels = []
    for value in read[column].to_pylist():
        encoded = value["bytes"] if isinstance(value, dict) else value
        pixels.append(None if encoded is None else np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))
    names = [name for name in ("label", "labels", "fine_label") if name in read.column_names]
    return pixels, read[names[0]].to_pylist() if names else [None] * len(pixels)


def parquet() -> dict:
    struct = hugging_face(table(range(10), null=4))
    plain = pa.table({"id": pa.array(range(6)), "img": pa.array([png(scene(seed)) for seed in range(6)], pa.binary()),
                      "label": pa.array(["hen", "cat", None, "dog", "cat", "hen"])})
    files = {
        "snappy.parquet": (struct, {"compression": "snappy", "row_group_size": 4}),
        "pages.parquet": (struct, {"compression": "none", "data_page_size": 64, "write_batch_size": 1, "use_dictionary": False,
                                   "write_page_index": True, "data_page_version": "2.0"}),
        "pages_without_index.parquet": (struct, {"compression": "gzip", "data_page_size": 64, "write_batch_size": 1,
                                                 "use_dictionary": False}),
        "plain_uncompressed.parquet": (plain, {"compression": "none"}),
        "brotli.parquet": (plain, {"compression": "brotli"}),
        "lz4.parquet": (plain, {"compression": "lz4"}),
        "zstd.parquet": (struct, {"compression": "zstd"}),
        "folder/data/test-00000-of-00001.parquet": (hugging_face(table(range(8, 10))), {}),
        "folder/data/train-00000-of-00002.parquet": (hugging_face(table(range(0, 3))), {}),
        "folder/data/train-00001-of-00002.parquet": (hugging_face(table(range(3, 5))), {}),
    }
    expected = {}
    for name, (content, options) in files.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, path, **options)
        pixels, labels = read_parquet(path, "img" if "img" in content.column_names else "image")
        expected[name] = entry(pixels, labels, [f"{Path(name).name}#{row}" for row in range(len(pixels))])
    odd_parquet()
    columns()
    return expected


def odd_parquet() -> None:
    """Files that must be refused, and one whose label -1 says that there is none."""
    bytes_of = pa.array([png(scene(seed)) for seed in range(2)], pa.binary())
    numbers = {"unknown_label": [-1, 2], "negative_label": [-2, 2], "label_beyond_names": [0, 3]}
    odd = {name: hugging_face(pa.table({"image": bytes_of, "label": labels})) for name, labels in numbers.items()}
    odd["huge_label"] = pa.table({"image": bytes_of, "label": [1, 2**40]})
    odd["no_pictures"] = pa.table({"image": ["a.png", "b.png"], "label": [0, 1]})
    odd["two_candidates"] = pa.table({"left": bytes_of, "right": bytes_of})
    odd["duplicate"] = pa.Table.from_arrays([bytes_of, bytes_of], ["image", "image"])
    odd["no_rows"] = pa.table({"image": bytes_of[:0]})
    (FOLDER / "odd").mkdir()
    for name, content in odd.items():
        pq.write_table(content, FOLDER / "odd" / f"{name}.parquet")


def columns() -> None:
    """Label columns of every type and name; `tests/tables.rs` has what they say."""
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([{"bytes": png(scene(seed, 6, 8)), "path": None} for seed in range(4)], picture)
    names = ["cat", "dog", "cat", "dog"]
    of_name = {
        "bool": ("label", [False, True, False, True]),
        "double": ("label", [0.0, 1.0, 0.0, 1.0]),
        "fractions": ("label", [0.5, 1.0, 0.0, 1.0]),
        "list": ("labels", [[0], [1], [0], [1]]),
        "lists": ("labels", [[0, 1]] * 4),
        "struct": ("label", [{"name": name, "id": place % 2} for place, name in enumerate(names)]),
        "target": ("target", [0, 1, 0, 1]),
        "species": ("species", names),
        "fixed": ("label", pa.array([name.encode() for name in names], pa.binary(3))),
        "date": ("label", [datetime.date(2020, 1, 1 + place % 2) for place in range(4)]),
        "ids": ("label", [10**12 + 977 * place for place in range(4)]),
    }
    (FOLDER / "columns").mkdir(parents=True, exist_ok=True)
    for name, (column, labels) in of_name.items():
        pq.write_table(pa.table({"image": image, column: labels}), FOLDER / "columns" / f"{name}.parquet")


def arrow() -> dict:
    """`save_to_disk` of datasets, its cache's names, and what pyarrow writes besides; pixels and labels as datasets or pyarrow
    read them."""
    folder = FOLDER / "arrow"
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}

    def add(key: str, rows, names: list[str]) -> None:
        encoded = [row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"] for row in rows]
        pixels = [None if one is None else np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded]
        expected[f"arrow/{key}"] = entry(pixels, [row["label"] for row in rows], names)

    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=CLASSES), "width": hf.Value("int32")})

    def rows_of(seeds: range, null: int | None = None) -> hf.Dataset:
        images = [None if seed == null else {"bytes": png(scene(seed)), "path": f"{seed}.png"} for seed in seeds]
        table = {"image": images, "label": [seed % 3 for seed in seeds], "width": [16] * len(seeds)}
        return hf.Dataset.from_dict(table, features=features)

    def reread(name: str) -> hf.Dataset:
        return hf.load_from_disk(folder / name).cast_column("image", hf.Image(decode=False))

    rows_of(range(5), null=3).save_to_disk(folder / "saved", num_shards=2)
    names = [f"data-0000{shard}-of-00002.arrow#{row}" for shard, count in [(0, 3), (1, 2)] for row in range(count)]
    add("saved", reread("saved"), names)
    # What filter and map leave in the folder is no part of the data set.
    hf.load_from_disk(folder / "saved").filter(lambda row: row["label"] == 0, cache_file_name=str(folder / "saved/cache-0.arrow"))
    hf.DatasetDict({"train": rows_of(range(3)), "test": rows_of(range(5, 7))}).save_to_disk(folder / "splits")
    for split in ["train", "test"]:
        read = reread("splits")[split]
        add(f"splits/{split}", read, [f"{split}/data-00000-of-00001.arrow#{row}" for row in range(len(read))])

    texts = pa.table({"image": pa.array([png(scene(seed)) for seed in range(5)], pa.large_binary()),
                      "label": ["hen", "cat", None, "dog", "cat"]})
    views = texts.set_column(0, "image", texts["image"].combine_chunks().cast(pa.binary_view()))
    views = views.set_column(1, "label", texts["label"].cast(pa.string_view()))
    encoded = texts.set_column(1, "label", texts["label"].combine_chunks().dictionary_encode())
    for name, content, writer in [("stream", texts, pa.ipc.new_stream), ("file", texts, pa.ipc.new_file),
                                  ("views", views, pa.ipc.new_stream), ("dictionary", encoded, pa.ipc.new_stream)]:
        path = folder / f"{name}.arrow"
        with writer(path, content.schema) as sink:
            sink.write_table(content, max_chunksize=2)
        read = (pa.ipc.open_file if name == "file" else pa.ipc.open_stream)(path.open("rb")).read_all()
        add(path.name, read.to_pylist(), [f"{path.name}#{row}" for row in range(5)])

    # The names of the cache, the split last.
    (folder / "cache").mkdir(exist_ok=True)
    for split, seeds in [("train", range(2)), ("validation", range(2, 3))]:
        part = rows_of(seeds)
        with pa.ipc.new_stream(folder / "cache" / f"small-pets-{split}.arrow", part.data.table.schema) as sink:
            sink.write_table(part.data.table)
    (folder / "cache" / "dataset_info.json").write_text(json.dumps({"splits": {"train": {}, "validation": {}}}))

    small = pa.array([png(scene(seed, 6, 8)) for seed in range(4)], pa.binary())
    beside = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (folder / "odd").mkdir(exist_ok=True)
    (folder / "odd" / "beside.png").write_bytes(png(scene(1, 6, 8)))
    odd = {
        "compressed": pa.table({"image": small}),
        "paths": pa.table({"image": ["a.png", "b.png"], "label": [0, 1]}),
        "old_union": pa.table({"kind": pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]),
                               "image": small.slice(0, 2)}),
        "lists": pa.table({"images": pa.array([[{"bytes": b"", "path": None}] * 2], pa.list_(beside))}),
        "beside": pa.table({"image": pa.array([{"bytes": None, "path": "beside.png"}, {"bytes": None, "path": "gone.png"},
                                               {"bytes": None, "path": None}], beside)}),
    }
    names = ["cat", "dog", "cat", "dog"]
    kinds = {
        "bool": [False, True, False, True],
        "double": pa.array([0.0, 1.0, 0.0, 1.0]),
        "half": pa.array(np.array([0, 1, 0, 1], np.float16)),
        "list": [[0], [1], [0], [1]],
        "fixed_list": pa.array([[0], [1], [0], [1]], pa.list_(pa.int8(), 1)),
        "fixed": pa.array([name.encode() for name in names], pa.binary(3)),
        "date": [datetime.date(2020, 1, 1 + place % 2) for place in range(4)],
        "time": [datetime.datetime(2020, 1, 1 + place % 2, 12) for place in range(4)],
        "struct": [{"id": place % 2, "name": name} for place, name in enumerate(names)],
        "several": [[0, 1]] * 4,
        "unsigned": pa.array([0, 1, 0, 1], pa.uint8()),
        "sliced": pa.array(["hen", *names, "hen"]).slice(1, 4),
    }
    odd |= {f"label_{name}": pa.table({"label" if name != "struct" else "labels": labels, "image": small})
            for name, labels in kinds.items()}
    for name, content in odd.items():
        version = pa.ipc.MetadataVersion.V4 if name == "old_union" else pa.ipc.MetadataVersion.V5
        options = pa.ipc.IpcWriteOptions(metadata_version=version, compression="zstd" if name == "compressed" else None)
        with pa.ipc.new_stream(folder / "odd" / f"{name}.arrow", content.schema, options=options) as sink:
            sink.write_table(content)
    return expected


def arrays() -> dict:
    pictures = np.stack([scene(seed, 6, 8) for seed in range(5)])
    sixteen = pictures.astype(np.uint16) * 257
    sixteen[..., 0] += 3
    five = np.stack([scene(seed, 6, 8, 5) for seed in range(5)])
    labels = np.array([2, 0, 1, 0, 2])
    files = {
        "u8.npy": pictures,
        "u16.npy": sixteen,
        "u16_big_endian.npy": sixteen.astype(">u2"),
        "grey.npy": pictures[..., 1],
        "five.npy": five,
        "five_16.npy": five.astype(np.uint16) * 257,
        "nchw.npy": np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)),
        "float32.npy": pictures[:1].astype(np.float32) / 255,
        "fortran.npy": np.asfortranarray(pictures[:1]),
        "u8_labels.npy": labels,
    }
    folder = FOLDER / "arrays"
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, array in files.items():
        np.save(folder / name, array)
        if array.ndim < 3:
            continue
        read = np.load(folder / name)
        read = read.transpose(0, 2, 3, 1) if name == "nchw.npy" else read
        read = read[..., None] if read.ndim == 3 else read
        if read.dtype.kind == "u" and not np.isfortran(read):
            names = [f"{name}#{i}" for i in range(5)]
            expected[f"arrays/{name}"] = entry(read, labels if name == "u8.npy" else [None] * 5, names)
    np.savez(folder / "stored.npz", images=pictures, labels=labels.astype(np.uint8))
    np.savez_compressed(folder / "deflated.npz", images=pictures, labels=labels.reshape(-1, 1))
    np.savez_compressed(folder / "splits.npz", x_train=pictures[:3], y_train=labels[:3], x_test=pictures[3:], y_test=labels[3:])
    for name, key in [("stored", "images"), ("deflated", "images"), ("splits", "x_train"), ("splits", "x_test")]:
        with np.load(folder / f"{name}.npz") as read:
            label = read[key.replace("images", "labels").replace("x_", "y_")].reshape(-1)
            names = [f"{name}.npz/{key}#{i}" for i in range(len(label))]
            expected[f"arrays/{name}.npz/{key}"] = entry(read[key], label, names)
    for place, name in enumerate(["train/a/1.npy", "train/b/2.npy", "test/b/3.npy"]):
        path = FOLDER / "array_pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, five[place])
        expected[f"array_pictures/{name}"] = entry([np.load(path)], [int("/b/" in name)], [name])
    return expected


def stl10() -> dict:
    """torchvision's reader takes the folder as it is, once its checksums of the original files are left out."""
    folder = FOLDER / "stl10" / "stl10_binary"
    folder.mkdir(parents=True, exist_ok=True)
    names = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
    (folder / "class_names.txt").write_text("\n".join(names) + "\n")
    for split, seeds in [("train", [0, 1]), ("test", [2]), ("unlabeled", [3])]:
        pictures = np.stack([scene(seed, 96, 96) // 16 * 16 for seed in seeds])
        pictures.transpose(0, 3, 2, 1).tofile(folder / f"{split}_X.bin")
        if split != "unlabeled":
            np.array([(7 * seed + 3) % 10 + 1 for seed in seeds], np.uint8).tofile(folder / f"{split}_y.bin")

    class STL10(datasets.STL10):
        def _check_integrity(self) -> bool:
            return True

    expected = {}
    for split in ["train", "test", "unlabeled"]:
        read = STL10(FOLDER / "stl10", split)
        assert read.classes == names
        labels = [None if label < 0 else label for _, label in read]
        names_read = [f"{split}_X.bin#{i}" for i in range(len(labels))]
        expected[f"stl10/{split}"] = entry([picture for picture, _ in read], labels, names_read)
    return expected


def cifar10() -> dict:
    """The binary set, and the same records as the pickles that torchvision reads."""
    folder = FOLDER / "cifar-10-batches-bin"
    folder.mkdir(parents=True, exist_ok=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    batches = {f"data_batch_{batch}": [batch] for batch in range(1, 6)} | {"test_batch": [6, 7]}
    with tempfile.TemporaryDirectory() as temporary:
        pickles = Path(temporary) / "cifar-10-batches-py"
        pickles.mkdir()
        (pickles / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
        for batch, seeds in batches.items():
            data = np.stack([scene(seed, 32, 32).transpose(2, 0, 1).reshape(-1) for seed in seeds])
            labels = [(3 * seed + 2) % 10 for seed in seeds]
            (folder / f"{batch}.bin").write_bytes(b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, data)))
            (pickles / batch).write_bytes(pickle.dumps({"data": data, "labels": labels}))

        class CIFAR10(datasets.CIFAR10):
            def _check_integrity(self) -> bool:
                return True

            def _load_meta(self) -> None:
                self.classes = pickle.loads((pickles / "batches.meta").read_bytes())["label_names"]

        expected = {}
        for split in ["train", "test"]:
            read = CIFAR10(temporary, train=split == "train")
            files = [f"{batch}.bin#{i}" for batch, seeds in batches.items() for i in range(len(seeds))
                     if (batch == "test_batch") == (split == "test")]
            expected[f"cifar10/{split}"] = entry([picture for picture, _ in read], [label for _, label in read], files)
    return expected


def fashion_mnist() -> dict:
    """torchvision reads the unpacked files, we the ones with gz."""
    folder = FOLDER / "fashion_mnist"
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for split, seeds in [("train", range(3)), ("t10k", range(3, 5))]:
            pictures = np.stack([scene(seed, 28, 28, 1)[..., 0] for seed in seeds])
            labels = np.array([(4 * seed + 1) % 10 for seed in seeds], np.uint8)
            for kind, array in [("images-idx3", pictures), ("labels-idx1", labels)]:
                header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
                (raw / f"{split}-{kind}-ubyte").write_bytes(header + array.tobytes())
                (folder / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
        for split in ["train", "test"]:
            read = datasets.FashionMNIST(temporary, train=split == "train")
            file = f"{'train' if split == 'train' else 't10k'}-images-idx3-ubyte.gz"
            pictures = [picture.convert("RGB") for picture, _ in read]
            names = [f"{file}#{i}" for i in range(len(pictures))]
            expected[f"fashion_mnist/{split}"] = entry(pictures, [label for _, label in read], names)
    return expected


def entry(pictures, labels, names: list[str]) -> dict:
    """Row 5, column 7 and the sum of each picture (None for a null): they tell every mistake of order, and are small."""
    rows = []
    for picture in pictures:
        if picture is None:
            rows.append(None)
            continue
        pixels = np.asarray(picture).astype(np.int64)
        row, column = pixels[5].flatten().tolist(), pixels[:, 7].flatten().tolist()
        rows.append({"row_5": row, "column_7": column, "sum": int(pixels.sum())})
    labels = [label if label is None or isinstance(label, str) else int(label) for label in labels]
    height, width, channels = next(np.asarray(picture) for picture in pictures if picture is not None).shape
    return {"size": [width, height, channels], "pictures": rows, "labels": labels, "names": names}


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    expected = parquet() | arrow() | arrays() | stl10() | cifar10() | fashion_mnist()
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in expected.items())
    (FOLDER / "expected.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
