//! The values of one column of a table, whatever the table is in, and the classes they stand for.

use std::collections::{BTreeSet, HashMap};

use crate::splits::sort_classes;

/// What `datasets` writes where a label is not known, as in test splits.
const NO_LABEL: i128 = -1;

/// Whole numbers below this are classes with numbers, those that do not occur included; above, only if they lie close.
const FEW_CLASSES: i128 = 1024;

/// So many different values may all be classes, even if most occur once.
const FEW_VALUES: usize = 1000;

/// A longer text describes the picture rather than naming its class.
const MAX_CLASS_BYTES: usize = 256;

/// Stands for a row without a value.
const NONE: u32 = u32::MAX;

/// One value. Numbers sort before texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    Number(i128),
    Text(String),
}

/// Values row by row, each different one kept once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    distinct: Vec<Value>,
    places: HashMap<Value, u32>,
    rows: Vec<u32>,
    /// The first value that can be no class, and why.
    odd: Option<String>,
}

/// How a column is to be taken for classes.
pub(crate) struct Reading<'a> {
    /// Its name, for messages.
    pub column: &'a str,
    /// Whether the person named the column, so that any values are classes.
    pub insisted: bool,
    /// The names of classes 0, 1, …, where the data has them.
    pub names: Option<Vec<String>>,
    /// Whether whole numbers are the places of their classes, as in arrays, or their names, as in texts.
    pub numbers_are_places: bool,
}

/// Classes, and for each row its place among them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Classes {
    pub names: Vec<String>,
    pub labels: Vec<Option<u32>>,
}

/// Why values are no classes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoClasses {
    /// They cannot be.
    Never(String),
    /// They are taken for classes only if the person says so.
    Doubtful(String),
}

impl Values {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn push(&mut self, value: Option<Value>) {
        let place = match value {
            None => NONE,
            Some(value) => {
                let next = self.distinct.len() as u32;
                let distinct = &mut self.distinct;
                *self.places.entry(value).or_insert_with_key(|value| {
                    distinct.push(value.clone());
                    next
                })
            }
        };
        self.rows.push(place);
    }

    /// A text; an empty one is no value.
    pub fn push_text(&mut self, text: &str) {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        // Most rows repeat a text that is known.
        self.push((!text.is_empty()).then(|| Value::Text(text.to_owned())));
    }

    /// A number with a fraction: 1.0 is the whole number 1, "not a number" is no value.
    pub fn push_float(&mut self, number: f64) {
        if number.is_nan() {
            self.push(None);
        } else if number.fract() == 0.0 && number.abs() < 1e18 {
            self.push(Some(Value::Number(number as i128)));
        } else {
            self.push_odd(|row| format!("row {row} holds {number}, which is no whole number"));
        }
    }

    /// A value that can be no class; `why` gets the row.
    pub fn push_odd(&mut self, why: impl FnOnce(usize) -> String) {
        let row = self.rows.len();
        self.odd.get_or_insert_with(|| why(row));
        self.push(None);
    }

    pub fn get(&self, row: usize) -> Option<&Value> {
        self.distinct.get(*self.rows.get(row)? as usize)
    }

    pub fn text(&self, row: usize) -> Option<String> {
        self.get(row).map(Value::name)
    }

    /// Every different value.
    pub fn distinct(&self) -> &[Value] {
        &self.distinct
    }

    /// Rows that have a value.
    pub fn filled(&self) -> usize {
        self.rows.iter().filter(|&&place| place != NONE).count()
    }

    /// Whether there are texts, and all that are there are texts rather than numbers.
    pub fn looks_like_text(&self) -> bool {
        let is_text = |value: &Value| matches!(value, Value::Text(text) if text.parse::<f64>().is_err());
        self.odd.is_none() && !self.distinct.is_empty() && self.distinct.iter().all(is_text)
    }

    /// Whether there are several different values, that come again and again.
    pub fn repeats(&self) -> bool {
        self.odd.is_none() && self.distinct.len() >= 2 && 2 * self.distinct.len() <= self.filled()
    }

    /// Whether this looks like classes where the name does not say so: texts that come again and again.
    pub fn look_like_classes(&self) -> bool {
        self.looks_like_text() && self.repeats()
    }

    /// The classes of the values, and the labels of the rows.
    pub fn classes(&self, reading: &Reading) -> Result<Classes, NoClasses> {
        if let Some(odd) = &self.odd {
            return Err(NoClasses::Never(odd.clone()));
        }
        let numeric = self.numeric();
        let values = match &numeric {
            Numeric::Fraction(text) => {
                return Err(NoClasses::Never(format!("it holds {text}, which is no whole number")));
            }
            Numeric::Whole(numbers) => numbers.iter().map(|&number| Value::Number(number)).collect(),
            Numeric::No => self.distinct.clone(),
        };
        if let (Some(names), true) = (&reading.names, values.iter().all(|value| matches!(value, Value::Number(_)))) {
            return self.named(&values, names);
        }
        if !reading.insisted {
            self.check(&values)?;
        }
        Ok(self.numbered(&values, reading.numbers_are_places))
    }

    /// The distinct values as numbers, if all are, in whatever way they are written.
    fn numeric(&self) -> Numeric {
        let mut numbers = Vec::with_capacity(self.distinct.len());
        let (mut written_out, mut fraction) = (false, None);
        for value in &self.distinct {
            match value {
                Value::Number(number) => numbers.push(*number),
                Value::Text(text) => {
                    // A hexadecimal name such as "1e5" among others is none of a number; those others are no numbers.
                    let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) else {
                        return Numeric::No;
                    };
                    written_out |= text.parse::<i128>().is_err();
                    if number.fract() != 0.0 {
                        fraction.get_or_insert_with(|| text.clone());
                    }
                    numbers.push(number as i128);
                }
            }
        }
        match fraction {
            Some(text) => Numeric::Fraction(text),
            // "007" and "7" are two names, unless they are written as 7.0 and 7.
            None if written_out || self.distinct.iter().all(|value| matches!(value, Value::Number(_))) => {
                Numeric::Whole(numbers)
            }
            None => Numeric::No,
        }
    }

    /// The labels where the data names its classes.
    fn named(&self, values: &[Value], names: &[String]) -> Result<Classes, NoClasses> {
        let mut places = Vec::with_capacity(values.len());
        for value in values {
            places.push(match value {
                Value::Number(NO_LABEL) => None,
                Value::Number(number) => match u32::try_from(*number) {
                    Ok(place) if (place as usize) < names.len() => Some(place),
                    _ => {
                        let last = names.len().saturating_sub(1);
                        return Err(NoClasses::Never(format!(
                            "it holds {number}, and the classes it names are 0 to {last}"
                        )));
                    }
                },
                Value::Text(_) => None,
            });
        }
        Ok(Classes { names: names.to_vec(), labels: self.labels(&places) })
    }

    /// Refuses what are more likely names or descriptions of pictures than classes.
    fn check(&self, values: &[Value]) -> Result<(), NoClasses> {
        let (different, filled) = (values.len(), self.filled());
        let mostly_once = 2 * different > filled;
        let count = || format!("it has {different} different values for {filled} pictures");
        if mostly_once && different > FEW_VALUES {
            return Err(NoClasses::Doubtful(count()));
        }
        let number = |value: &Value| match value {
            Value::Number(number) => Some(*number),
            Value::Text(text) => text.parse().ok(),
        };
        let numbers: Option<Vec<i128>> = values.iter().map(number).collect();
        match numbers {
            Some(numbers) => {
                let ids = !are_places(&numbers) && numbers.iter().all(|&number| number > NO_LABEL);
                if ids && mostly_once && different > 2 {
                    return Err(NoClasses::Doubtful(count()));
                }
            }
            None => {
                let long = |value: &&Value| matches!(value, Value::Text(text) if text.len() > MAX_CLASS_BYTES);
                if let Some(Value::Text(text)) = values.iter().find(long) {
                    return Err(NoClasses::Doubtful(format!("it holds a text of {} bytes", text.len())));
                }
                if let Some(cell) = several_in_one(values) {
                    return Err(NoClasses::Doubtful(format!("\"{cell}\" seems to name several classes")));
                }
            }
        }
        Ok(())
    }

    /// Classes by the values themselves.
    fn numbered(&self, values: &[Value], numbers_are_places: bool) -> Classes {
        let numbers: Option<Vec<i128>> =
            values.iter().map(|value| if let Value::Number(number) = value { Some(*number) } else { None }).collect();
        if let (Some(numbers), true) = (&numbers, numbers_are_places)
            && are_places(numbers)
        {
            let count = numbers.iter().max().map_or(0, |&last| last + 1);
            let places: Vec<Option<u32>> = numbers.iter().map(|&number| u32::try_from(number).ok()).collect();
            return Classes {
                names: (0..count).map(|class| class.to_string()).collect(),
                labels: self.labels(&places),
            };
        }
        // Where −1 is not one of two classes, it says that there is none.
        let signs = numbers.as_ref().is_some_and(|numbers| BTreeSet::from_iter(numbers) == BTreeSet::from([&-1, &1]));
        let unknown = |value: &Value| *value == Value::Number(NO_LABEL) && numbers_are_places && !signs;
        let name = |value: &Value| (!unknown(value)).then(|| value.name());
        let mut names: Vec<String> = values.iter().filter_map(name).collect();
        sort_classes(&mut names);
        let of_name: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
        let places: Vec<Option<u32>> = values.iter().map(|value| of_name.get(name(value)?.as_str()).copied()).collect();
        let labels = self.labels(&places);
        Classes { names, labels }
    }

    fn labels(&self, places: &[Option<u32>]) -> Vec<Option<u32>> {
        self.rows.iter().map(|&row| places.get(row as usize).copied().flatten()).collect()
    }
}

enum Numeric {
    No,
    Whole(Vec<i128>),
    Fraction(String),
}

impl Value {
    /// As the name of a class.
    pub fn name(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Whether different numbers count classes from 0 on: none is negative but for the −1 that stands for no label, and they are
/// small or lie close.
fn are_places(numbers: &[i128]) -> bool {
    let last = numbers.iter().copied().max().unwrap_or(NO_LABEL);
    let only_signs = numbers.len() == 2 && numbers.contains(&-1) && numbers.contains(&1);
    numbers.iter().all(|&number| number >= NO_LABEL)
        && !only_signs
        && (last < FEW_CLASSES || last < 4 * numbers.len() as i128)
}

/// A cell that joins names which other cells have, such as `cat dog` beside `cat` and `dog`, or `cat;dog` beside `cat;hen`.
fn several_in_one(values: &[Value]) -> Option<&str> {
    let texts: Vec<&str> = values
        .iter()
        .filter_map(|value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
        .collect();
    let whole: BTreeSet<&str> = texts.iter().copied().collect();
    let parts = |text: &'static str| text;
    for separator in [parts(";"), "|", ",", " "] {
        let split = |text: &&str| text.contains(separator);
        let joined: Vec<&str> = texts.iter().copied().filter(split).collect();
        if joined.is_empty() {
            continue;
        }
        let mut occurrences: HashMap<&str, usize> = HashMap::new();
        for cell in &joined {
            for part in cell.split(separator).map(str::trim) {
                *occurrences.entry(part).or_default() += 1;
            }
        }
        // Names of several words share words; names of one word that also stand alone are names.
        let shared = if separator == " " || separator == "," {
            occurrences.keys().all(|part| whole.contains(part))
        } else {
            occurrences.iter().any(|(part, &count)| count > 1 || whole.contains(part))
        };
        if shared {
            return joined.first().copied();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Values {
        let mut values = Values::default();
        texts.iter().for_each(|text| values.push_text(text));
        values
    }

    fn numbers(numbers: impl IntoIterator<Item = i128>) -> Values {
        let mut values = Values::default();
        numbers.into_iter().for_each(|number| values.push(Some(Value::Number(number))));
        values
    }

    fn reading(insisted: bool) -> Reading<'static> {
        Reading { column: "label", insisted, names: None, numbers_are_places: true }
    }

    #[track_caller]
    fn check(values: &Values, names: &[&str], labels: &[Option<u32>]) {
        let classes = values.classes(&reading(false)).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(classes, Classes { names, labels: labels.to_vec() });
    }

    #[test]
    fn texts_and_numbers_are_classes() {
        check(&texts(&["hen", "", "cat", " hen"]), &["cat", "hen"], &[Some(1), None, Some(0), Some(1)]);
        check(&texts(&["10", "9", "10"]), &["9", "10"], &[Some(1), Some(0), Some(1)]);
        check(&numbers([2, 0, -1, 2]), &["0", "1", "2"], &[Some(2), Some(0), None, Some(2)]);
        // Far apart and repeated: the numbers are names.
        check(&numbers([1 << 40, 7, 1 << 40, 7]), &["7", "1099511627776"], &[Some(1), Some(0), Some(1), Some(0)]);
        check(&numbers([-1, 1, 1, -1]), &["-1", "1"], &[Some(0), Some(1), Some(1), Some(0)]);
        check(&numbers([-5, 1, 1, -5]), &["-5", "1"], &[Some(0), Some(1), Some(1), Some(0)]);
        check(&numbers([-1, -1]), &[], &[None, None]);
    }

    #[test]
    fn floats_are_whole_numbers_or_no_classes() {
        let mut values = Values::default();
        [1.0, 0.0, f64::NAN].into_iter().for_each(|number| values.push_float(number));
        check(&values, &["0", "1"], &[Some(1), Some(0), None]);
        values.push_float(0.5);
        let why = values.classes(&reading(true)).unwrap_err();
        assert_eq!(why, NoClasses::Never("row 3 holds 0.5, which is no whole number".into()));
        check(&texts(&["1.0", "0.0", "1.0"]), &["0", "1"], &[Some(1), Some(0), Some(1)]);
        assert!(matches!(texts(&["1.5", "0.0"]).classes(&reading(true)), Err(NoClasses::Never(_))));
    }

    #[test]
    fn ids_and_captions_are_classes_only_if_insisted() {
        let ids = numbers((0..50).map(|id| 1_000_000 + id * 977));
        let captions = texts(
            &(0..2000)
                .map(|row| format!("a picture of {row} things"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        );
        let long = texts(&["x".repeat(300).as_str()]);
        for values in [ids, captions, long] {
            assert!(matches!(values.classes(&reading(false)), Err(NoClasses::Doubtful(_))));
            assert_eq!(values.classes(&reading(true)).unwrap().names.len(), values.distinct().len());
        }
    }

    #[test]
    fn several_names_in_a_cell_are_noticed() {
        for cells in
            [&["cat", "dog", "cat dog"][..], &["cat;dog", "cat;hen"], &["cat|dog", "dog"], &["cat", "dog", "cat, dog"]]
        {
            assert!(matches!(texts(cells).classes(&reading(false)), Err(NoClasses::Doubtful(_))), "{cells:?}");
        }
        for cells in [&["golden retriever", "labrador retriever"][..], &["Boxer", "Great Dane"], &["a;b", "c;d"]] {
            assert!(texts(cells).classes(&reading(false)).is_ok(), "{cells:?}");
        }
    }

    #[test]
    fn named_classes_bound_the_numbers() {
        let names = Some(vec!["cat".to_owned(), "dog".into()]);
        let reading = Reading { names, ..reading(false) };
        let classes = numbers([1, -1, 0]).classes(&reading).unwrap();
        assert_eq!((classes.names.len(), classes.labels), (2, vec![Some(1), None, Some(0)]));
        for number in [-2, 2] {
            assert!(matches!(numbers([number]).classes(&reading), Err(NoClasses::Never(_))));
        }
    }

    #[test]
    fn texts_that_repeat_look_like_classes() {
        assert!(texts(&["cat", "cat", "dog", "dog"]).look_like_classes());
        for cells in [&["32", "32", "64", "64"][..], &["cat", "cat", "cat"], &["a", "b", "c", "d"]] {
            assert!(!texts(cells).look_like_classes(), "{cells:?}");
        }
    }
}
