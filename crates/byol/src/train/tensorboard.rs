//! TensorBoard's event files: `RUN/tensorboard/events.out.tfevents.SECONDS.byol`, one for every process that trains.
//!
//! ```text
//! file    record*
//! record  length u64 · masked CRC-32C of these 8 bytes u32 · data · masked CRC-32C of data u32     (little endian; TFRecord)
//! data    Event { 1: wall_time f64, 2: step i64, 3: file_version | 5: Summary | 7: SessionLog }    (protocol buffers)
//! ```
//! Written here because `tboard` needs `protoc` to build, and `tensorboard-rs` a second `image` and `protobuf` of long ago.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use byol_nn::files::append_whole;
use byol_nn::{Error, Result};
use crc::{CRC_32_ISCSI, Crc, Table};
use serde::Serialize;

/// The open file.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
}

const PREFIX: &str = "events.out.tfevents.";

impl EventFile {
    /// Starts the file of a process that goes on at `step`; TensorBoard forgets what files before it say of that step and
    /// later ones.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder or the file cannot be written.
    pub fn start(folder: &Path, step: u64) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
        let newest = entries.filter_map(|entry| seconds_of(entry.ok()?.file_name().to_str()?)).max();
        // TensorBoard reads files in the order of their names.
        let seconds = (now() as u64).max(newest.map_or(0, |newest| newest + 1));
        let path = folder.join(format!("{PREFIX}{seconds:010}.byol"));
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(Error::io("create", &path))?;
        let mut events = Self { file, path };
        events.write(&Event { wall_time: now(), step: 0, what: What::FileVersion })?;
        events.write(&Event { wall_time: now(), step, what: What::SessionStart })?;
        Ok(events)
    }

    /// Adds every number among the fields of `line`, as `GROUP/FIELD`; `step` itself is the axis.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn append(&mut self, group: &str, step: u64, line: &impl Serialize) -> Result<()> {
        let fields = serde_json::to_value(line).expect("plain fields have a JSON form");
        let numbers = fields.as_object().into_iter().flatten().filter(|(name, _)| *name != "step");
        let scalars = numbers.filter_map(|(name, value)| Some((format!("{group}/{name}"), value.as_f64()? as f32)));
        self.write(&Event { wall_time: now(), step, what: What::Scalars(scalars.collect()) })
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        append_whole(&mut self.file, &record(&event.encode())).map_err(Error::io("write", &self.path))
    }
}

/// Seconds in the name of an event file.
fn seconds_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

struct Event {
    /// Seconds since 1970.
    wall_time: f64,
    step: u64,
    what: What,
}

enum What {
    /// `brain.Event:2`, the first event of a file.
    FileVersion,
    /// `SessionLog { status: START }`: this step and those after it are taken again.
    SessionStart,
    /// Tag and value.
    Scalars(Vec<(String, f32)>),
}

impl Event {
    fn encode(&self) -> Vec<u8> {
        let mut event = Vec::new();
        fixed64(1, self.wall_time, &mut event);
        // A field that is 0 is left out, as protocol buffers do.
        if self.step > 0 {
            varint(2 << 3, &mut event);
            varint(self.step, &mut event);
        }
        match &self.what {
            What::FileVersion => bytes(3, b"brain.Event:2", &mut event),
            What::SessionStart => bytes(7, &[1 << 3, 1], &mut event),
            What::Scalars(scalars) => {
                let mut summary = Vec::new();
                for (tag, number) in scalars {
                    let mut value = Vec::new();
                    bytes(1, tag.as_bytes(), &mut value);
                    fixed32(2, *number, &mut value);
                    bytes(1, &value, &mut summary);
                }
                bytes(5, &summary, &mut event);
            }
        }
        event
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn fixed64(field: u64, value: f64, out: &mut Vec<u8>) {
    varint(field << 3 | 1, out);
    out.extend(value.to_le_bytes());
}

fn fixed32(field: u64, value: f32, out: &mut Vec<u8>) {
    varint(field << 3 | 5, out);
    out.extend(value.to_le_bytes());
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend(value);
}

/// `data` with its length and both checksums.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// CRC-32C, rotated right by 15 bits, plus a constant: a checksum that may itself be checksummed.
fn masked_crc(data: &[u8]) -> u32 {
    static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
    CRC_32C.checksum(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_bytes_that_tensorboard_itself_writes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/events.out.tfevents.golden");
        let scalars = |scalars: &[(&str, f32)]| {
            What::Scalars(scalars.iter().map(|&(tag, value)| (tag.to_owned(), value)).collect())
        };
        let events = [
            (1.7e9, 0, What::FileVersion),
            (1_700_000_000.25, 300, What::SessionStart),
            (1_700_000_001.5, 0, scalars(&[("train/loss", 4.125)])),
            (1_700_000_002.0, 300, scalars(&[("train/loss", 0.0), ("online/knn_top1", -1.5e-7)])),
            (1_700_000_003.0, 1 << 40, scalars(&[("a tag of more than 127 bytes ".repeat(6).as_str(), f32::NAN)])),
        ];
        let ours = events.map(|(wall_time, step, what)| record(&Event { wall_time, step, what }.encode())).concat();
        assert!(ours == fs::read(path).unwrap(), "{ours:?}");
    }

    #[test]
    fn the_checksum_is_that_of_the_published_vectors() {
        // RFC 3720, B.4, before the mask.
        let unmasked = |data: &[u8]| masked_crc(data).wrapping_sub(0xA282_EAD8).rotate_left(15);
        assert_eq!(unmasked(&[0; 32]), 0x8A91_36AA);
        assert_eq!(unmasked(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(unmasked(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
        assert_eq!(unmasked(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn every_process_gets_a_file_of_its_own_with_a_later_name() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..3).map(|step| EventFile::start(folder.path(), step).unwrap().path).collect();
        assert!(files.is_sorted() && files[0] != files[1] && files[1] != files[2], "{files:?}");
        fs::write(folder.path().join("events.out.tfevents.9999999999.elsewhere"), b"").unwrap();
        assert!(EventFile::start(folder.path(), 0).unwrap().path.ends_with("events.out.tfevents.10000000000.byol"));
    }
}
