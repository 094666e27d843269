//! What someone meant who wrote a name that does not exist.

use strsim::{damerau_levenshtein, jaro_winkler};
use toml::{Table, Value};

/// Names that people bring along from other programs and from papers, and the keys they stand for.
const ELSEWHERE: [(&str, &str); 16] = [
    ("lr", "schedule.base_learning_rate"),
    ("learningrate", "schedule.base_learning_rate"),
    ("blr", "schedule.base_learning_rate"),
    ("tau", "schedule.target_ema"),
    ("ema", "schedule.target_ema"),
    ("warmup", "schedule.warmup_epochs"),
    ("wd", "optimizer.weight_decay"),
    ("optim", "optimizer.kind"),
    ("optimizer", "optimizer.kind"),
    ("bs", "train.batch_size"),
    ("batch", "train.batch_size"),
    ("workers", "train.loader_threads"),
    ("numworkers", "train.loader_threads"),
    ("size", "views.size_px"),
    ("imagesize", "views.size_px"),
    ("channels", "data.channels"),
];

/// Dotted keys of all settings in `tree`.
pub(super) fn keys(tree: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in tree {
        match value {
            Value::Table(below) => found.extend(keys(below).into_iter().map(|rest| format!("{key}.{rest}"))),
            _ => found.push(key.clone()),
        }
    }
    found
}

/// The keys among `known` that `wanted` may stand for, at most three: those that end in the same name, in another spelling or
/// another table; then what it is called elsewhere; then the most similar one.
pub(super) fn similar_keys(wanted: &str, known: &[String]) -> Vec<String> {
    let wanted_leaf = plain(leaf(wanted));
    let mut found: Vec<String> = known.iter().filter(|key| plain(leaf(key)) == wanted_leaf).cloned().collect();
    if found.is_empty() {
        let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == wanted_leaf).map(|(_, key)| (*key).to_owned());
        found.extend(elsewhere.filter(|key| known.contains(key)));
    }
    if found.is_empty() {
        let by_path = wanted.contains('.').then(|| nearest(wanted, known.iter().map(String::as_str))).flatten();
        let by_leaf = || nearest(leaf(wanted), known.iter().map(|key| leaf(key)));
        let names: Vec<String> = match by_path {
            Some(key) => vec![key],
            None => {
                by_leaf().map_or_else(Vec::new, |name| known.iter().filter(|key| leaf(key) == name).cloned().collect())
            }
        };
        found.extend(names);
    }
    // The same table first.
    let table = wanted.rsplit_once('.').map_or("", |(table, _)| table);
    found.sort_by_key(|key| !key.starts_with(table));
    found.truncate(3);
    found
}

/// The most similar of `names`, if it is similar enough to be meant: one slip in a short word, three in a long one.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let wanted = wanted.to_lowercase();
    let slips = (wanted.chars().count() / 4).clamp(1, 3);
    names
        .map(|name| (damerau_levenshtein(&wanted, name), jaro_winkler(&wanted, name), name))
        .filter(|&(distance, likeness, _)| distance <= slips || likeness > 0.92)
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(.., name)| name.to_owned())
}

/// `; did you mean a or b?`; nothing without `names`.
pub(crate) fn question(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("; did you mean `{one}`?"),
        [rest @ .., last] => format!("; did you mean `{}` or `{last}`?", rest.join("`, `")),
    }
}

/// The names between backticks behind `expected`, as serde lists them.
pub(super) fn expected_names(message: &str) -> Vec<&str> {
    let Some((_, expected)) = message.split_once("expected ") else { return Vec::new() };
    expected.split('`').skip(1).step_by(2).collect()
}

/// The word that serde could not use: `unknown variant `x`, …`.
pub(super) fn refused_name(message: &str) -> Option<&str> {
    message.strip_prefix("unknown ")?.split('`').nth(1)
}

fn leaf(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// Without the signs and capitals that people write differently.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_name_by_another_spelling_and_by_what_others_call_them() {
        let known: Vec<String> = [
            "schedule.epochs",
            "schedule.base_learning_rate",
            "schedule.target_ema",
            "train.batch_size",
            "train.checkpoints_kept",
            "views.view1.hue",
            "views.view2.hue",
            "eval.k",
        ]
        .map(str::to_owned)
        .to_vec();
        let cases: [(&str, &[&str]); 10] = [
            ("batch_size", &["train.batch_size"]),
            ("train.batchsize", &["train.batch_size"]),
            ("batch-size", &["train.batch_size"]),
            ("train.bacth_size", &["train.batch_size"]),
            ("epoch", &["schedule.epochs"]),
            ("train.epochs", &["schedule.epochs"]),
            ("lr", &["schedule.base_learning_rate"]),
            ("hue", &["views.view1.hue", "views.view2.hue"]),
            ("views.view2.heu", &["views.view2.hue"]),
            ("colour_of_the_sky", &[]),
        ];
        for (wanted, expected) in cases {
            assert_eq!(similar_keys(wanted, &known), expected, "{wanted}");
        }
    }

    #[test]
    fn names_are_read_from_the_message() {
        let message = "unknown variant `lasr`, expected one of `lars`, `sgd`, `adam`";
        assert_eq!(refused_name(message), Some("lasr"));
        assert_eq!(expected_names(message), ["lars", "sgd", "adam"]);
        assert_eq!(nearest("lasr", expected_names(message).into_iter()).as_deref(), Some("lars"));
        assert_eq!(question(&["a".to_owned(), "b".to_owned(), "c".to_owned()]), "; did you mean `a`, `b` or `c`?");
    }
}
