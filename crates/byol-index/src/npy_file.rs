//! Embeddings in a NumPy array, with names in a table beside it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use byol_data::NpyHeader;
use half::f16;

use super::csv_file;
use super::embeddings::{ColumnBuilder, Content, MAX_SIZE, Origin};
use super::error::{IndexError, Result};

pub(crate) fn read(path: &Path) -> Result<Content> {
    let header = NpyHeader::open(path)?;
    let (values, size) = values(path, &header)?;
    let rows = values.len() / size;
    let beside = path.with_extension("names.csv");
    let table = if beside.exists() { Some(csv_file::names(&beside)?) } else { None };
    if let Some(table) = &table
        && table.names.len() != rows
    {
        let expected = format!("{rows} rows, one per embedding of {}", path.display());
        return Err(IndexError::unusable(&beside, expected, table.names.len().to_string()));
    }
    let empty = || {
        let mut column = ColumnBuilder::default();
        (0..rows).for_each(|_| column.push(None));
        column.finish()
    };
    let (names, labels, splits) = match table {
        Some(table) => (Some(table.names), table.labels, table.splits),
        None => (None, empty(), empty()),
    };
    Ok(Content { names, labels, splits, values, size, origin: Origin::default() })
}

fn values(path: &Path, header: &NpyHeader) -> Result<(Vec<f32>, usize)> {
    const EXPECTED: &str = "an array [rows, size] of f16, f32 or f64 in C order";
    let wrong = || {
        let order = if header.fortran_order { ", in Fortran order" } else { "" };
        IndexError::unusable(
            path,
            EXPECTED,
            format!("one of shape {:?} and type {}{order}", header.shape, header.dtype),
        )
    };
    let (number, bytes): (fn(&[u8]) -> f32, usize) = match header.dtype.as_str() {
        "<f2" => (|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(), 2),
        "<f4" => (|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), 4),
        "<f8" => (|bytes| f64::from_le_bytes(bytes.try_into().expect("eight bytes")) as f32, 8),
        _ => return Err(wrong()),
    };
    let &[rows, size] = &header.shape[..] else { return Err(wrong()) };
    if header.fortran_order || rows == 0 || !(1..=MAX_SIZE).contains(&size) {
        return Err(wrong());
    }
    let mut file = File::open(path).map_err(IndexError::unreadable(path))?;
    let there = file.metadata().map_err(IndexError::unreadable(path))?.len().saturating_sub(header.start as u64);
    let wanted = (rows as u64).saturating_mul(size as u64).saturating_mul(bytes as u64);
    if there < wanted {
        let expected = format!("{wanted} bytes of values, as its header says");
        return Err(IndexError::unusable(path, expected, there.to_string()));
    }
    IndexError::check_memory(path, rows, size)?;
    file.seek(SeekFrom::Start(header.start as u64)).map_err(IndexError::unreadable(path))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut values = Vec::with_capacity(rows * size);
    let mut row = vec![0; size * bytes];
    for _ in 0..rows {
        file.read_exact(&mut row).map_err(IndexError::unreadable(path))?;
        values.extend(row.chunks_exact(bytes).map(number));
    }
    Ok((values, size))
}
