//! Pages of Parquet files that are compressed with zstd. The `parquet` crate unpacks them with a library in C; here it is told
//! that they are not compressed, hands them over as they are, and they are unpacked with the decoder written in Rust.

use std::io::{self, Cursor, Read};

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;

use super::archive::ZstdFrames;

/// The metadata of the chunk as if it were not compressed, where it is with zstd.
pub(crate) fn taken_as_plain(chunk: &ColumnChunkMetaData) -> Result<Option<ColumnChunkMetaData>> {
    match chunk.compression() {
        Compression::ZSTD(_) => {
            chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build().map(Some)
        }
        _ => Ok(None),
    }
}

/// Unpacks the pages of another reader.
pub(crate) struct ZstdPages<R> {
    pub pages: R,
    /// Bytes of all pages together, unpacked: none is larger.
    pub max_bytes: u64,
}

impl<R: PageReader> ZstdPages<R> {
    /// The page with what follows its first `before` bytes unpacked.
    fn unpack(&self, packed: &Bytes, before: usize) -> Result<Bytes> {
        let (start, rest) =
            packed.split_at_checked(before).ok_or_else(|| ParquetError::EOF("a page ends within its levels".into()))?;
        let mut page = start.to_vec();
        let mut frames = ZstdFrames::new(Cursor::new(rest));
        let count = frames.by_ref().take(self.max_bytes.saturating_add(1)).read_to_end(&mut page)?;
        if count as u64 > self.max_bytes {
            let error = io::Error::other("a page is larger than the metadata says of all of them");
            return Err(error.into());
        }
        Ok(page.into())
    }

    fn unpacked(&self, mut page: Page) -> Result<Page> {
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = self.unpack(buf, 0)?,
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, is_compressed, .. } => {
                if *is_compressed {
                    let levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                    *buf = self.unpack(buf, levels)?;
                    *is_compressed = false;
                }
            }
        }
        Ok(page)
    }
}

impl<R: PageReader> Iterator for ZstdPages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: PageReader> PageReader for ZstdPages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.map(|page| self.unpacked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}
