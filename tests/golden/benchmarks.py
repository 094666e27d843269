"""Writes small trees in the official layouts of the transfer benchmarks, and what torchvision reads from them.

The lists and MATLAB files of each tree go to crates/byol-data/tests/data/benchmarks/NAME/; its pictures are a few files of
8 by 8 pixels that a test copies to every path that expected.json names, for counts such as "10 of 50 per class" need
hundreds of files. expected.json holds paths and labels as torchvision's own dataset classes read the complete tree, which is
put together in a temporary folder for them. Validation parts that are not official are drawn here a second time. Birdsnap, of which torchvision has no reader, is read here with the csv module,
and so are the parts of SUN397. CIFAR has its own data under sources/. Run from the repository root.
"""

import csv
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

FOLDER = Path("crates/byol-data/tests/data/benchmarks")
VOC_CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa "
    "train tvmonitor"
).split()


def jpeg(seed: int) -> bytes:
    """A picture of 8 by 8 pixels in fewer than 500 bytes."""
    y, x = np.mgrid[0:8, 0:8]
    planes = [(40 * seed + 20 * x + 10 * y * (c + 1)) % 256 for c in range(3)]
    file = io.BytesIO()
    Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)).save(file, "jpeg", quality=20, optimize=True)
    assert len(file.getvalue()) < 500
    return file.getvalue()


ALL = "food101 cifar10 cifar100 birdsnap sun397 cars aircraft voc2007 dtd pets caltech101 places365 flowers102".split()
STREAM, GOLDEN, MASK = 5, 0x9E3779B97F4A7C15, 2**64 - 1


def finish(z: int) -> int:
    """The output function of SplitMix64 (Steele, Lea & Flood 2014)."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def shuffled(benchmark: str, class_: int, count: int) -> list[int]:
    """0 to count - 1 in the documented random order of a class: SplitMix64 by coordinates, Fisher-Yates from the end."""
    mix = lambda x: finish((x + GOLDEN) & MASK)
    state = mix(0)
    for coordinate in [STREAM, ALL.index(benchmark), class_]:
        state = mix(state ^ mix(coordinate))
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        state = (state + GOLDEN) & MASK
        other = finish(state) * (last + 1) >> 64
        order[last], order[other] = order[other], order[last]
    return order


def parted(benchmark: str, rows: list[list], counts: list[int], classes: bool = True) -> dict:
    """Rows of train and val; `counts` of each class are held out, or of all rows together."""
    val = []
    for class_, count in enumerate(counts):
        of_class = [row for row in rows if not classes or row[1] == class_]
        val += [of_class[place] for place in shuffled(benchmark, class_, len(of_class))[:count]]
    return {"train": [row for row in rows if row not in val], "val": [row for row in rows if row in val]}


class Tree:
    """A tree in a temporary folder, of which all but the pictures is kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = Path(tempfile.mkdtemp())
        self.pictures: list[str] = []

    def write(self, path: str, content: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def lines(self, path: str, lines: list[str]) -> None:
        self.write(path, "".join(line + "\n" for line in lines))

    def mat(self, path: str, variables: dict, compress: bool) -> None:
        """A MATLAB file whose header names no date."""
        file = io.BytesIO()
        savemat(file, variables, do_compression=compress, oned_as="row")
        self.write(path, b"MATLAB 5.0 MAT-file, made for a test".ljust(116) + file.getvalue()[116:])

    def picture(self, path: str) -> None:
        self.write(path, jpeg(len(self.pictures) % 3))
        self.pictures.append(path)

    def relative(self, paths: list) -> list[str]:
        return [Path(path).relative_to(self.root).as_posix() for path in paths]

    def rows(self, paths: list, labels: list) -> list[list]:
        return [[path, int(label)] for path, label in zip(self.relative(paths), labels, strict=True)]

    def keep(self, only_for_torchvision: tuple[str, ...] = ()) -> None:
        for file in self.root.rglob("*"):
            path = file.relative_to(self.root).as_posix()
            if file.is_file() and path not in self.pictures and not path.startswith(only_for_torchvision or ("\0",)):
                target = FOLDER / self.name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        shutil.rmtree(self.root)


def food101() -> dict:
    tree = Tree("food101")
    classes = ["apple_pie", "baklava"]
    parts = {"train": [], "test": []}
    for number, name in enumerate(classes):
        # Not in order, as the official lists.
        parts["train"] += [f"{name}/{(37 * k) % 101 + 1000}" for k in range(78 + number)]
        parts["test"] += [f"{name}/{k}" for k in range(3)]
    tree.lines("food-101/meta/classes.txt", classes)
    for part, pictures in parts.items():
        tree.lines(f"food-101/meta/{part}.txt", pictures)
        of_class = {name: [p for p in pictures if p.startswith(name + "/")] for name in classes}
        tree.write(f"food-101/meta/{part}.json", json.dumps(of_class))
        for picture in pictures:
            tree.picture(f"food-101/images/{picture}.jpg")
    read = {part: datasets.Food101(tree.root, part) for part in parts}
    rows = {part: tree.rows(data._image_files, data._labels) for part, data in read.items()}
    tree.keep(("food-101/meta/train.json", "food-101/meta/test.json"))
    return {"classes": read["train"].classes, **parted("food101", rows["train"], [75, 75]), "test": rows["test"],
            "pictures": tree.pictures, "base": "food-101"}  # fmt: skip


def birdsnap() -> dict:
    tree = Tree("birdsnap")
    species = [("1", "Acadian Flycatcher", "Empidonax virescens", "Acadian_Flycatcher"),
               ("2", "Cooper's Hawk", "Accipiter cooperii", "Coopers_Hawk"),
               ("3", "Blue Jay", "Cyanocitta cristata", "Blue_Jay")]  # fmt: skip
    tree.lines("birdsnap/species.txt", ["\t".join(row) for row in [("id", "common", "scientific", "dir"), *species]])
    images, test = [], []
    for number, (id, _, _, folder) in enumerate(species):
        for k in range(8 + number):
            path = f"{folder}/{561 + 7 * k}.jpg"
            images.append((f"http://example.org/{k}.jpg", "0" * 32, path, id, "1", "2", "3", "4", "null", "null"))
            if k % 4 == 1:
                test.append(path)
    header = ("url", "md5", "path", "species_id", "bb_x1", "bb_y1", "bb_x2", "bb_y2", "back_x", "back_y")
    tree.lines("birdsnap/images.txt", ["\t".join(row) for row in [header, *images]])
    tree.lines("birdsnap/test_images.txt", ["path", *test])
    dead = {"Coopers_Hawk/568.jpg", "Blue_Jay/561.jpg", "Blue_Jay/575.jpg"}
    assert "Coopers_Hawk/568.jpg" in test and "Blue_Jay/561.jpg" not in test
    for image in images:
        if image[2] not in dead:
            tree.picture(f"birdsnap/download/images/{image[2]}")
    with open(tree.root / "birdsnap/images.txt", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with open(tree.root / "birdsnap/species.txt", newline="") as file:
        names = {row["id"]: row["common"] for row in csv.DictReader(file, delimiter="\t")}
    ids = list(names)
    rows_of = lambda in_test: [
        [f"birdsnap/download/images/{row['path']}", ids.index(row["species_id"])] for row in rows if (row["path"] in test) == in_test
    ]
    counts = [sum(label == c for _, label in rows_of(True)) for c in range(len(ids))]
    # Parts are drawn from the list, and lose the dead ones then.
    parts = parted("birdsnap", rows_of(False), counts) | {"test": rows_of(True)}
    missing = [f"birdsnap/download/images/{row['path']}" for row in rows if row["path"] in dead]
    parts = {part: [row for row in rows if row[0] not in missing] for part, rows in parts.items()}
    tree.keep()
    return {"classes": list(names.values()), **parts, "pictures": tree.pictures, "missing": missing, "base": "birdsnap"}


def sun397() -> dict:
    tree = Tree("sun397")
    folders = ["/a/abbey", "/c/church/indoor", "/c/church/outdoor"]
    parts = {"Training": [], "Testing": []}
    for folder in folders:
        parts["Training"] += [f"{folder}/sun_a{k:03d}.jpg" for k in range(50)]
        parts["Testing"] += [f"{folder}/sun_b{k:03d}.jpg" for k in range(4)]
        tree.picture(f"SUN397{folder}/sun_in_no_list.jpg")
    tree.lines("SUN397/ClassName.txt", folders)
    for part, pictures in parts.items():
        tree.lines(f"{part}_01.txt", pictures)
        for picture in pictures:
            tree.picture(f"SUN397{picture}")
    data = datasets.SUN397(tree.root)
    label = dict(zip(tree.relative(data._image_files), data._labels, strict=True))
    rows = {part: [[f"SUN397{p}", label[f"SUN397{p}"]] for p in pictures] for part, pictures in parts.items()}
    tree.keep()
    return {"classes": data.classes, **parted("sun397", rows["Training"], [10, 10, 10]), "test": rows["Testing"],
            "pictures": tree.pictures, "base": ""}  # fmt: skip


def cars() -> dict:
    tree = Tree("cars")
    classes = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo Convertible 2012"]

    def annotations(count: int, with_bounds: int) -> np.ndarray:
        fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
        array = np.zeros((1, count), dtype=[(field, object) for field in fields])
        for k in range(count):
            bounds = [np.array([[with_bounds + k + i]], np.uint16) for i in range(4)]
            array[0, k] = (*bounds, np.array([[k % 3 + 1]], np.uint8), f"{k + 1:05d}.jpg")
        return array

    names = np.empty((1, 3), dtype=object)
    names[0] = classes
    tree.mat("stanford_cars/devkit/cars_meta.mat", {"class_names": names}, compress=False)
    tree.mat("stanford_cars/devkit/cars_train_annos.mat", {"annotations": annotations(20, 200)}, compress=True)
    # Where the reader here looks first, and where torchvision does.
    labels = {"annotations": annotations(5, 300)}
    tree.mat("stanford_cars/devkit/cars_test_annos_withlabels.mat", labels, compress=True)
    tree.mat("stanford_cars/cars_test_annos_withlabels.mat", labels, compress=True)
    for part, count in [("train", 20), ("test", 5)]:
        for k in range(count):
            tree.picture(f"stanford_cars/cars_{part}/{k + 1:05d}.jpg")
    read = {part: datasets.StanfordCars(tree.root, part) for part in ["train", "test"]}
    rows = {part: tree.rows(*zip(*data._samples, strict=True)) for part, data in read.items()}
    tree.keep(("stanford_cars/cars_test_annos_withlabels.mat",))
    return {"classes": read["train"].classes, **parted("cars", rows["train"], [round(20 * 1650 / 8144)], classes=False),
            "test": rows["test"], "pictures": tree.pictures, "base": "stanford_cars"}  # fmt: skip


def aircraft() -> dict:
    tree = Tree("aircraft")
    classes = ["707-320", "Boeing 717", "F/A-18"]
    tree.lines("fgvc-aircraft-2013b/data/variants.txt", classes)
    rows = {}
    for start, part in [(34958, "train"), (1025794, "val"), (900, "test")]:
        lines = [f"{start + 13 * k:07d} {classes[(k * k) % 3]}" for k in range(5)]
        tree.lines(f"fgvc-aircraft-2013b/data/images_variant_{part}.txt", lines)
        for line in lines:
            tree.picture(f"fgvc-aircraft-2013b/data/images/{line[:7]}.jpg")
        data = datasets.FGVCAircraft(tree.root, part, "variant")
        rows[part] = tree.rows(data._image_files, data._labels)
    tree.keep()
    return {"classes": data.classes, **rows, "pictures": tree.pictures, "base": "fgvc-aircraft-2013b/data"}


def voc2007() -> dict:
    tree = Tree("voc2007")
    base = "VOCdevkit/VOC2007"
    rows, presences = {}, {}
    for start, part, count in [(5, "train", 4), (7, "val", 3), (3, "test", 3)]:
        pictures = [f"{start + 6 * k:06d}" for k in range(count)]
        tree.lines(f"{base}/ImageSets/Main/{part}.txt", pictures)
        # 1: shown; 0: only difficult objects; -1: neither. A picture shows several classes.
        value = lambda k, c: 1 if (k + c) % 7 == 0 else 0 if (k + c) % 11 == 5 else -1
        for c, name in enumerate(VOC_CLASSES):
            lines = [f"{picture} {value(k, c):2d}" for k, picture in enumerate(pictures)]
            tree.lines(f"{base}/ImageSets/Main/{name}_{part}.txt", lines)
        for k, picture in enumerate(pictures):
            tree.picture(f"{base}/JPEGImages/{picture}.jpg")
            objects = ""
            for c, name in enumerate(VOC_CLASSES):
                if value(k, c) >= 0:
                    objects += f"<object><name>{name}</name><difficult>{1 - value(k, c)}</difficult></object>"
                if value(k, c) == 1:
                    objects += f"<object><name>{name}</name><difficult>1</difficult></object>"
            tree.write(f"{base}/Annotations/{picture}.xml", f"<annotation>{objects}</annotation>")
        data = datasets.VOCDetection(tree.root, year="2007", image_set=part)
        rows[part] = [[path, None] for path in tree.relative(data.images)]
        presences[part] = []
        for _, target in data:
            difficult = {}
            for thing in target["annotation"]["object"]:
                difficult.setdefault(thing["name"], []).append(thing["difficult"] == "1")
            presence = lambda name: "negative" if name not in difficult else "difficult" if all(difficult[name]) else "positive"
            presences[part].append([presence(name) for name in VOC_CLASSES])
    tree.keep((f"{base}/Annotations",))
    return {"classes": [], "multi_classes": VOC_CLASSES, **rows, "presences": presences, "pictures": tree.pictures, "base": base}


def dtd() -> dict:
    tree = Tree("dtd")
    rows = {}
    for start, part in [(2, "train"), (5, "val"), (9, "test")]:
        lines = [f"{name}/{name}_{start + 20 * k:04d}.jpg" for name in ["banded", "zigzagged", "blotchy"] for k in range(2)]
        tree.lines(f"dtd/dtd/labels/{part}1.txt", lines)
        for line in lines:
            tree.picture(f"dtd/dtd/images/{line}")
        data = datasets.DTD(tree.root, part, partition=1)
        rows[part] = tree.rows(data._image_files, data._labels)
    tree.keep()
    return {"classes": data.classes, **rows, "pictures": tree.pictures, "base": "dtd/dtd"}


def pets() -> dict:
    tree = Tree("pets")
    # Numbered by name without regard to case, species 1 is cat.
    breeds = [("Abyssinian", 1, 1), ("american_bulldog", 2, 1), ("Bengal", 1, 2)]
    rows = {}
    for part, start, count in [("trainval", 100, 23), ("test", 7, 3)]:
        lines = []
        for number, (breed, species, id) in enumerate(breeds):
            lines += [f"{breed}_{start + k} {number + 1} {species} {id}" for k in range(count - number)]
        tree.lines(f"oxford-iiit-pet/annotations/{part}.txt", lines)
        for line in lines:
            tree.picture(f"oxford-iiit-pet/images/{line.split()[0]}.jpg")
        data = datasets.OxfordIIITPet(tree.root, part)
        rows[part] = tree.rows(data._images, data._labels)
    tree.keep()
    return {"classes": data.classes, **parted("pets", rows["trainval"], [20, 20, 20]), "test": rows["test"],
            "pictures": tree.pictures, "base": "oxford-iiit-pet"}  # fmt: skip


def caltech101(background: bool = True) -> dict:
    """torchvision leaves BACKGROUND_Google out; the paper counts it, and here it is the class behind the others."""
    tree = Tree("caltech101")
    no_category, count_of_none = "BACKGROUND_Google", 34
    for name, count in [(no_category, count_of_none), ("Faces", 31), ("Faces_easy", 33), ("airplanes", 36)]:
        for k in range(count):
            tree.picture(f"caltech101/101_ObjectCategories/{name}/image_{k + 1:04d}.jpg")
    data = datasets.Caltech101(tree.root)
    folder = tree.root / "caltech101/101_ObjectCategories"
    paths = [folder / data.categories[y] / f"image_{k:04d}.jpg" for y, k in zip(data.y, data.index, strict=True)]
    classes, labels = list(data.categories), list(data.y)
    if background:
        paths += sorted((folder / no_category).iterdir())
        labels += [len(classes)] * count_of_none
        classes.append(no_category)
    rows = tree.rows(paths, labels)
    tree.keep()
    parts = {"train": [], "val": [], "test": []}
    for class_ in range(len(classes)):
        of_class = [row for row in rows if row[1] == class_]
        order = shuffled("caltech101", class_, len(of_class))
        for part, drawn in [("train", order[:25]), ("val", order[25:30]), ("test", order[30:])]:
            parts[part] += [of_class[place] for place in sorted(drawn)]
    return {"classes": classes, **parts, "pictures": tree.pictures, "base": "caltech101"}


def places365() -> dict:
    class Places365(datasets.Places365):
        """The official lists have known sums; these are others."""

        def _check_integrity(self, file: str, md5: str, download: bool) -> bool:
            return True

    tree = Tree("places365")
    folders = ["/a/airfield", "/a/apartment_building/outdoor"]
    tree.lines("categories_places365.txt", [f"{folder} {label}" for label, folder in enumerate(folders)])
    train = [(f"{folder}/{k + 1:08d}.jpg", label) for label, folder in enumerate(folders) for k in range(52 + label)]
    val = [(f"Places365_val_{k + 1:08d}.jpg", (k * k) % 2) for k in range(5)]
    tree.lines("places365_train_standard.txt", [f"{path} {label}" for path, label in train])
    tree.lines("places365_val.txt", [f"{path} {label}" for path, label in val])
    for path, _ in train:
        tree.picture(f"data_256_standard{path}")
    for path, _ in val:
        tree.picture(f"val_256/{path}")
    read = {split: Places365(tree.root, split, small=True) for split in ["train-standard", "val"]}
    rows = {split: tree.rows(*zip(*data.imgs, strict=True)) for split, data in read.items()}
    tree.keep()
    return {"classes": [name.split("/", 2)[2] for name in read["val"].classes], **parted("places365", rows["train-standard"], [50, 50]),
            "test": rows["val"], "pictures": tree.pictures, "base": ""}  # fmt: skip


def flowers102() -> dict:
    class Flowers102(datasets.Flowers102):
        """The official MATLAB files have known sums; these are others."""

        def _check_integrity(self) -> bool:
            return True

    tree = Tree("flowers102")
    labels = np.array([(29 * k) % 102 + 1 for k in range(12)], np.uint8)
    tree.mat("flowers-102/imagelabels.mat", {"labels": labels}, compress=False)
    ids = {"trnid": np.array([3, 1, 12], np.uint16), "valid": np.array([2, 9], np.uint16),
           "tstid": np.array([4, 5, 11, 6, 7, 8, 10], np.uint16)}  # fmt: skip
    tree.mat("flowers-102/setid.mat", ids, compress=True)
    for k in range(12):
        tree.picture(f"flowers-102/jpg/image_{k + 1:05d}.jpg")
    rows = {}
    for part in ["train", "val", "test"]:
        data = Flowers102(tree.root, part)
        rows[part] = tree.rows(data._image_files, data._labels)
    tree.keep()
    classes = [str(k + 1) for k in range(102)]
    return {"classes": classes, **rows, "pictures": tree.pictures, "base": "flowers-102"}


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "pictures").mkdir(parents=True)
    for seed in range(3):
        (FOLDER / f"pictures/{seed}.jpg").write_bytes(jpeg(seed))
    makers = [food101, birdsnap, sun397, cars, aircraft, voc2007, dtd, pets, caltech101, places365, flowers102]
    expected = {maker.__name__: maker() for maker in makers}
    expected["caltech101-without-background"] = caltech101(background=False)
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in expected.items())
    (FOLDER / "expected.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
