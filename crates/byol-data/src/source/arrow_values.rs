//! The values of columns of an Arrow file: numbers, texts, truth values, dates, lists of one; and where the bytes of pictures are.

use std::collections::HashMap;
use std::fs::File;
use std::rc::Rc;

use super::arrow_messages::{Batch, Column, Messages, Problem, Range, read_range};
use super::arrow_schema::{Field, Kind};
use super::parquet_values::date;
use super::values::{Value, Values};

/// What a row of a column holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Nothing,
    Number(i128),
    Float(f64),
    Text(String),
    /// What can be no class.
    Odd(String),
}

impl Cell {
    pub fn push_to(self, values: &mut Values) {
        match self {
            Self::Nothing => values.push(None),
            Self::Number(number) => values.push(Some(Value::Number(number))),
            Self::Float(number) => values.push_float(number),
            Self::Text(text) => values.push_text(&text),
            Self::Odd(what) => values.push_odd(|row| format!("row {row} holds {what}")),
        }
    }
}

/// Reads columns of one file.
pub(crate) struct Reader<'a> {
    file: File,
    file_bytes: u64,
    messages: &'a Messages,
    /// The values of a dictionary after so many of its messages.
    dictionaries: HashMap<(i64, usize), Rc<Vec<Cell>>>,
}

impl<'a> Reader<'a> {
    pub fn new(file: File, messages: &'a Messages) -> Result<Self, Problem> {
        let file_bytes = file.metadata().map_err(Problem::Unreadable)?.len();
        Ok(Self { file, file_bytes, messages, dictionaries: HashMap::new() })
    }

    /// The columns of a batch, each as long as the batch.
    pub fn columns(&self, batch: &'a Batch) -> Result<Vec<Column<'a>>, Problem> {
        let columns = batch.columns(&self.messages.schema.fields)?;
        match columns.iter().find(|column| column.length != batch.rows) {
            Some(other) => Err(Problem::damaged(format!(
                "a batch of {} rows with {} in the column {}",
                batch.rows, other.length, other.field.name
            ))),
            None => Ok(columns),
        }
    }

    /// What each row of `column` holds, in the part that `path` leads to; `batch` is the number of the batch.
    pub fn cells(&mut self, column: &Column, path: &[usize], batch: usize) -> Result<Vec<Cell>, Problem> {
        // A row takes less than a byte only where it is a bit or nothing at all.
        if column.length as u64 > self.file_bytes.saturating_mul(8) {
            return Err(Problem::damaged(format!("{} rows in {} bytes", column.length, self.file_bytes)));
        }
        let mut cells = if let Some(dictionary) = column.field.dictionary {
            let values = self.dictionary(dictionary.id, column.field, path, batch)?;
            let kind = Kind::Int { bytes: dictionary.bytes, signed: dictionary.signed };
            let value = |place| match place {
                Cell::Number(place) => usize::try_from(place).ok().and_then(|place| values.get(place)).cloned(),
                _ => None,
            };
            // Places of rows without a value may be anything.
            self.scalars(column, kind)?.into_iter().map(|place| value(place).unwrap_or(Cell::Nothing)).collect()
        } else {
            match (column.field.kind, path) {
                (Kind::Struct, [child, path @ ..]) => {
                    let child = column.children.get(*child).ok_or_else(|| damaged(column))?;
                    self.cells(child, path, batch)?
                }
                (Kind::List { width }, [0, path @ ..]) => {
                    let ends = self.offsets(column, width)?;
                    self.lists(column, path, batch, &ends)?
                }
                (Kind::FixedList { count }, [0, path @ ..]) => {
                    let ends =
                        (0..=column.length).map(|row| (row as u64).saturating_mul(count as u64)).collect::<Vec<_>>();
                    self.lists(column, path, batch, &ends)?
                }
                (kind, _) => self.scalars(column, kind)?,
            }
        };
        if cells.len() < column.length {
            return Err(damaged(column));
        }
        cells.truncate(column.length);
        if has_validity(column) {
            let valid = self.valid(column)?;
            for row in (0..cells.len()).filter(|&row| !valid.at(row)) {
                cells[row] = Cell::Nothing;
            }
        }
        Ok(cells)
    }

    /// The one value of each list.
    fn lists(&mut self, column: &Column, path: &[usize], batch: usize, ends: &[u64]) -> Result<Vec<Cell>, Problem> {
        let child = column.children.first().ok_or_else(|| damaged(column))?;
        let cells = self.cells(child, path, batch)?;
        let list = |pair: &[u64]| match pair[1].checked_sub(pair[0])? {
            0 => Some(Cell::Nothing),
            1 => usize::try_from(pair[0]).ok().and_then(|place| cells.get(place)).cloned(),
            several => {
                Some(Cell::Odd(format!("{several} values, and every protocol here takes one class per picture")))
            }
        };
        ends.windows(2).map(list).collect::<Option<_>>().ok_or_else(|| damaged(column))
    }

    fn scalars(&self, column: &Column, kind: Kind) -> Result<Vec<Cell>, Problem> {
        let whole = |bytes: &[u8], signed: bool| {
            let mut wide = [if signed && bytes.last().is_some_and(|&high| high >= 0x80) { 0xFF } else { 0 }; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            i128::from_le_bytes(wide)
        };
        let fixed = |bytes: usize, cell: &dyn Fn(&[u8]) -> Cell| -> Result<Vec<Cell>, Problem> {
            Ok(self.fixed(column, bytes)?.chunks_exact(bytes).map(cell).collect())
        };
        let time = |second: i128| {
            let day = i64::try_from(second.div_euclid(86_400)).ok().and_then(date);
            let second = second.rem_euclid(86_400);
            day.map_or(Cell::Nothing, |day| {
                Cell::Text(format!("{day} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60))
            })
        };
        match kind {
            Kind::Null => Ok(vec![Cell::Nothing; column.length]),
            Kind::Int { bytes, signed } => fixed(bytes, &|number| Cell::Number(whole(number, signed))),
            Kind::Float { bytes } => fixed(bytes, &|number| {
                Cell::Float(match *number {
                    [a, b] => half(u16::from_le_bytes([a, b])),
                    [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).into(),
                    _ => number.try_into().map_or(f64::NAN, f64::from_le_bytes),
                })
            }),
            Kind::Days => {
                fixed(4, &|days| i64::try_from(whole(days, true)).ok().and_then(date).map_or(Cell::Nothing, Cell::Text))
            }
            Kind::Time { units } => fixed(8, &|units_since| time(whole(units_since, true).div_euclid(units.into()))),
            Kind::Bool => {
                let bits = self.bits(column, 1)?;
                Ok((0..column.length)
                    .map(|row| Cell::Text(if bits.at(row) { "true" } else { "false" }.into()))
                    .collect())
            }
            Kind::FixedBytes { bytes: 0 } => Ok(vec![Cell::Nothing; column.length]),
            Kind::FixedBytes { bytes } => fixed(bytes, &text),
            Kind::Text { .. } | Kind::Bytes { .. } | Kind::View { .. } => {
                let ranges = self.ranges(column)?;
                // All at once where the values follow each other.
                let (start, end) = match column.buffers.get(2) {
                    Some(&(start, bytes)) if !matches!(kind, Kind::View { .. }) => (start, start + bytes),
                    _ => (0, 0),
                };
                let whole = read_range(&self.file, self.file_bytes, (start, end - start))?;
                let cell = |range: Option<Range>| {
                    let Some((at, bytes)) = range else { return Ok(Cell::Nothing) };
                    if at >= start && at + bytes <= end {
                        return Ok(text(&whole[(at - start) as usize..][..bytes as usize]));
                    }
                    Ok(text(&read_range(&self.file, self.file_bytes, (at, bytes))?))
                };
                ranges.into_iter().map(cell).collect()
            }
            Kind::List { .. } | Kind::FixedList { .. } | Kind::Struct | Kind::Other { .. } => {
                let name = column.field.kind.name();
                Ok(vec![Cell::Odd(format!("a value of the type {name}, which is not read")); column.length])
            }
        }
    }

    /// Where in the file the bytes of each row are; none where there is no value.
    pub fn ranges(&self, column: &Column) -> Result<Vec<Option<Range>>, Problem> {
        let valid = self.valid(column)?;
        let places: Vec<Range> = match column.field.kind {
            Kind::Text { width } | Kind::Bytes { width } => {
                let &(start, bytes) = column.buffers.get(2).ok_or_else(|| damaged(column))?;
                let ends = self.offsets(column, width)?;
                let range = |pair: &[u64]| {
                    let length = pair[1].checked_sub(pair[0]).filter(|_| pair[1] <= bytes)?;
                    Some((start + pair[0], length))
                };
                ends.windows(2).map(range).collect::<Option<_>>().ok_or_else(|| damaged(column))?
            }
            Kind::View { .. } => {
                let views = self.fixed(column, 16)?;
                let &(start, _) = column.buffers.get(1).ok_or_else(|| damaged(column))?;
                let number = |view: &[u8], at: usize| {
                    let four = view.get(at..at + 4)?.try_into().ok()?;
                    u64::try_from(i32::from_le_bytes(four)).ok()
                };
                let range = |(row, view): (usize, &[u8])| {
                    if !valid.at(row) {
                        return Some((0, 0));
                    }
                    let length = number(view, 0)?;
                    if length <= 12 {
                        return Some((start + 16 * row as u64 + 4, length));
                    }
                    let buffer = usize::try_from(number(view, 8)?).ok()?;
                    let &(start, bytes) = column.buffers.get(buffer.checked_add(2)?)?;
                    let offset = number(view, 12)?;
                    (offset + length <= bytes).then_some((start + offset, length))
                };
                views.chunks_exact(16).enumerate().map(range).collect::<Option<_>>().ok_or_else(|| damaged(column))?
            }
            _ => return Err(damaged(column)),
        };
        Ok(places.into_iter().enumerate().map(|(row, range)| valid.at(row).then_some(range)).collect())
    }

    /// Whether each row has a value.
    pub fn valid(&self, column: &Column) -> Result<Bits, Problem> {
        match column.buffers.first() {
            Some(&(_, 1..)) => self.bits(column, 0),
            _ => Ok(Bits(None)),
        }
    }

    fn bits(&self, column: &Column, buffer: usize) -> Result<Bits, Problem> {
        let &range = column.buffers.get(buffer).ok_or_else(|| damaged(column))?;
        let bits = read_range(&self.file, self.file_bytes, range)?;
        if bits.len() < column.length.div_ceil(8) { Err(damaged(column)) } else { Ok(Bits(Some(bits))) }
    }

    /// The second buffer, as far as it holds the rows at so many bytes each.
    fn fixed(&self, column: &Column, bytes: usize) -> Result<Vec<u8>, Problem> {
        let &(start, has) = column.buffers.get(1).ok_or_else(|| damaged(column))?;
        let needed = (column.length as u64).checked_mul(bytes as u64).filter(|&needed| needed <= has);
        read_range(&self.file, self.file_bytes, (start, needed.ok_or_else(|| damaged(column))?))
    }

    /// Where the value of each row begins, and the last one ends.
    fn offsets(&self, column: &Column, width: usize) -> Result<Vec<u64>, Problem> {
        if column.length == 0 {
            return Ok(vec![0]);
        }
        let &(start, has) = column.buffers.get(1).ok_or_else(|| damaged(column))?;
        let needed = (column.length as u64 + 1).checked_mul(width as u64).filter(|&needed| needed <= has);
        let bytes = read_range(&self.file, self.file_bytes, (start, needed.ok_or_else(|| damaged(column))?))?;
        let number = |bytes: &[u8]| match *bytes {
            [a, b, c, d] => u64::try_from(i32::from_le_bytes([a, b, c, d])).ok(),
            _ => u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok(),
        };
        bytes.chunks_exact(width).map(number).collect::<Option<_>>().ok_or_else(|| damaged(column))
    }

    /// The values of a dictionary as they are for the batch of this number.
    fn dictionary(&mut self, id: i64, field: &Field, path: &[usize], batch: usize) -> Result<Rc<Vec<Cell>>, Problem> {
        let messages = self.messages;
        let in_effect = || messages.dictionaries.iter().filter(|of| of.id == id && of.first_batch <= batch);
        let key = (id, in_effect().count());
        if let Some(cells) = self.dictionaries.get(&key) {
            return Ok(Rc::clone(cells));
        }
        let fields = [Field { dictionary: None, ..field.clone() }];
        let mut cells = Vec::new();
        for of in in_effect() {
            if !of.adds {
                cells.clear();
            }
            let columns = of.values.columns(&fields)?;
            cells.extend(self.cells(
                columns.first().ok_or_else(|| Problem::damaged("an empty dictionary"))?,
                path,
                batch,
            )?);
        }
        let cells = Rc::new(cells);
        self.dictionaries.insert(key, Rc::clone(&cells));
        Ok(cells)
    }
}

/// One bit per row, all of them set if there are none.
pub(crate) struct Bits(Option<Vec<u8>>);

impl Bits {
    pub fn at(&self, row: usize) -> bool {
        self.0.as_ref().is_none_or(|bits| bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1))
    }
}

/// Whether the first buffer says which rows have a value.
fn has_validity(column: &Column) -> bool {
    column.field.dictionary.is_some() || !matches!(column.field.kind, Kind::Null | Kind::Other { .. })
}

fn text(bytes: &[u8]) -> Cell {
    std::str::from_utf8(bytes)
        .map_or_else(|_| Cell::Odd("bytes that are no text".into()), |text| Cell::Text(text.into()))
}

fn damaged(column: &Column) -> Problem {
    Problem::damaged(format!("values of the column {} that do not lie within its bytes", column.field.name))
}

/// A number of 16 bits, five of them for the exponent.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        0 => fraction * 2f64.powi(-24),
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_16_bits_are_read() {
        for (bits, number) in [(0x3C00, 1.0), (0xC000, -2.0), (0x0001, 2f64.powi(-24)), (0x7BFF, 65504.0), (0, 0.0)] {
            assert_eq!(half(bits), number, "{bits:#x}");
        }
        assert!(half(0x7E00).is_nan() && half(0xFC00).is_infinite());
    }
}
