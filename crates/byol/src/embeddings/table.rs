//! Representations as an array, and as text.

use std::io::Write;

use byol_nn::Result;
use half::f16;
use npyz::{AutoSerialize, WriterBuilder};

use super::{Element, Row, Rows, half_of};

/// A NumPy array `[pictures, size]`.
pub(super) fn write_array(rows: &Rows, element: Element, to: &mut impl Write) -> Result<()> {
    match element {
        Element::F32 => write_as(rows, to, |value, _| Ok(value)),
        Element::F16 => write_as::<f16>(rows, to, |value, row| half_of(value, || row.name.clone())),
    }
}

fn write_as<T: AutoSerialize + Copy>(
    rows: &Rows,
    to: &mut impl Write,
    number: impl Fn(f32, &Row) -> Result<T>,
) -> Result<()> {
    let shape = [rows.len() as u64, rows.size() as u64];
    let array = npyz::WriteOptions::<T>::new().default_dtype().shape(&shape).writer(to).begin_nd();
    let mut array = array.map_err(rows.io())?;
    rows.each(|row| row.values.iter().try_for_each(|&value| array.push(&number(value, &row)?).map_err(rows.io())))?;
    array.finish().map_err(rows.io())
}

/// Name and label of every row of the array, in the same order.
pub(super) fn write_names(rows: &Rows, to: &mut impl Write) -> Result<()> {
    write_rows(rows, 0, to)
}

/// Name, label and all values, one line per picture.
pub(super) fn write_values(rows: &Rows, to: &mut impl Write) -> Result<()> {
    write_rows(rows, rows.size(), to)
}

fn write_rows(rows: &Rows, columns: usize, to: &mut impl Write) -> Result<()> {
    let mut csv = csv::Writer::from_writer(to);
    let io = |error: csv::Error| rows.io()(error.into());
    let numbers = (0..columns).map(|column| column.to_string());
    csv.write_record(["name".to_owned(), "label".to_owned()].into_iter().chain(numbers)).map_err(io)?;
    rows.each(|row| {
        let values = row.values[..columns].iter().map(f32::to_string);
        let label = row.label.unwrap_or_default().to_owned();
        csv.write_record([row.name, label].into_iter().chain(values)).map_err(io)
    })?;
    csv.flush().map_err(rows.io())
}
