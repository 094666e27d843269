//! The values of a column of a Parquet file, as far as they may be labels: numbers, texts, truth values, dates and lists of one.

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
};
use parquet::schema::types::ColumnDescriptor;

use super::parquet_table::ParquetTable;
use super::values::{Value, Values};
use crate::DataError;

/// Adds what the column `leaf` of `file` holds in its first `groups` row groups.
pub(crate) fn push(file: &ParquetTable, leaf: usize, groups: usize, values: &mut Values) -> Result<(), DataError> {
    let column = file.column_descriptor(leaf);
    match column.physical_type() {
        Type::BOOLEAN => rows::<BoolType>(file, leaf, groups, values, |values, &value| {
            values.push_text(if value { "true" } else { "false" });
        }),
        Type::INT32 => {
            let read = whole(column);
            rows::<Int32Type>(file, leaf, groups, values, |values, &value| read.push(values, value.into(), 32))
        }
        Type::INT64 => {
            let read = whole(column);
            rows::<Int64Type>(file, leaf, groups, values, |values, &value| read.push(values, value, 64))
        }
        Type::FLOAT => rows::<FloatType>(file, leaf, groups, values, |values, &value| values.push_float(value.into())),
        Type::DOUBLE => rows::<DoubleType>(file, leaf, groups, values, |values, &value| values.push_float(value)),
        Type::BYTE_ARRAY if column.converted_type() != ConvertedType::DECIMAL => {
            rows::<ByteArrayType>(file, leaf, groups, values, |values, value| push_bytes(values, value.data()))
        }
        Type::FIXED_LEN_BYTE_ARRAY if column.converted_type() == ConvertedType::NONE && plain(column) => {
            rows::<FixedLenByteArrayType>(file, leaf, groups, values, |values, value| push_bytes(values, value.data()))
        }
        other => {
            for _ in 0..file.rows_of(groups) {
                values.push_odd(|_| {
                    format!("it is of the type {other} ({:?}), which is not read", column.converted_type())
                });
            }
            Ok(())
        }
    }
}

fn plain(column: &ColumnDescriptor) -> bool {
    column.logical_type_ref().is_none()
}

fn push_bytes(values: &mut Values, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => values.push_text(text),
        Err(_) => values.push_odd(|row| format!("row {row} holds bytes that are no text")),
    }
}

/// What a whole number stands for.
#[derive(Clone, Copy)]
enum Whole {
    Number,
    Unsigned,
    Days,
    /// Time since 1970 in units of which a second has so many.
    Time(i64),
    Decimal,
}

fn whole(column: &ColumnDescriptor) -> Whole {
    match (column.converted_type(), column.logical_type_ref()) {
        (_, Some(LogicalType::Timestamp(timestamp))) => Whole::Time(match timestamp.unit {
            TimeUnit::MILLIS => 1_000,
            TimeUnit::MICROS => 1_000_000,
            TimeUnit::NANOS => 1_000_000_000,
        }),
        (ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64, _) => {
            Whole::Unsigned
        }
        (ConvertedType::DATE, _) => Whole::Days,
        (ConvertedType::TIMESTAMP_MILLIS, _) => Whole::Time(1_000),
        (ConvertedType::TIMESTAMP_MICROS, _) => Whole::Time(1_000_000),
        (ConvertedType::DECIMAL, _) => Whole::Decimal,
        _ => Whole::Number,
    }
}

impl Whole {
    fn push(self, values: &mut Values, number: i64, bits: u32) {
        let days = |days: i64| date(days).map(Value::Text);
        values.push(match self {
            Self::Number => Some(Value::Number(number.into())),
            Self::Unsigned if bits == 32 => Some(Value::Number((number as u32).into())),
            Self::Unsigned => Some(Value::Number((number as u64).into())),
            Self::Days => days(number),
            Self::Time(units) => days(number.div_euclid(86_400 * units)).map(|day| {
                let second = number.rem_euclid(86_400 * units) / units;
                Value::Text(format!("{} {:02}:{:02}:{:02}", day.name(), second / 3600, second / 60 % 60, second % 60))
            }),
            Self::Decimal => return values.push_odd(|_| "it holds decimal numbers, which are not read".into()),
        });
    }
}

/// The date so many days after 1970-01-01, as far as years have four digits (<https://howardhinnant.github.io/date_algorithms.html>,
/// `civil_from_days`).
pub(crate) fn date(days: i64) -> Option<String> {
    let days = days.checked_add(719_468).filter(|days| (0..4_000_000).contains(days))?;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

/// One value per row: of a list of one value that value, and no label of several.
fn rows<T: DataType>(
    file: &ParquetTable,
    leaf: usize,
    groups: usize,
    values: &mut Values,
    push: impl Fn(&mut Values, &T::T),
) -> Result<(), DataError> {
    file.each_row::<T>(leaf, groups, &mut |row| match row {
        [] => values.push(None),
        [one] => push(values, one),
        several => values.push_odd(|row| {
            let count = several.len();
            format!("row {row} holds {count} values, and every protocol here takes one class per picture")
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, text) in [(0, "1970-01-01"), (-1, "1969-12-31"), (19_782, "2024-02-29"), (11_016, "2000-02-29")] {
            assert_eq!(date(days).as_deref(), Some(text));
        }
        assert_eq!(date(i64::MAX), None);
    }
}
