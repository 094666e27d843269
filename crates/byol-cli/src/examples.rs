//! Examples below the help of every command.

use clap::Command;

/// Path of a command below `byol`, and what people do with it.
const EXAMPLES: [(&str, &[&str]); 34] = [
    (
        "",
        &[
            "byol demo",
            "byol doctor PHOTOS",
            "byol pretrain PHOTOS --minutes 60 --out runs/photos",
            "byol eval knn runs/photos LABELLED",
        ],
    ),
    ("demo", &["byol demo", "byol demo --out runs/try --seed 1"]),
    (
        "doctor",
        &[
            "byol doctor PHOTOS",
            "byol doctor photos.tar --sample 2000 --no-estimate",
            "byol doctor PHOTOS --minutes 60 --json",
        ],
    ),
    (
        "preview",
        &[
            "byol preview PHOTOS -o views.png",
            "byol preview PHOTOS -o views.png --images 10 --pairs 2 --set views.view1.hue=0.2",
            "byol preview TILES -o views.png --views overhead",
        ],
    ),
    (
        "pretrain",
        &[
            "byol pretrain PHOTOS --minutes 60",
            "byol pretrain PHOTOS --minutes 60 --size 96 --dry-run",
            "byol pretrain FEW --minutes 20 --init resnet18.pth",
            "byol pretrain FEW --minutes 20 --init byol.ckpt --prefix backbone_momentum",
            "byol pretrain SLIDES --minutes 60 --views microscopy",
            "byol pretrain A B more.tar --preset cifar10 --epochs 60 --arch resnet18x0.25 --out runs/all",
            "byol pretrain PHOTOS --config mine.toml --set train.batch_size=128",
        ],
    ),
    (
        "resume",
        &[
            "byol resume runs/photos",
            "byol resume runs/photos --threads 4 --loader-threads 2",
            "byol resume runs/photos --epochs 400",
            "byol resume runs/photos --data /new/disk/photos",
        ],
    ),
    ("eval", &["byol eval knn runs/photos LABELLED", "byol eval linear runs/photos TRAIN --test TEST --seeds 3"]),
    (
        "eval knn",
        &[
            "byol eval knn runs/photos LABELLED",
            "byol eval knn runs/photos LABELLED --k 1,20,200 --temperature 0.07",
            "byol eval knn random:resnet18:cifar:32 LABELLED",
        ],
    ),
    (
        "predict",
        &[
            "byol predict runs/photos classifier.safetensors NEW -o predictions.csv",
            "byol predict runs/photos classifier.safetensors NEW -o predictions.csv --neighbours LABELLED",
        ],
    ),
    (
        "eval linear",
        &[
            "byol eval linear runs/photos LABELLED --save classifier.safetensors",
            "byol eval linear runs/photos TRAIN --test TEST --seeds 3 --reference resnet18.pth",
        ],
    ),
    (
        "eval finetune",
        &[
            "byol eval finetune runs/photos LABELLED",
            "byol eval finetune runs/photos LABELLED --finetune-steps 500 --finetune-rates 0.01,0.1",
        ],
    ),
    (
        "eval semi",
        &["byol eval semi runs/photos LABELLED", "byol eval semi runs/photos LABELLED --labels 10% --seeds 3"],
    ),
    (
        "eval transfer",
        &["byol eval transfer runs/photos OTHER", "byol eval transfer runs/photos FLOWERS --benchmark flowers102"],
    ),
    ("eval all", &["byol eval all runs/photos LABELLED", "byol eval all runs/photos LABELLED --json"]),
    (
        "eval ablate",
        &[
            "byol eval ablate LABELLED --table target",
            "byol eval ablate LABELLED --table heads --config recipe.toml --seeds 3",
        ],
    ),
    (
        "embed",
        &[
            "byol embed runs/photos PHOTOS -o photos.parquet",
            "byol embed runs/photos PHOTOS -o photos.npy --half",
            "byol embed resnet50.pth PHOTOS -o photos.csv --split test",
        ],
    ),
    (
        "bundle",
        &[
            "byol bundle runs/photos -o photos.tar --license CC-BY-4.0",
            "byol bundle runs/photos -o photos.tar --report report.html",
        ],
    ),
    ("verify", &["byol verify photos.tar", "byol verify photos.tar --data LABELLED"]),
    (
        "log",
        &[
            "byol log runs/photos --to mlflow-file mlruns",
            "byol log runs/photos --to mlflow-file mlruns --experiment photos",
        ],
    ),
    (
        "export",
        &[
            "byol export runs/photos --format onnx --with-preparation -o photos.onnx",
            "byol export runs/photos --format timm -o photos-timm --data PHOTOS",
        ],
    ),
    (
        "search",
        &[
            "byol search runs/photos photos.parquet --query cat.jpg --html like_cat.html",
            "byol search runs/photos photos.parquet --query NEW -k 5 -o neighbours.csv",
        ],
    ),
    (
        "duplicates",
        &[
            "byol duplicates photos.parquet -o groups.csv --html groups.html",
            "byol duplicates photos.parquet --threshold 0.99 --data /new/disk/photos -o groups.csv",
        ],
    ),
    (
        "outliers",
        &["byol outliers photos.parquet --html odd.html", "byol outliers photos.npy -k 5 --data PHOTOS -o odd.csv"],
    ),
    (
        "clusters",
        &[
            "byol clusters photos.parquet --clusters 30 --html clusters.html",
            "byol clusters labelled.parquet -o clusters.csv --json",
        ],
    ),
    (
        "select",
        &[
            "byol select photos.parquet -n 100 -o to_label.csv --html to_label.html",
            "byol select photos.parquet -n 1000 --method k-centre -o to_label.csv",
        ],
    ),
    (
        "label-errors",
        &[
            "byol label-errors labelled.parquet -o suspects.csv --html suspects.html",
            "byol label-errors labelled.parquet --split train -k 50",
        ],
    ),
    (
        "report",
        &[
            "byol report runs/photos -o report.html",
            "byol report runs/photos runs/other -o both.html --data LABELLED --images 500",
            "byol report runs/photos -o curves.html --no-map",
        ],
    ),
    ("bench", &["byol bench step --arch resnet50 --size 224 --batch 16", "byol bench input PHOTOS --size 224"]),
    (
        "bench step",
        &["byol bench step", "byol bench step --arch resnet50 --size 224 --batch 16 --precision bf16 --threads 2"],
    ),
    ("bench embed", &["byol bench embed", "byol bench embed --arch resnet50 --size 224 --batch 64 --json"]),
    ("bench input", &["byol bench input PHOTOS", "byol bench input PHOTOS --size 32 --threads 2 --seconds 10"]),
    ("bench peak", &["byol bench peak", "byol bench peak --threads 1 --isa avx2"]),
    ("devices", &["byol devices", "byol devices --json"]),
    (
        "completions",
        &[
            "byol completions bash > ~/.local/share/bash-completion/completions/byol",
            "byol completions zsh > ~/.zfunc/_byol",
            "byol completions fish > ~/.config/fish/completions/byol.fish",
        ],
    ),
];

/// The command with examples below its help and that of all commands below it.
pub fn added_to(command: Command) -> Command {
    below("", command)
}

fn below(path: &str, command: Command) -> Command {
    let command = match EXAMPLES.iter().find(|(of, _)| *of == path) {
        Some((_, lines)) => command.after_help(format!("Examples:\n  {}", lines.join("\n  "))),
        None => command,
    };
    command.mut_subcommands(|sub| below(format!("{path} {}", sub.get_name()).trim_start(), sub))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn check(path: &str, command: &Command) {
        let found = EXAMPLES.iter().any(|(of, lines)| *of == path && lines.len() >= 2);
        assert!(found || command.is_hide_set(), "`byol {path}` has two examples");
        for sub in command.get_subcommands() {
            check(format!("{path} {}", sub.get_name()).trim_start(), sub);
        }
    }

    #[test]
    fn every_command_has_examples_and_every_example_is_a_command() {
        check("", &command());
        for (path, lines) in EXAMPLES {
            for line in lines {
                assert!(line.starts_with(format!("byol {path}").trim_end()), "{line}");
                let words = line.split_whitespace().take_while(|word| *word != ">");
                command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}
