//! The columns of an Arrow file, as its first message describes them (`Schema.fbs` of the format).

use super::flatbuffer::Table;

/// Structs and lists may lie in each other this deep.
const MAX_DEPTH: usize = 32;

/// A column, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub name: String,
    pub kind: Kind,
    pub children: Vec<Field>,
    /// The dictionary whose places the column holds instead of values.
    pub dictionary: Option<Dictionary>,
}

/// Values that are kept once, and how their places are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dictionary {
    pub id: i64,
    pub bytes: usize,
    pub signed: bool,
}

/// What a column holds. Widths are in bytes; those of texts, bytes and lists are of their offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Int {
        bytes: usize,
        signed: bool,
    },
    Float {
        bytes: usize,
    },
    Bool,
    Text {
        width: usize,
    },
    Bytes {
        width: usize,
    },
    /// Texts or bytes as views: 16 bytes that hold a short one or say where a long one is.
    View {
        text: bool,
    },
    FixedBytes {
        bytes: usize,
    },
    Days,
    /// Time since 1970 in units of which a second has so many.
    Time {
        units: i64,
    },
    List {
        width: usize,
    },
    FixedList {
        count: usize,
    },
    Struct,
    /// What is not read, with its name and the number of its buffers.
    Other {
        name: &'static str,
        buffers: usize,
    },
}

impl Kind {
    /// Buffers in a message, those of children and of views' contents left out.
    pub fn buffers(self) -> usize {
        match self {
            Self::Null => 0,
            Self::FixedList { .. } | Self::Struct => 1,
            Self::Text { .. } | Self::Bytes { .. } => 3,
            Self::Other { buffers, .. } => buffers,
            _ => 2,
        }
    }

    /// As the format calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Int { .. } => "int",
            Self::Float { .. } => "float",
            Self::Bool => "bool",
            Self::Text { .. } | Self::View { text: true } => "string",
            Self::Bytes { .. } | Self::FixedBytes { .. } | Self::View { text: false } => "binary",
            Self::Days => "date",
            Self::Time { .. } => "timestamp",
            Self::List { .. } | Self::FixedList { .. } => "list",
            Self::Struct => "struct",
            Self::Other { name, .. } => name,
        }
    }
}

/// The columns, and the JSON that Hugging Face's `datasets` keeps beside them.
#[derive(Debug)]
pub(crate) struct Schema {
    pub fields: Vec<Field>,
    pub hugging_face: Option<serde_json::Value>,
}

impl Schema {
    /// Reads the message's table, or says what is wrong with it.
    pub fn read(table: &Table) -> Result<Self, String> {
        if table.i16(0).unwrap_or(0) != 0 {
            return Err("its numbers have their highest byte first".into());
        }
        let broken = || "its schema cannot be read".to_owned();
        let fields = table.tables(1).ok_or_else(broken)?;
        let fields =
            fields.iter().map(|field| read_field(field, MAX_DEPTH)).collect::<Option<_>>().ok_or_else(broken)?;
        let entries = table.tables(2).unwrap_or_default();
        let entry = entries.iter().find(|entry| entry.text(0) == Some("huggingface"));
        let hugging_face = entry.and_then(|entry| serde_json::from_str(entry.text(1)?).ok());
        Ok(Self { fields, hugging_face })
    }
}

fn read_field(table: &Table, depth: usize) -> Option<Field> {
    let depth = depth.checked_sub(1)?;
    let name = table.text(0).unwrap_or_default().to_owned();
    let children = table.tables(5)?.iter().map(|child| read_field(child, depth)).collect::<Option<_>>()?;
    let kind = read_kind(table.byte(2)?, table.table(3))?;
    let dictionary = match table.table(4) {
        None => None,
        Some(encoding) => {
            let (bytes, signed) = encoding.table(1).map_or(Some((4, true)), |index| integer(&index))?;
            Some(Dictionary { id: encoding.i64(0).unwrap_or(0), bytes, signed })
        }
    };
    Some(Field { name, kind, children, dictionary })
}

fn integer(table: &Table) -> Option<(usize, bool)> {
    let bytes = match table.i32(0).unwrap_or(0) {
        8 => 1,
        16 => 2,
        32 => 4,
        64 => 8,
        _ => return None,
    };
    Some((bytes, table.byte(1).unwrap_or(0) != 0))
}

/// The numbers of kinds are those of the union `Type`.
fn read_kind(number: u8, table: Option<Table>) -> Option<Kind> {
    let table = table?;
    let size = |field| usize::try_from(table.i32(field).unwrap_or(0)).ok();
    let other = |name, buffers| Kind::Other { name, buffers };
    Some(match number {
        1 => Kind::Null,
        2 => integer(&table).map(|(bytes, signed)| Kind::Int { bytes, signed })?,
        3 => match table.i16(0).unwrap_or(0) {
            0 => Kind::Float { bytes: 2 },
            1 => Kind::Float { bytes: 4 },
            2 => Kind::Float { bytes: 8 },
            _ => return None,
        },
        4 => Kind::Bytes { width: 4 },
        5 => Kind::Text { width: 4 },
        6 => Kind::Bool,
        7 => other("decimal", 2),
        8 if table.i16(0) == Some(0) => Kind::Days,
        8 => Kind::Time { units: 1000 },
        9 => other("time", 2),
        10 => match table.i16(0).unwrap_or(0) {
            0 => Kind::Time { units: 1 },
            1 => Kind::Time { units: 1000 },
            2 => Kind::Time { units: 1_000_000 },
            3 => Kind::Time { units: 1_000_000_000 },
            _ => return None,
        },
        11 => other("interval", 2),
        12 => Kind::List { width: 4 },
        13 => Kind::Struct,
        14 => other("union", if table.i16(0) == Some(1) { 2 } else { 1 }),
        15 => Kind::FixedBytes { bytes: size(0)? },
        16 => Kind::FixedList { count: size(0)? },
        17 => other("map", 2),
        18 => other("duration", 2),
        19 => Kind::Bytes { width: 8 },
        20 => Kind::Text { width: 8 },
        21 => Kind::List { width: 8 },
        22 => other("run_end_encoded", 0),
        23 => Kind::View { text: false },
        24 => Kind::View { text: true },
        25 | 26 => other("list_view", 3),
        _ => return None,
    })
}
