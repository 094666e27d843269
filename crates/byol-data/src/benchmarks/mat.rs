//! Variables of MATLAB files of version 5 (MATLAB 5 to 7, not 7.3, which is HDF5): numbers, texts, cells and structures.
//!
//! Format: "MAT-File Format" by The MathWorks. A header of 128 bytes, then elements: type, length, content, padded to 8
//! bytes; up to 4 bytes of content stand in the tag itself. An array is an element of elements: flags, dimensions, name,
//! content. A compressed element is a zlib stream of one other.
//!
//! Files are not trusted: no length is believed before the bytes are seen, what unpacks is limited, so is nesting.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Annotations of Stanford Cars unpack to 3 MB. Values take up to eight times as much.
const MAX_UNPACKED_BYTES: u64 = 32 << 20;
const MAX_DEPTH: usize = 8;
const HEADER_BYTES: usize = 128;

/// Types of elements.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const SINGLE: u32 = 7;
const DOUBLE: u32 = 9;
const INT64: u32 = 12;
const UINT64: u32 = 13;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const UTF8: u32 = 16;
const UTF16: u32 = 17;

/// Classes of arrays.
const CELL: u8 = 1;
const STRUCT: u8 = 2;
const CHAR: u8 = 4;
/// From double to 64-bit integers.
const NUMERIC_FIRST: u8 = 6;
const NUMERIC_LAST: u8 = 15;

/// The content of an array, column by column, without its dimensions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Numbers(Vec<f64>),
    Text(String),
    Cells(Vec<Value>),
    /// An array of structures: the fields of the first, then those of the second.
    Structures {
        fields: Vec<String>,
        values: Vec<Value>,
    },
    /// A kind we do not read: sparse, an object, a function.
    Other,
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whole numbers that are not negative.
    pub fn whole_numbers(&self) -> Option<Vec<u32>> {
        let whole = |&number: &f64| {
            ((0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0).then_some(number as u32)
        };
        match self {
            Self::Numbers(numbers) => numbers.iter().map(whole).collect(),
            _ => None,
        }
    }

    pub fn whole_number(&self) -> Option<u32> {
        self.whole_numbers().filter(|numbers| numbers.len() == 1).map(|numbers| numbers[0])
    }

    /// The field `name` of each structure.
    pub fn column(&self, name: &str) -> Option<impl Iterator<Item = &Self>> {
        let Self::Structures { fields, values } = self else { return None };
        let place = fields.iter().position(|field| field == name)?;
        Some(values.iter().skip(place).step_by(fields.len()))
    }
}

/// The variable `name` of the file `bytes`, or why there is none.
pub(super) fn variable(bytes: &[u8], name: &str) -> Result<Value, String> {
    if bytes.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(format!("{} bytes, more than {MAX_UNPACKED_BYTES}", bytes.len()));
    }
    let header = bytes.get(..HEADER_BYTES).ok_or("a file shorter than its header")?;
    let reader = match &header[124..] {
        [0, 1, b'I', b'M'] => Reader { big_endian: false },
        [1, 0, b'M', b'I'] => Reader { big_endian: true },
        _ if header.starts_with(b"MATLAB 7.3") => return Err("version 7.3; save it again with -v7".into()),
        _ => return Err("a file without the header of version 5".into()),
    };
    let mut rest = &bytes[HEADER_BYTES..];
    let mut unpacked_bytes = 0;
    let mut others = Vec::new();
    while !rest.is_empty() {
        let element = reader.element(&mut rest)?;
        let mut unpacked = Vec::new();
        let content = match element.kind {
            COMPRESSED => {
                let left = MAX_UNPACKED_BYTES - unpacked_bytes;
                let stream = ZlibDecoder::new(element.content).take(left + 1);
                { stream }
                    .read_to_end(&mut unpacked)
                    .map_err(|error| format!("a variable that does not unpack: {error}"))?;
                unpacked_bytes += unpacked.len() as u64;
                if unpacked_bytes > MAX_UNPACKED_BYTES {
                    return Err(format!("more than {MAX_UNPACKED_BYTES} bytes when unpacked"));
                }
                let inner = reader.element(&mut &unpacked[..])?;
                if inner.kind != MATRIX {
                    return Err("a compressed element that is no variable".into());
                }
                inner.content
            }
            MATRIX => element.content,
            _ => continue,
        };
        let (found, value) = reader.array(content, name, MAX_DEPTH)?;
        match value {
            Some(value) if found == name => return Ok(value),
            _ => others.push(found),
        }
    }
    Err(format!("variables with other names ({})", others.join(", ")))
}

struct Element<'a> {
    kind: u32,
    content: &'a [u8],
}

#[derive(Clone, Copy)]
struct Reader {
    big_endian: bool,
}

impl Reader {
    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// Takes the next element off `rest`.
    fn element<'a>(self, rest: &mut &'a [u8]) -> Result<Element<'a>, String> {
        let short = || "an end in the middle of an element".to_owned();
        let (tag, behind) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let tag = self.u32(*tag);
        let (field, behind) = behind.split_first_chunk::<4>().ok_or_else(short)?;
        if tag >> 16 != 0 {
            // The short form: length and type share the tag, and the content is the next four bytes.
            *rest = behind;
            let content = field.get(..(tag >> 16) as usize).ok_or_else(short)?;
            return Ok(Element { kind: tag & 0xFFFF, content });
        }
        let len = self.u32(*field) as usize;
        let (content, behind) = behind.split_at_checked(len).ok_or_else(short)?;
        // Compressed elements are not padded. The last one of a file may lack its padding.
        let padding = if tag == COMPRESSED { 0 } else { len.next_multiple_of(8) - len };
        *rest = behind.get(padding..).unwrap_or_default();
        Ok(Element { kind: tag, content })
    }

    /// Name and content of an array; without the content where the name is not `wanted`, of which "" is any.
    fn array(self, mut rest: &[u8], wanted: &str, depth: usize) -> Result<(String, Option<Value>), String> {
        if rest.is_empty() {
            // An empty array may be written without flags and dimensions.
            return Ok((String::new(), Some(Value::Numbers(Vec::new()))));
        }
        let Some(depth) = depth.checked_sub(1) else { return Err("arrays nested too deeply".into()) };
        let flags = self.element(&mut rest)?;
        let flags = flags.content.first_chunk::<4>().ok_or("an array without flags")?;
        let class = (self.u32(*flags) & 0xFF) as u8;
        let dimensions = self.numbers(&self.element(&mut rest)?)?;
        let name = String::from_utf8_lossy(self.element(&mut rest)?.content).into_owned();
        if !wanted.is_empty() && name != wanted {
            return Ok((name, None));
        }
        let count = dimensions.iter().product::<f64>();
        let value = match class {
            NUMERIC_FIRST..=NUMERIC_LAST => Value::Numbers(self.numbers(&self.element(&mut rest)?)?),
            CHAR => Value::Text(self.text(&self.element(&mut rest)?)?),
            CELL => Value::Cells(self.arrays(rest, count, depth)?),
            STRUCT => {
                let len = self.numbers(&self.element(&mut rest)?)?;
                let names = self.element(&mut rest)?.content;
                let len =
                    len.first().copied().filter(|len| (1.0..=4096.0).contains(len)).ok_or("fields without names")?;
                let name = |name: &[u8]| {
                    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
                    String::from_utf8_lossy(&name[..end]).into_owned()
                };
                let fields: Vec<String> = names.chunks_exact(len as usize).map(name).collect();
                let values = self.arrays(rest, count * fields.len() as f64, depth)?;
                Value::Structures { fields, values }
            }
            _ => Value::Other,
        };
        Ok((name, Some(value)))
    }

    /// The `count` arrays that follow each other in `rest`. Each takes at least 8 bytes, so memory is bounded by `rest`.
    fn arrays(self, mut rest: &[u8], count: f64, depth: usize) -> Result<Vec<Value>, String> {
        let mut values = Vec::new();
        while (values.len() as f64) < count {
            let element = self.element(&mut rest)?;
            if element.kind != MATRIX {
                return Err("a cell or field that is no array".into());
            }
            values.push(self.array(element.content, "", depth)?.1.unwrap_or(Value::Other));
        }
        Ok(values)
    }

    fn numbers(self, element: &Element<'_>) -> Result<Vec<f64>, String> {
        macro_rules! read {
            ($number:ty) => {{
                let (chunks, _) = element.content.as_chunks();
                let number = |&bytes| {
                    if self.big_endian { <$number>::from_be_bytes(bytes) } else { <$number>::from_le_bytes(bytes) }
                };
                chunks.iter().map(|bytes| number(bytes) as f64).collect()
            }};
        }
        Ok(match element.kind {
            INT8 => read!(i8),
            UINT8 => read!(u8),
            INT16 => read!(i16),
            UINT16 => read!(u16),
            INT32 => read!(i32),
            UINT32 => read!(u32),
            SINGLE => read!(f32),
            DOUBLE => read!(f64),
            INT64 => read!(i64),
            UINT64 => read!(u64),
            kind => return Err(format!("numbers of the unknown type {kind}")),
        })
    }

    fn text(self, element: &Element<'_>) -> Result<String, String> {
        match element.kind {
            INT8 | UINT8 | UTF8 => Ok(String::from_utf8_lossy(element.content).into_owned()),
            UINT16 | UTF16 => {
                let units = element.content.as_chunks().0.iter();
                let unit = |&bytes| if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
                Ok(String::from_utf16_lossy(&units.map(unit).collect::<Vec<_>>()))
            }
            kind => Err(format!("text of the unknown type {kind}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    const META: &[u8] = include_bytes!("../../tests/data/benchmarks/cars/stanford_cars/devkit/cars_meta.mat");
    const ANNOTATIONS: &[u8] =
        include_bytes!("../../tests/data/benchmarks/cars/stanford_cars/devkit/cars_train_annos.mat");
    const LABELS: &[u8] = include_bytes!("../../tests/data/benchmarks/flowers102/flowers-102/imagelabels.mat");

    fn u32(number: usize, big: bool) -> [u8; 4] {
        let number = u32::try_from(number).unwrap();
        if big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn element(kind: u32, content: &[u8], big: bool) -> Vec<u8> {
        let mut bytes = [u32(kind as usize, big), u32(content.len(), big)].concat();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn array(class: u8, dimensions: [usize; 2], name: &str, content: &[u8], big: bool) -> Vec<u8> {
        let flags = element(UINT32, &[u32(class.into(), big), [0; 4]].concat(), big);
        let dimensions = element(INT32, &dimensions.map(|length| u32(length, big)).concat(), big);
        let content = [&flags[..], &dimensions, &element(INT8, name.as_bytes(), big), content].concat();
        element(MATRIX, &content, big)
    }

    fn file(elements: &[u8], big: bool) -> Vec<u8> {
        let mut bytes = vec![b' '; 124];
        bytes.extend_from_slice(if big { &[1, 0, b'M', b'I'] } else { &[0, 1, b'I', b'M'] });
        [&bytes[..], elements].concat()
    }

    #[test]
    fn files_of_scipy_are_read() {
        let names = variable(META, "class_names").unwrap();
        let text = |text: &str| Value::Text(text.into());
        let expected =
            ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo Convertible 2012"];
        assert_eq!(names, Value::Cells(expected.map(text).to_vec()));
        let annotations = variable(ANNOTATIONS, "annotations").unwrap();
        let files: Vec<_> = annotations.column("fname").unwrap().filter_map(Value::text).collect();
        assert_eq!((files.len(), files[0], files[19]), (20, "00001.jpg", "00020.jpg"));
        let left: Vec<_> = annotations.column("bbox_x1").unwrap().filter_map(Value::whole_number).collect();
        assert_eq!((left.len(), left[0], left[19]), (20, 200, 219));
        assert!(annotations.column("colour").is_none() && names.column("fname").is_none());
        let labels = variable(LABELS, "labels").unwrap().whole_numbers().unwrap();
        assert_eq!(labels, (0..12).map(|k| (29 * k) % 102 + 1).collect::<Vec<u32>>());
        let reason = variable(LABELS, "label").unwrap_err();
        assert_eq!(reason, "variables with other names (labels)");
    }

    #[test]
    fn both_byte_orders_and_every_type_of_number_are_read() {
        for big in [false, true] {
            let order = |mut bytes: Vec<u8>| {
                if big {
                    bytes.reverse();
                }
                bytes
            };
            let numbers = [
                (INT8, (-3i8).to_le_bytes().to_vec()),
                (INT16, (-3i16).to_le_bytes().to_vec()),
                (INT32, (-3i32).to_le_bytes().to_vec()),
                (INT64, (-3i64).to_le_bytes().to_vec()),
                (SINGLE, (-3f32).to_le_bytes().to_vec()),
                (DOUBLE, (-3f64).to_le_bytes().to_vec()),
            ];
            for (kind, bytes) in numbers {
                let content = element(kind, &order(bytes), big);
                let value = variable(&file(&array(6, [1, 1], "x", &content, big), big), "x").unwrap();
                assert_eq!(value, Value::Numbers(vec![-3.0]), "type {kind}, big endian {big}");
                assert_eq!(value.whole_number(), None);
            }
            for (kind, bytes) in [(UINT8, vec![7]), (UINT64, 7u64.to_le_bytes().to_vec())] {
                let content = element(kind, &order(bytes), big);
                let value = variable(&file(&array(6, [1, 1], "x", &content, big), big), "x").unwrap();
                assert_eq!(value.whole_number(), Some(7));
            }
            let letters: Vec<u8> = "Škoda".encode_utf16().flat_map(|unit| order(unit.to_le_bytes().to_vec())).collect();
            let text = array(CHAR, [1, 5], "x", &element(UTF16, &letters, big), big);
            assert_eq!(variable(&file(&text, big), "x").unwrap(), Value::Text("Škoda".into()));
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        for (bytes, name) in [(META, "class_names"), (ANNOTATIONS, "annotations"), (LABELS, "labels")] {
            for len in 0..bytes.len() - 8 {
                assert!(variable(&bytes[..len], name).is_err(), "{name} cut to {len} bytes");
            }
        }
    }

    #[test]
    fn what_unpacks_to_too_much_or_nests_too_deeply_is_refused() {
        let mut stream = ZlibEncoder::new(Vec::new(), Compression::fast());
        (0..33).for_each(|_| stream.write_all(&vec![0; 1 << 20]).unwrap());
        let stream = stream.finish().unwrap();
        let packed = [&u32(COMPRESSED as usize, false)[..], &u32(stream.len(), false), &stream].concat();
        let reason = variable(&file(&packed, false), "x").unwrap_err();
        assert!(reason.contains("more than 33554432 bytes"), "{reason}");
        let mut nested = array(6, [1, 1], "", &element(UINT8, &[1], false), false);
        for depth in 0..20 {
            nested = array(CELL, [1, 1], if depth == 19 { "x" } else { "" }, &nested, false);
        }
        assert_eq!(variable(&file(&nested, false), "x"), Err("arrays nested too deeply".into()));
        // Dimensions that promise more cells than there are bytes.
        let cells = array(CELL, [0x7FFF_FFFF, 0x7FFF_FFFF], "x", &[], false);
        assert!(variable(&file(&cells, false), "x").is_err());
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            for (bytes, name) in [(META, "class_names"), (LABELS, "labels"), (ANNOTATIONS, "annotations")] {
                let mut bytes = bytes.to_vec();
                let behind_header = &mut bytes[HEADER_BYTES..];
                for (place, value) in &changes {
                    *place.get_mut(behind_header) = *value;
                }
                let _ = variable(&bytes, name);
            }
        }
    }
}
