//! Results as a table.

use std::io::{self, Write};

/// A head and rows of as many cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<&'static str>,
    /// Cells as text.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub fn of(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Writes it as CSV, quoted where needed.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_csv(&self, to: impl Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(to);
        csv.write_record(&self.head)?;
        for row in &self.rows {
            csv.write_record(row)?;
        }
        csv.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_stay_one_cell() {
        let rows = vec![vec!["a, \"b\".jpg".to_owned(), "1".to_owned()]];
        let mut bytes = Vec::new();
        Table { head: vec!["name", "group"], rows }.write_csv(&mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "name,group\n\"a, \"\"b\"\".jpg\",1\n");
    }
}
