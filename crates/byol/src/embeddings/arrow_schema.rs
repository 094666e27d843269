//! The schema of a Parquet file as Arrow keeps it, which says what Parquet's own cannot: that all lists have one length.
//!
//! It stands in the file's metadata under [`KEY`], a message of Arrow's IPC format (a FlatBuffer, `Message.fbs` and `Schema.fbs` of
//! apache/arrow-format) in Base64; pyarrow, Polars, pandas and LanceDB give the column that type by it, DuckDB reads the list.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, WIPOffset};

use super::Element;

/// Where readers look for it.
pub(super) const KEY: &str = "ARROW:schema";

/// Places of fields in the tables of `Message.fbs` and `Schema.fbs`; each takes two bytes behind the four at the start of a table's list.
const fn slot(field: u16) -> u16 {
    4 + 2 * field
}

/// `MetadataVersion::V5`, `MessageHeader::Schema`.
const VERSION_5: i16 = 4;
const SCHEMA: u8 = 1;

/// `Type` of a field, its number in the union.
const FLOATING_POINT: u8 = 3;
const UTF8: u8 = 5;
const FIXED_SIZE_LIST: u8 = 16;

type Table = WIPOffset<TableFinishedWIPOffset>;

/// Columns `name`, `label` and `split` of text, the latter two nullable, and `embedding`, lists of `size` numbers.
pub(super) fn encoded(size: usize, element: Element) -> String {
    let mut builder = FlatBufferBuilder::new();
    let b = &mut builder;
    let precision: i16 = match element {
        Element::F16 => 0,
        Element::F32 => 1,
    };
    let number = table(b, |b| b.push_slot_always(slot(0), precision));
    let element = field(b, "element", false, (FLOATING_POINT, number), &[]);
    let list = table(b, |b| b.push_slot_always(slot(0), i32::try_from(size).expect("a network of fewer outputs")));
    let embedding = field(b, "embedding", false, (FIXED_SIZE_LIST, list), &[element]);
    let text = |b: &mut FlatBufferBuilder<'static>, name: &str, nullable: bool| {
        let utf8 = table(b, |_| {});
        field(b, name, nullable, (UTF8, utf8), &[])
    };
    let fields = [text(b, "name", false), text(b, "label", true), text(b, "split", true), embedding];
    let fields = b.create_vector(&fields);
    let schema = table(b, |b| b.push_slot_always(slot(1), fields));
    let message = table(b, |b| {
        b.push_slot_always(slot(0), VERSION_5);
        b.push_slot_always(slot(1), SCHEMA);
        b.push_slot_always(slot(2), schema);
        b.push_slot_always(slot(3), 0i64);
    });
    builder.finish_minimal(message);
    let mut message = builder.finished_data().to_vec();
    message.resize(message.len().next_multiple_of(8), 0);
    // A message begins with a mark and its length.
    let length = u32::try_from(message.len()).expect("a schema of a few hundred bytes");
    STANDARD.encode([&u32::MAX.to_le_bytes()[..], &length.to_le_bytes(), &message].concat())
}

fn table(builder: &mut FlatBufferBuilder<'static>, fill: impl FnOnce(&mut FlatBufferBuilder<'static>)) -> Table {
    let start = builder.start_table();
    fill(builder);
    builder.end_table(start)
}

fn field(
    builder: &mut FlatBufferBuilder<'static>,
    name: &str,
    nullable: bool,
    (kind, details): (u8, Table),
    children: &[Table],
) -> Table {
    let name = builder.create_string(name);
    let children = builder.create_vector(children);
    table(builder, |builder| {
        builder.push_slot_always(slot(0), name);
        builder.push_slot(slot(1), nullable, false);
        builder.push_slot_always(slot(2), kind);
        builder.push_slot_always(slot(3), details);
        builder.push_slot_always(slot(5), children);
    })
}
