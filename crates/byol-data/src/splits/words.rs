//! The words people use for the parts of a data set, in names of folders, files and values of a column.

/// What a part of the data is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Train,
    Test,
    Validation,
    Unlabelled,
}

impl Part {
    const WORDS: [(Self, &'static [&'static str]); 4] = [
        (Self::Train, &["train", "training", "trn", "trainval"]),
        (Self::Test, &["test", "testing", "tst"]),
        (
            Self::Validation,
            &["val", "valid", "validation", "validate", "dev", "devel", "development", "eval", "evaluation", "holdout"],
        ),
        (Self::Unlabelled, &["unlabeled", "unlabelled", "unsupervised", "unsup"]),
    ];

    /// The part that `word`, in lower case, stands for by itself or before a word like `set`: `train`, `testset`.
    fn of_word(word: &str) -> Option<Self> {
        let known = |word: &str| Self::WORDS.iter().find(|(_, words)| words.contains(&word)).map(|&(part, _)| part);
        known(word).or_else(|| FILLERS.iter().find_map(|filler| known(word.strip_suffix(filler)?)))
    }

    /// The part that a name stands for which holds nothing but its word: `Train`, `test_set`, `val2017`.
    pub fn of(name: &str) -> Option<Self> {
        Word::within(name).filter(|word| word.rest.is_empty()).map(|word| word.part)
    }
}

/// Words that tell nothing more beside that of a part.
const FILLERS: [&str; 13] = [
    "set", "sets", "data", "dataset", "split", "part", "images", "image", "imgs", "img", "pictures", "photos", "files",
];

/// The one word of a part in a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub part: Part,
    /// As it is written.
    pub text: String,
    /// What else the name says, numbers and fillers apart, in lower case.
    pub rest: String,
}

impl Word {
    /// The word in `name`: `seg_train`, `trainingSet`, `ImageNet1k-validation-00`. None where there is none, or where there
    /// are two that do not go together; `train_val` is all that may be trained on, `test-dev` is tested on.
    pub fn within(name: &str) -> Option<Self> {
        let mut word: Option<(Part, &str)> = None;
        let mut rest = Vec::new();
        for text in tokens(name) {
            let token = text.to_lowercase();
            let part = Part::of_word(&token);
            word = match (word, part) {
                (None, Some(part)) => Some((part, text)),
                (Some((part, first)), Some(other)) if part == other => Some((part, first)),
                (Some((first @ (Part::Train | Part::Test), text)), Some(Part::Validation)) => Some((first, text)),
                (Some((Part::Validation, _)), Some(second @ (Part::Train | Part::Test))) => Some((second, text)),
                (Some(_), Some(_)) => return None,
                (word, None) => word,
            };
            let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
            if part.is_none() && !is_number && !FILLERS.contains(&token.as_str()) {
                rest.push(token);
            }
        }
        let (part, text) = word?;
        Some(Self { part, text: text.to_owned(), rest: rest.join("-") })
    }
}

/// The runs of letters and of digits, parted where a capital follows a small letter.
fn tokens(name: &str) -> impl Iterator<Item = &str> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Small,
        Capital,
        Digit,
        Other,
    }
    let kind = |letter: char| match letter {
        _ if letter.is_numeric() => Kind::Digit,
        _ if letter.is_uppercase() => Kind::Capital,
        _ if letter.is_alphabetic() => Kind::Small,
        _ => Kind::Other,
    };
    let mut before = Kind::Other;
    let starts = name.char_indices().filter_map(move |(at, letter)| {
        let now = kind(letter);
        let joins = before == now || (before == Kind::Capital && now == Kind::Small);
        before = now;
        (!joins).then_some(at)
    });
    let starts: Vec<usize> = starts.chain([name.len()]).collect();
    let pieces: Vec<&str> = starts.windows(2).map(|ends| &name[ends[0]..ends[1]]).collect();
    pieces.into_iter().filter(|piece| piece.chars().next().is_some_and(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_however_they_are_written() {
        use Part::{Test, Train, Unlabelled, Validation};
        for (name, expected) in [
            ("train", Some((Train, ""))),
            ("TRAIN", Some((Train, ""))),
            ("Training", Some((Train, ""))),
            ("training_set", Some((Train, ""))),
            ("TrainingSet", Some((Train, ""))),
            ("trainset", Some((Train, ""))),
            ("train2017", Some((Train, ""))),
            ("train_val", Some((Train, ""))),
            ("Train images", Some((Train, ""))),
            ("valid", Some((Validation, ""))),
            ("dev-1", Some((Validation, ""))),
            ("val_data", Some((Validation, ""))),
            ("Testing", Some((Test, ""))),
            ("test-dev2017", Some((Test, ""))),
            ("unlabeled2017", Some((Unlabelled, ""))),
            ("seg_train", Some((Train, "seg"))),
            ("ImageNet1k-validation-00", Some((Validation, "net-k"))),
            ("train_station", Some((Train, "station"))),
            ("trainer", None),
            ("invalid", None),
            ("contest", None),
            ("train_test", None),
            ("développement", None),
            ("", None),
        ] {
            let found = Word::within(name).map(|word| (word.part, word.rest));
            assert_eq!(found, expected.map(|(part, rest)| (part, rest.to_owned())), "{name}");
        }
        assert_eq!(Word::within("x_Train-3").unwrap().text, "Train");
        assert_eq!((Part::of("val2017"), Part::of("my_val")), (Some(Validation), None));
    }
}
