//! Wrong input to the real binary: exit code 2, one clear error, nothing on stdout, and nothing written.
#![cfg(unix)] // symbolic links, and paths that nobody may write to

mod pictures;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::ImageFormat;
use pictures::{picture, truncate, write_class};

/// One mistake. The program runs in a fresh folder that holds `data/` (two classes of 12 pictures) and whatever
/// `prepare` adds; afterwards the folder must hold exactly what it held before.
struct Case {
    name: &'static str,
    prepare: fn(&Path),
    /// Separated by blanks; `TINY` stands for the settings of a network that trains in a moment.
    arguments: &'static str,
    /// Must occur in the error.
    expected: &'static [&'static str],
}

const TINY: &str = "--preset cifar10 --set model.arch=resnet18x0.0625 --set model.projector_hidden=8 \
    --set model.predictor_hidden=8 --set model.projection_size=8 --set views.size_px=8 --set train.batch_size=8 \
    --set schedule.epochs=1 --set schedule.warmup_epochs=0 --set train.loader_threads=1";

const CASES: &[Case] = &[
    // The data.
    Case {
        name: "data path missing",
        prepare: nothing,
        arguments: "pretrain nowhere --out run TINY",
        expected: &["no data at nowhere", "expected a folder", "found nothing", "spelling"],
    },
    Case {
        name: "data path missing, no preset",
        prepare: nothing,
        arguments: "pretrain nowhere",
        expected: &["no data at nowhere", "expected a folder", "found nothing", "spelling"],
    },
    Case {
        name: "empty folder",
        prepare: |at| fs::create_dir(at.join("empty")).unwrap(),
        arguments: "pretrain empty --out run TINY",
        expected: &["no pictures in empty", "the folder is empty", "expected picture files", "jpg"],
    },
    Case {
        name: "folder of text files",
        prepare: |at| write_texts(&at.join("texts"), "txt"),
        arguments: "pretrain texts --out run TINY",
        expected: &["no pictures in texts", "expected files ending in jpg", "found 5 × .txt", "give a folder"],
    },
    Case {
        name: "text file as data",
        prepare: |at| write_texts(&at.join("texts"), "txt"),
        arguments: "pretrain texts/0.txt --out run TINY",
        expected: &["cannot use texts/0.txt as data", "expected a folder, a tar archive", "got"],
    },
    Case {
        name: "more than 1 % of the pictures truncated",
        prepare: |at| {
            for name in ["a/cut-1.png", "b/cut-2.png", "b/cut-3.png"] {
                fs::copy(at.join("data/a/0.png"), at.join("data").join(name)).unwrap();
                truncate(&at.join("data").join(name));
            }
        },
        arguments: "pretrain data --out run TINY",
        expected: &[
            "of 27 pictures cannot be used",
            "data.max_bad_fraction = 0.01",
            "cannot use",
            "/cut-",
            "end of file",
            "repair",
        ],
    },
    Case {
        name: "more than 1 % truncated, and parents of --out are new",
        prepare: |at| truncate(&at.join("data/a/0.png")),
        arguments: "pretrain data --out new/deep/run TINY --set train.batch_size=24",
        expected: &["1 of 24 pictures cannot be used", "cannot use a/0.png"],
    },
    Case {
        name: "text renamed to .jpg",
        prepare: |at| write_texts(&at.join("texts"), "jpg"),
        arguments: "pretrain texts --out run TINY --set train.batch_size=2",
        expected: &["of 5 pictures cannot be used", "not a picture", "data.max_bad_fraction"],
    },
    Case {
        name: "damaged archive",
        prepare: |at| {
            fs::write(at.join("data.tar.gz"), b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03 no deflate").unwrap()
        },
        arguments: "pretrain data.tar.gz --out run TINY",
        expected: &["data.tar.gz", "damaged"],
    },
    Case {
        name: "unknown split",
        prepare: nothing,
        arguments: "pretrain data --split trian --out run TINY",
        expected: &["no split \"trian\" in data", "no splits", "leave the split out"],
    },
    Case {
        name: "unknown split beside known ones",
        prepare: |at| {
            write_class(&at.join("parts/train"), 0, 9);
            write_class(&at.join("parts/test"), 0, 9);
        },
        arguments: "pretrain parts --split val --out run TINY",
        expected: &["no split \"val\" in parts", "expected one of train, test"],
    },
    // The configuration.
    Case {
        name: "unknown key in a file",
        prepare: |at| fs::write(at.join("my.toml"), "[train]\nbatchsize = 8\n").unwrap(),
        arguments: "pretrain data --out run --config my.toml",
        expected: &["my.toml", "`train.batchsize`", "unknown field", "expected one of", "`batch_size`"],
    },
    Case {
        name: "unknown key by --set",
        prepare: nothing,
        arguments: "pretrain data --out run --set train.batchsize=8",
        expected: &["--set train.batchsize=8", "unknown field", "expected one of", "`batch_size`"],
    },
    Case {
        name: "wrong type in a file",
        prepare: |at| fs::write(at.join("my.toml"), "[train]\nbatch_size = \"eight\"\n").unwrap(),
        arguments: "pretrain data --out run --config my.toml",
        expected: &["my.toml", "`train.batch_size`", "\"eight\"", "expected a whole number"],
    },
    Case {
        name: "wrong type by --set",
        prepare: nothing,
        arguments: "pretrain data --out run --set schedule.epochs=many",
        expected: &["--set schedule.epochs=many", "`schedule.epochs`", "\"many\"", "expected a number"],
    },
    Case {
        name: "a value for a table",
        prepare: nothing,
        arguments: "pretrain data --out run --set train=3",
        expected: &["--set train=3", "`train`", "expected a table of settings"],
    },
    Case {
        name: "unknown architecture",
        prepare: nothing,
        arguments: "pretrain data --out run --set model.arch=vgg16",
        expected: &["--set model.arch=vgg16", "unknown architecture \"vgg16\"", "expected resnet18"],
    },
    Case {
        name: "unknown optimiser",
        prepare: nothing,
        arguments: "pretrain data --out run --set optimizer.kind=lion",
        expected: &["`optimizer.kind`", "`lion`", "expected one of", "`lars`"],
    },
    Case {
        name: "--set without a value",
        prepare: nothing,
        arguments: "pretrain data --out run --set train.batch_size",
        expected: &["--set train.batch_size", "expected key=value", "for example"],
    },
    Case {
        name: "malformed TOML",
        prepare: |at| fs::write(at.join("my.toml"), "[train\nbatch_size = 8\n").unwrap(),
        arguments: "pretrain data --out run --config my.toml",
        expected: &["my.toml", "TOML parse error", "line 1", "expected"],
    },
    Case {
        name: "config file missing",
        prepare: nothing,
        arguments: "pretrain data --out run --config my.toml",
        expected: &["cannot read my.toml", "spelling"],
    },
    Case {
        name: "config file is a folder",
        prepare: nothing,
        arguments: "pretrain data --out run --config data",
        expected: &["cannot read data", "give a file"],
    },
    Case {
        name: "unknown preset",
        prepare: nothing,
        arguments: "pretrain data --out run --preset imagenet",
        expected: &["--preset", "unknown preset \"imagenet\"", "expected one of imagenet-40"],
    },
    Case {
        name: "unknown preset in a file",
        prepare: |at| fs::write(at.join("my.toml"), "preset = \"imagenet\"\n").unwrap(),
        arguments: "pretrain data --out run --config my.toml",
        expected: &["my.toml", "key `preset`", "unknown preset \"imagenet\"", "expected one of imagenet-40"],
    },
    Case {
        name: "zero batch",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --set train.batch_size=0",
        expected: &["`train.batch_size`", "expected 2 or more", "got 0"],
    },
    Case {
        name: "batch of one",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --set train.batch_size=1",
        expected: &["`train.batch_size`", "expected 2 or more", "batch norm", "got 1"],
    },
    Case {
        name: "zero epochs",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --set schedule.epochs=0",
        expected: &["`schedule.epochs`", "expected at least 0.3333", "one batch of 8 of the 24 pictures", "got 0"],
    },
    Case {
        name: "warm-up longer than the run",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --set schedule.warmup_epochs=2",
        expected: &["`schedule.warmup_epochs`", "expected at most schedule.epochs = 1", "got 2"],
    },
    Case {
        name: "accumulation that does not divide",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --set train.accumulation_steps=3",
        expected: &["`train.accumulation_steps`", "expected a divisor of train.batch_size = 8", "got 3"],
    },
    Case {
        name: "views of no size",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --set views.size_px=0",
        expected: &["`views.size_px`", "expected a whole number from 1", "got 0"],
    },
    // The output.
    Case {
        name: "output inside the data",
        prepare: nothing,
        arguments: "pretrain data --out data/run TINY",
        expected: &["data/run", "lies inside the data folder", "choose a place outside"],
    },
    Case {
        name: "output inside the data, parents missing",
        prepare: nothing,
        arguments: "pretrain data --out data/new/deep/run TINY",
        expected: &["lies inside the data folder"],
    },
    Case {
        name: "output inside the data through ..",
        prepare: nothing,
        arguments: "pretrain data --out data/../data/a/../run TINY",
        expected: &["lies inside the data folder"],
    },
    Case {
        name: "output inside the data through .. after a missing folder",
        prepare: nothing,
        arguments: "pretrain data --out new/../data/run TINY",
        expected: &["lies inside the data folder"],
    },
    Case {
        name: "output inside the data through a link",
        prepare: |at| symlink(at.join("data/a"), at.join("link")).unwrap(),
        arguments: "pretrain data --out link/run TINY",
        expected: &["link/run", "lies inside the data folder"],
    },
    Case {
        name: "data through a link, output inside it",
        prepare: |at| symlink(at.join("data"), at.join("link")).unwrap(),
        arguments: "pretrain link --out data/run TINY",
        expected: &["data/run", "lies inside the data folder"],
    },
    Case {
        name: "existing output folder",
        prepare: |at| fs::create_dir(at.join("run")).unwrap(),
        arguments: "pretrain data --out run TINY",
        expected: &["run", "already exists", "never overwrites", "another --out", "byol resume"],
    },
    Case {
        name: "a file in the way",
        prepare: |at| fs::write(at.join("run"), "precious").unwrap(),
        arguments: "pretrain data --out run TINY",
        expected: &["run", "already exists", "another --out"],
    },
    Case {
        name: "a link to nowhere in the way",
        prepare: |at| symlink("nowhere", at.join("run")).unwrap(),
        arguments: "pretrain data --out run TINY",
        expected: &["run", "already exists", "another --out"],
    },
    // Tests may run as root, whom read-only permissions do not stop; nobody can write to these two places.
    Case {
        name: "a place that cannot be written to",
        prepare: nothing,
        arguments: "pretrain data --out /proc/byol-test/run TINY",
        expected: &["cannot create /proc/byol-test", "check"],
    },
    Case {
        name: "a file as parent of the output",
        prepare: |at| fs::write(at.join("file"), "precious").unwrap(),
        arguments: "pretrain data --out file/run TINY",
        expected: &["cannot create file/run", "a part of the path is a file", "choose another path"],
    },
    Case {
        name: "demo with an existing output",
        prepare: nothing,
        arguments: "demo --out data",
        expected: &["data", "already exists", "another --out"],
    },
    // Resume.
    Case {
        name: "resume of nothing",
        prepare: nothing,
        arguments: "resume run",
        expected: &["run: not a run folder", "expected config.toml and run.json", "got nothing", "byol pretrain"],
    },
    Case {
        name: "resume of a folder that is no run",
        prepare: nothing,
        arguments: "resume data",
        expected: &["data: not a run folder", "expected config.toml and run.json", "byol pretrain"],
    },
    Case {
        name: "resume when the data has changed",
        prepare: |at| {
            finished_run(at);
            fs::remove_file(at.join("data/b/3.png")).unwrap();
        },
        arguments: "resume run",
        expected: &[
            "data",
            "has changed",
            "expected the same 24 pictures",
            "got 23",
            "Restore the data",
            "--changed-data",
        ],
    },
    Case {
        name: "resume when the data is gone",
        prepare: |at| {
            finished_run(at);
            fs::rename(at.join("data"), at.join("moved")).unwrap();
        },
        arguments: "resume run",
        expected: &["/data: the data of run is no longer there", "put it back", "byol resume run --data DATA"],
    },
    Case {
        name: "resume with a truncated checkpoint",
        prepare: |at| {
            finished_run(at);
            truncate(&at.join("run/checkpoints/step-00000003.safetensors"));
        },
        arguments: "resume run",
        expected: &[
            "step-00000003.safetensors",
            "expected a complete safetensors file",
            "got a damaged one",
            "there is no older one to go back to",
            "start a new run",
        ],
    },
    Case {
        name: "resume with another network in config.toml",
        prepare: |at| {
            finished_run(at);
            let config = at.join("run/config.toml");
            let text = fs::read_to_string(&config).unwrap().replace("resnet18x0.0625", "resnet18x0.125");
            fs::write(config, text).unwrap();
        },
        arguments: "resume run",
        expected: &["step-00000003.safetensors", "config.toml was changed", "restore it", "start a new run"],
    },
    Case {
        name: "resume with a spoilt config",
        prepare: |at| {
            finished_run(at);
            let config = at.join("run/config.toml");
            let text = fs::read_to_string(&config).unwrap().replace("accumulation_steps = 1", "accumulation_steps = 0");
            fs::write(config, text).unwrap();
        },
        arguments: "resume run",
        expected: &["run/config.toml", "`train.accumulation_steps`", "expected a whole number above 0", "got 0"],
    },
    Case {
        name: "resume with a damaged run.json",
        prepare: |at| {
            finished_run(at);
            truncate(&at.join("run/run.json"));
        },
        arguments: "resume run",
        expected: &["run/run.json", "damaged run description", "restore"],
    },
    // The encoder.
    Case {
        name: "encoder missing",
        prepare: nothing,
        arguments: "eval knn nowhere --data data",
        expected: &[
            "nowhere: no such encoder",
            "expected a run folder, a .safetensors or PyTorch file, or random:ARCH",
        ],
    },
    Case {
        name: "embed: encoder missing",
        prepare: nothing,
        arguments: "embed nowhere.safetensors data -o out.npy",
        expected: &["nowhere.safetensors: no such encoder", "expected a run folder"],
    },
    Case {
        name: "a run without encoder",
        prepare: |at| {
            finished_run(at);
            fs::remove_file(at.join("run/encoder.safetensors")).unwrap();
        },
        arguments: "eval linear run --data data",
        expected: &["run: no encoder.safetensors", "expected a run folder with at least one checkpoint"],
    },
    Case {
        name: "a prefix where there is one encoder",
        prepare: nothing,
        arguments: "eval knn random:resnet18x0.0625:cifar:8 --data data --prefix target",
        expected: &["--prefix: expected none with random:resnet18x0.0625:cifar:8", "got target"],
    },
    Case {
        name: "a prefix of no weights",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --prefix target",
        expected: &["--init <WEIGHTS>"],
    },
    Case {
        name: "a page in place of weights",
        prepare: |at| fs::write(at.join("resnet18.pth"), "<!DOCTYPE html><html></html>").unwrap(),
        arguments: "pretrain data --out run TINY --init resnet18.pth",
        expected: &["resnet18.pth: expected weights", "got a web page", "download the file itself"],
    },
    Case {
        name: "a truncated encoder",
        prepare: |at| {
            finished_run(at);
            truncate(&at.join("run/encoder.safetensors"));
        },
        arguments: "embed run data -o out.csv",
        expected: &["run/encoder.safetensors", "expected a complete safetensors file", "restore"],
    },
    Case {
        name: "a picture as encoder",
        prepare: |at| fs::write(at.join("data/a/0.json"), "{}").unwrap(),
        arguments: "embed data/a/0.png data -o out.csv",
        expected: &["data/a/0.json", "not an encoder description", "missing field"],
    },
    Case {
        name: "an encoder without its description",
        prepare: |at| {
            finished_run(at);
            fs::remove_file(at.join("run/encoder.json")).unwrap();
        },
        arguments: "eval knn run/encoder.safetensors --data data",
        expected: &["run/encoder.json", "missing", "architecture", "keep the two files together"],
    },
    Case {
        name: "an encoder with an impossible description",
        prepare: |at| {
            finished_run(at);
            let json = at.join("run/encoder.json");
            let text = fs::read_to_string(&json).unwrap().replace("\"size_px\": 8", "\"size_px\": 0");
            fs::write(json, text).unwrap();
        },
        arguments: "eval knn run --data data",
        expected: &["run/encoder.json", "preprocessing.size_px", "expected a whole number from 1", "got 0"],
    },
    Case {
        name: "random encoder of an unknown architecture",
        prepare: nothing,
        arguments: "eval knn random:vgg --data data",
        expected: &["random:vgg", "unknown architecture \"vgg\"", "expected resnet18", "for example random:resnet18"],
    },
    Case {
        name: "random encoder of an impossible size",
        prepare: nothing,
        arguments: "embed random:resnet18:cifar:0 data -o out.npy",
        expected: &["random:resnet18:cifar:0", "whole number from 1", "got 0", "for example random:resnet18"],
    },
    // Evaluation and embedding.
    Case {
        name: "evaluation without labels",
        prepare: nothing,
        arguments: "eval knn random:resnet18x0.0625:cifar:8 --data data/a",
        expected: &[
            "data/a",
            "needs a label for every picture",
            "0.png has none",
            "expected a folder for each of at least two classes",
        ],
    },
    Case {
        name: "evaluation with other classes in the test data",
        prepare: |at| {
            write_class(&at.join("other/x"), 0, 5);
            write_class(&at.join("other/y"), 1, 5);
        },
        arguments: "eval knn random:resnet18x0.0625:cifar:8 --data data --test other",
        expected: &["same classes", "\"a\"", "\"x\""],
    },
    Case {
        name: "evaluation on missing test data",
        prepare: nothing,
        arguments: "eval linear random:resnet18x0.0625:cifar:8 --data data --test nowhere",
        expected: &["no data at nowhere"],
    },
    Case {
        name: "evaluation with broken pictures",
        prepare: |at| truncate(&at.join("data/a/0.png")),
        arguments: "eval knn random:resnet18x0.0625:cifar:8 --data data",
        expected: &["pictures cannot be used", "cannot use a/0.png", "max_bad_fraction"],
    },
    Case {
        name: "no neighbours",
        prepare: nothing,
        arguments: "eval knn random:resnet18 --data data --k 0",
        expected: &["'0' for '--k <K,…>'", "expected a whole number above 0"],
    },
    Case {
        name: "temperature 0",
        prepare: nothing,
        arguments: "eval knn random:resnet18 --data data --temperature 0",
        expected: &["'0' for '--temperature <T,…>'", "expected a number above 0"],
    },
    Case {
        name: "a learning rate below 0",
        prepare: nothing,
        arguments: "eval linear random:resnet18 --data data --learning-rates=0.1,-1",
        expected: &["'-1' for '--learning-rates", "expected a number above 0"],
    },
    Case {
        name: "a share of the labels above 1",
        prepare: nothing,
        arguments: "eval semi random:resnet18 --data data --labels 200%",
        expected: &["'200%' for '--labels", "expected a share above 0 and at most 1"],
    },
    Case {
        name: "more pictures held out than there are",
        prepare: nothing,
        arguments: "eval linear random:resnet18x0.0625:cifar:8 --data data --held-out last:20",
        expected: &["held out", "at most 19 of the 20 training pictures", "got last:20", "--held-out"],
    },
    Case {
        name: "all pictures held out",
        prepare: nothing,
        arguments: "eval semi random:resnet18 --data data --held-out 100%",
        expected: &["'100%' for '--held-out <PART>'", "10%", "10009", "last:10009"],
    },
    Case {
        name: "pictures held out of a benchmark, which has a part for that",
        prepare: nothing,
        arguments: "eval transfer random:resnet18 --data data --benchmark dtd --held-out 10%",
        expected: &["--benchmark <NAME>", "cannot be used with", "--held-out <PART>"],
    },
    Case {
        name: "a list of names that are not in the data",
        prepare: |at| fs::write(at.join("list.txt"), "a/0.png\na/none.png\n").unwrap(),
        arguments: "eval semi random:resnet18x0.0625:cifar:8 --data data --label-list list.txt",
        expected: &[
            "list.txt: line 2",
            "\"a/none.png\" is no picture of the training data",
            "expected one name per line",
        ],
    },
    Case {
        name: "views of pretraining for an encoder that has none",
        prepare: nothing,
        arguments: "eval linear random:resnet18x0.0625:cifar:8 --data data --augmentation pretraining",
        expected: &["--augmentation", "expected none or crop-flip", "got pretraining"],
    },
    Case {
        name: "a benchmark that is not there",
        prepare: nothing,
        arguments: "eval transfer random:resnet18x0.0625:cifar:8 --data data --benchmark dtd",
        expected: &["DTD is incomplete", "data/labels/train1.txt is missing", "get it from https://"],
    },
    Case {
        name: "an unknown benchmark",
        prepare: nothing,
        arguments: "eval transfer random:resnet18 --data data --benchmark mnist",
        expected: &["no benchmark \"mnist\"", "expected one of food101"],
    },
    Case {
        name: "reference weights of pictures with other channels",
        prepare: |at| {
            let grey = "--set data.channels=1 --set model.arch=resnet18x0.0625 --set views.size_px=8 --set train.batch_size=8 \
                        --set schedule.epochs=1 --set schedule.warmup_epochs=0 --preset cifar10";
            assert!(byol(at, &format!("pretrain data --out grey {grey}")).status.success());
        },
        arguments: "eval knn grey --data data --reference random:resnet18x0.0625:cifar:8",
        expected: &[
            "--reference random:resnet18x0.0625:cifar:8",
            "expected an encoder of pictures with 1 channel",
            "got one of 3",
        ],
    },
    Case {
        name: "an unknown table of ablations",
        prepare: nothing,
        arguments: "eval ablate --data data --table colours",
        expected: &["'colours' for '--table", "expected one of target, negatives"],
    },
    Case {
        name: "an unknown row of a table",
        prepare: nothing,
        arguments: "eval ablate --data data --table target --rows tau-2",
        expected: &["--rows tau-2: no such row", "expected some of tau-0.99"],
    },
    Case {
        name: "a head of four layers",
        prepare: nothing,
        arguments: "pretrain data --out new --set model.projector_layers=4",
        expected: &["model.projector_layers", "expected 1, 2 or 3", "got 4"],
    },
    Case {
        name: "a share above 1",
        prepare: nothing,
        arguments: "eval knn random:resnet18 --data data --max-bad-fraction 3",
        expected: &["--max-bad-fraction", "expected a number from 0 to 1", "got 3"],
    },
    Case {
        name: "embed to a text file",
        prepare: nothing,
        arguments: "embed random:resnet18 data -o out.txt",
        expected: &["out.txt", "expected a file name that ends in .parquet, .npy or .csv"],
    },
    Case {
        name: "embed to an existing file",
        prepare: |at| fs::write(at.join("out.csv"), "precious").unwrap(),
        arguments: "embed random:resnet18 data -o out.csv",
        expected: &["out.csv", "already exists", "not overwritten", "another -o"],
    },
    Case {
        name: "embed beside existing names",
        prepare: |at| fs::write(at.join("out.names.csv"), "precious").unwrap(),
        arguments: "embed random:resnet18 data -o out.npy",
        expected: &["out.names.csv", "already exists", "another -o"],
    },
    Case {
        name: "embed into a missing folder",
        prepare: nothing,
        arguments: "embed random:resnet18 data -o nowhere/out.npy",
        expected: &["cannot write nowhere/out.npy", "spelling"],
    },
    Case {
        name: "embed into the data",
        prepare: nothing,
        arguments: "embed random:resnet18 data -o data/out.npy",
        expected: &["data/out.npy", "lies inside the data folder", "outside"],
    },
    // Flags.
    Case {
        name: "unknown device",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --device tpu",
        expected: &["--device", "expected cpu", "got tpu"],
    },
    Case {
        name: "no threads",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --threads 0",
        expected: &["'0' for '--threads <N>'", "1..=1024"],
    },
    Case {
        name: "no loader threads on resume",
        prepare: nothing,
        arguments: "resume run --loader-threads 0",
        expected: &["'0' for '--loader-threads <N>'", "1..=1024"],
    },
    Case {
        name: "a seed below 0",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --seed=-1",
        expected: &["'-1' for '--seed <N>'", "invalid digit"],
    },
    Case {
        name: "unknown command",
        prepare: nothing,
        arguments: "pertrain data",
        expected: &["'pertrain'", "pretrain"],
    },
    // Benchmarks, precision and instruction sets.
    Case {
        name: "bench of an unknown architecture",
        prepare: nothing,
        arguments: "bench step --arch resnet19 --json",
        expected: &["--arch", "resnet19", "resnet18, 34, 50"],
    },
    Case {
        name: "bench of pictures without pixels",
        prepare: nothing,
        arguments: "bench step --size 0",
        expected: &["--size", "8..=4096"],
    },
    Case {
        name: "bench of a batch that batch norm cannot use",
        prepare: nothing,
        arguments: "bench step --batch 1",
        expected: &["--batch", "2..="],
    },
    Case {
        name: "bench of more than fits in memory",
        prepare: nothing,
        arguments: "bench embed --size 4096 --batch 60000 --json",
        expected: &["--batch", "at most 4 pictures of 4096 px", "60000"],
    },
    Case {
        name: "bench of heads of one number",
        prepare: nothing,
        arguments: "bench step --heads 77",
        expected: &["--heads", "HIDDEN/SIZE, like 4096/256", "77"],
    },
    Case {
        name: "bench of heads that fit in no memory",
        prepare: nothing,
        arguments: "bench step --heads 65536/65536",
        expected: &["--heads", "a product of at most 67108864", "65536/65536"],
    },
    Case {
        name: "bench in an unknown precision",
        prepare: nothing,
        arguments: "bench step --precision f16",
        expected: &["--precision", "f16", "f32 or bf16"],
    },
    Case {
        name: "unknown instruction set",
        prepare: nothing,
        arguments: "bench peak --isa sse9",
        expected: &["--isa", "sse9", "portable, neon, neonbf16, avx2, avx512, avx512bf16, amx"],
    },
    Case {
        name: "unknown precision in a setting",
        prepare: nothing,
        arguments: "pretrain data --out run TINY --set precision=f16",
        expected: &["precision", "f16", "f32", "bf16"],
    },
];

#[test]
fn every_mistake_gives_one_clear_error_exit_2_and_leaves_nothing() {
    let failures: Vec<String> = CASES
        .iter()
        .filter_map(|case| {
            problem_with(case).map(|problem| format!("{} (byol {})\n{problem}", case.name, case.arguments))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} cases:\n\n{}", failures.len(), CASES.len(), failures.join("\n\n"));
}

#[test]
fn a_picture_renamed_to_another_type_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for index in 0..8 {
        picture(0, index).save_with_format(data.join(format!("{index}.jpg")), ImageFormat::Png).unwrap();
        picture(1, index).save_with_format(data.join(format!("{index}.gif")), ImageFormat::Jpeg).unwrap();
    }
    let output = byol(folder.path(), "pretrain data --out run TINY --set eval.every_epochs=0");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!folder.path().join("run/bad_images.jsonl").exists());
}

fn problem_with(case: &Case) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    write_class(&folder.path().join("data/a"), 0, 12);
    write_class(&folder.path().join("data/b"), 1, 12);
    (case.prepare)(folder.path());
    let before = contents(folder.path());
    let output = byol(folder.path(), case.arguments);
    let stderr = text(&output.stderr);

    let mut problems = Vec::new();
    if output.status.code() != Some(2) {
        problems.push(format!("exit code: expected 2, got {:?}", output.status.code()));
    }
    if !output.stdout.is_empty() {
        problems.push(format!("stdout: expected nothing, got {}", text(&output.stdout)));
    }
    let errors = stderr.lines().filter(|line| line.starts_with("error:")).count();
    if errors != 1 {
        problems.push(format!("expected one error, got {errors}"));
    }
    let missing = case.expected.iter().filter(|words| !stderr.contains(**words));
    problems.extend(missing.map(|words| format!("missing: {words}")));
    let traces_of_rust =
        ["panicked", "RUST_BACKTRACE", "Some(", "None", "Err(", "Error(", " { ", "usize", "u64", "f64"];
    let found = traces_of_rust.iter().filter(|trace| stderr.contains(**trace));
    problems.extend(found.map(|trace| format!("not for people: {trace}")));
    let after = contents(folder.path());
    problems
        .extend(after.keys().filter(|path| !before.contains_key(*path)).map(|path| format!("left behind: {path:?}")));
    problems.extend(
        before.iter().filter(|&(path, was)| after.get(path) != Some(was)).map(|(path, _)| format!("changed: {path:?}")),
    );
    (!problems.is_empty()).then(|| format!("  {}\n  stderr: {stderr}", problems.join("\n  ")))
}

/// Runs the program in `folder`.
fn byol(folder: &Path, arguments: &str) -> Output {
    let arguments = arguments.replace("TINY", TINY);
    let mut command = Command::new(env!("CARGO_BIN_EXE_byol"));
    command.current_dir(folder).args(arguments.split_whitespace()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file and folder below `folder`, with the bytes of the files.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                folders.push(path.clone());
            }
            let bytes = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path, bytes);
        }
    }
    found
}

fn nothing(_: &Path) {}

/// Five text files with the given ending.
fn write_texts(folder: &Path, ending: &str) {
    fs::create_dir(folder).unwrap();
    for index in 0..5 {
        fs::write(folder.join(format!("{index}.{ending}")), "words, not pixels").unwrap();
    }
}

/// Trains three steps into `run/`.
fn finished_run(at: &Path) {
    let output = byol(at, "pretrain data --out run TINY");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Which instruction set a machine lacks differs; asking for it is an error that names those it has, never a crash.
#[test]
fn an_instruction_set_that_the_machine_lacks_is_refused() {
    let lacking = byol_kernels::Isa::ALL.into_iter().find(|isa| !isa.is_available());
    let Some(isa) = lacking else { return println!("skipped: this machine has every instruction set") };
    let output =
        Command::new(env!("CARGO_BIN_EXE_byol")).args(["bench", "peak", "--isa", isa.name()]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("--isa") && message.contains("portable") && message.contains(isa.name()), "{message}");
}
