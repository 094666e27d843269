//! The head of the report: which runs, what was trained on what, and how it ended.

use std::time::SystemTime;

use byol::train::watch::{self, Learning};
use chrono::DateTime;

use super::axis::significant;
use super::curves::colour;
use super::html::{escape, note, table};
use super::runs::{RunRecord, State};

/// Title, date, and a table with one column per run.
pub(super) fn head(runs: &[RunRecord], now: SystemTime) -> String {
    let names: Vec<String> = runs.iter().map(|run| escape(&run.name)).collect();
    let problems: String = runs
        .iter()
        .flat_map(|run| run.problems.iter().map(move |problem| note(&format!("{}: {problem}", run.name))))
        .collect();
    format!(
        "<header><p class=\"kicker\">BYOL pretraining report · {}</p>\n<h1>{}</h1>\n{}</header>\n{problems}",
        date(now),
        names.join(" <span class=\"versus\">and</span> "),
        facts(runs)
    )
}

fn facts(runs: &[RunRecord]) -> String {
    type Fact = fn(&RunRecord) -> String;
    let rows: [(&str, Fact); 9] = [
        ("verdict", verdict),
        ("findings", findings),
        ("steps", progress),
        ("last loss", |run| run.last("loss").map_or_else(missing, significant)),
        ("last projection_std", spread),
        ("encoder", encoder),
        ("data", data),
        ("unreadable pictures", |run| run.bad.len().to_string()),
        ("last logged", |run| run.written.map_or_else(missing, date)),
    ];
    let head = match runs {
        [_] => Vec::new(),
        _ => std::iter::once("<td></td>".to_owned())
            .chain(runs.iter().enumerate().map(|(place, run)| {
                format!("<th scope=\"col\"><i class=\"swatch run{}\"></i>{}</th>", colour(place), escape(&run.name))
            }))
            .collect(),
    };
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, fact)| {
            let cells = runs.iter().map(|run| format!("<td>{}</td>", fact(run)));
            std::iter::once(format!("<th scope=\"row\">{name}</th>")).chain(cells).collect()
        })
        .collect();
    table("facts", &head, &rows)
}

/// A badge and what it means; HTML.
fn verdict(run: &RunRecord) -> String {
    let (class, word) = match run.state {
        State::Empty => ("idle", "no step logged yet"),
        State::Running => ("idle", "in training"),
        State::Interrupted => ("warn", "interrupted"),
        State::Finished => ("good", "finished"),
    };
    let badge = |class: &str, word: &str| format!("<span class=\"badge {class}\">{word}</span>");
    if run.collapsed() {
        return format!("{} {}", badge("bad", "collapsed"), badge(if class == "good" { "idle" } else { class }, word));
    }
    match run.learned() {
        None => badge(class, word),
        Some(verdict) => {
            let (class, learned) = match verdict.learning {
                Learning::Learned => ("good", "learned"),
                Learning::Little => ("warn", "learned little"),
                Learning::Nothing => ("bad", "learned nothing"),
                Learning::Harmed => ("bad", "harmed"),
                Learning::Unclear => ("idle", "unclear what it learned"),
            };
            format!("{} {} {}", badge(class, learned), badge("idle", word), escape(&verdict.sentence))
        }
    }
}

/// What the run found wrong with itself; HTML.
fn findings(run: &RunRecord) -> String {
    let found = run.facts().map(|facts| watch::findings(&run.series, &facts)).unwrap_or_default();
    let sentences: Vec<String> = found
        .iter()
        .map(|finding| {
            let text = format!(
                "{}: {}. Likely: {}. Remedy: {}",
                finding.watch.title(),
                finding.found,
                finding.likely_cause,
                finding.remedy
            );
            escape(&text)
        })
        .collect();
    if sentences.is_empty() { "none".to_owned() } else { sentences.join("<br>") }
}

fn progress(run: &RunRecord) -> String {
    let Some(last) = run.steps.last() else { return missing() };
    let taken = last.step + 1;
    let of = run.total_steps().map(|total| format!(" of {total}")).unwrap_or_default();
    let epochs = run.config.as_ref().map(|config| format!(" of {}", significant(config.schedule.epochs)));
    let done = run.state == State::Finished;
    let passed = if done { String::new() } else { significant(last.epoch) };
    match (done, epochs) {
        (true, Some(epochs)) => format!("{taken}{of} ({} epochs)", epochs.trim_start_matches(" of ")),
        (_, epochs) => format!("{taken}{of} logged (epoch {passed}{})", epochs.unwrap_or_default()),
    }
}

fn spread(run: &RunRecord) -> String {
    let Some(std) = run.last("projection_std") else { return missing() };
    match run.healthy_std() {
        Some(healthy) => {
            format!("{} ({:.0} % of the healthy {})", significant(std), 100.0 * std / healthy, significant(healthy))
        }
        None => significant(std),
    }
}

fn encoder(run: &RunRecord) -> String {
    let Some(config) = &run.config else { return missing() };
    let stem = format!("{:?}", config.model.stem).to_lowercase();
    format!("{}, {stem} stem, {} px", escape(&config.model.arch.to_string()), config.views.size_px)
}

fn data(run: &RunRecord) -> String {
    let Some(info) = &run.info else { return missing() };
    let roots: Vec<String> = info.data.iter().map(|root| escape(&root.to_string_lossy())).collect();
    let roots = if roots.is_empty() { "drawn in memory".to_owned() } else { roots.join(", ") };
    let split = info.split.as_ref().map(|split| format!(", split {}", escape(split))).unwrap_or_default();
    format!("{} pictures: {roots}{split}", info.images)
}

fn missing() -> String {
    "—".to_owned()
}

/// `2026-11-25 07:30 UTC`.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let date = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    date.map_or_else(missing, |date| date.format("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::run_with;
    use super::*;

    #[test]
    fn the_head_says_how_a_run_ended() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            ("empty", "", "no step logged yet"),
            ("half", "{\"step\":4,\"epoch\":0.7,\"loss\":1.25,\"projection_std\":0.2}", "interrupted"),
            ("done", "{\"step\":10,\"epoch\":1.8,\"loss\":1.25,\"projection_std\":0.2}", "finished"),
            ("fallen", "{\"step\":10,\"epoch\":1.8,\"loss\":1.25,\"projection_std\":0.002}", "collapsed"),
        ];
        for (name, metrics, word) in cases {
            let path = run_with(folder.path(), name, metrics);
            let html = head(&RunRecord::read_all(&[path]).unwrap(), SystemTime::UNIX_EPOCH);
            assert!(html.contains(&format!(">{word}</span>")) && html.contains("1970-01-01 00:00 UTC"), "{html}");
        }
    }

    #[test]
    fn the_verdict_of_a_finished_run_says_what_it_learned_against_random_weights() {
        let folder = tempfile::tempdir().unwrap();
        let online = |step: u64, knn: f64| {
            format!(
                "{{\"eval\":\"online\",\"step\":{step},\"epoch\":0.0,\"rank_me\":20.0,\"alignment\":0.1,\"uniformity\":-0.5,\
                 \"knn_top1\":{knn},\"majority_top1\":10.0,\"test_images\":2000}}\n"
            )
        };
        let cases = [(28.5, "harmed"), (31.3, "learned nothing"), (33.5, "learned little"), (41.0, "learned")];
        for (knn, word) in cases {
            let last = "{\"step\":10,\"epoch\":1.8,\"loss\":1.25,\"projection_std\":0.2}\n";
            let path = run_with(folder.path(), word, &(online(0, 31.2) + last + &online(11, knn)));
            let html = head(&RunRecord::read_all(&[path]).unwrap(), SystemTime::now());
            let sentence = format!("k-NN {knn:.1} % now, 31.2 % with random weights");
            assert!(html.contains(&format!(">{word}</span>")) && html.contains(&sentence), "{html}");
            assert!(html.contains("target too slow: after all 11 steps"), "the finding and its remedy: {html}");
        }
    }

    #[test]
    fn the_spread_is_compared_with_the_healthy_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "{\"step\":10,\"epoch\":1.8,\"projection_std\":0.2}");
        let html = head(&RunRecord::read_all(&[path]).unwrap(), SystemTime::now());
        assert!(html.contains("0.2 (80 % of the healthy 0.25)") && html.contains("11 of 11 (2 epochs)"), "{html}");
    }
}
