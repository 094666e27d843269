//! NumPy's arrays in a pickle, and JAX's, which are pickled as those: of which type and shape, and where their bytes stand.

use super::Number;
use super::pickle::{Call, Id, Pickle, Span, Value};

/// How a pickle spells bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Spelling {
    /// As they are.
    Plain,
    /// Each as the character with its number, in UTF-8: protocols 0 to 2 have no bytes.
    Latin1,
}

/// An array whose values stand in the pickle itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub number: Number,
    pub shape: Vec<usize>,
    /// Steps along the axes, in values.
    pub strides: Vec<usize>,
    pub span: Span,
    pub spelling: Spelling,
}

/// What a call gives.
#[derive(Debug, PartialEq)]
pub(super) enum Rebuilt {
    Array(Array),
    /// An array of Python's objects, of texts, or in another order of bytes.
    Unread,
}

/// The array that `call` gives; none if it gives something else.
///
/// # Errors
/// When its bytes cannot be those of its shape.
pub(super) fn rebuilt(pickle: &Pickle, call: &Call) -> Result<Option<Rebuilt>, String> {
    let Some(form) = Form::of(pickle, call) else { return Ok(None) };
    let Some(array) = form.parts(pickle, call).and_then(|parts| parts.array(pickle)) else {
        return Ok(Some(Rebuilt::Unread));
    };
    let Array { number, shape, span, .. } = &array;
    let bytes = shape.iter().try_fold(number.bytes() as u64, |bytes, &side| bytes.checked_mul(side as u64));
    let fits = |bytes: u64| match array.spelling {
        Spelling::Plain => bytes == span.bytes,
        // Half of all numbers take two bytes of UTF-8.
        Spelling::Latin1 => bytes <= span.bytes && span.bytes.div_ceil(2) <= bytes,
    };
    match bytes.is_some_and(fits) {
        true => Ok(Some(Rebuilt::Array(array))),
        false => Err(format!("an array of shape {shape:?} in {} bytes", span.bytes)),
    }
}

/// The bytes that are spelled as `text`; none if it is no such text.
pub(super) fn of_latin1(text: Vec<u8>) -> Option<Vec<u8>> {
    String::from_utf8(text).ok()?.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// What an array is rebuilt by.
enum Form {
    /// `_reconstruct(…)`, and its state afterwards.
    Reconstruct,
    /// `_frombuffer(bytes, type, shape, order)`: protocol 5.
    FromBuffer,
    /// `function(_reconstruct, arguments, state, …)`: JAX and dill take an array of NumPy apart.
    Wrapped,
}

impl Form {
    fn of(pickle: &Pickle, call: &Call) -> Option<Self> {
        let class = pickle.global(call.class)?;
        let is_wrapper = class.starts_with("jax") || class.starts_with("dill.");
        let wraps = || call.arguments.first().and_then(|&first| pickle.global(first)).is_some_and(is_reconstruct);
        match class {
            class if is_reconstruct(class) => Some(Self::Reconstruct),
            "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer" => Some(Self::FromBuffer),
            _ if is_wrapper && wraps() => Some(Self::Wrapped),
            _ => None,
        }
    }

    fn parts(self, pickle: &Pickle, call: &Call) -> Option<Parts> {
        let state = match self {
            Self::FromBuffer => {
                let &[data, dtype, shape, order] = &call.arguments[..] else { return None };
                return Some(Parts { data, dtype, shape, is_fortran: pickle.text(order)? == "F" });
            }
            Self::Reconstruct => *call.states.last()?,
            Self::Wrapped => *call.arguments.get(2)?,
        };
        let &[_, shape, dtype, is_fortran, data] = pickle.sequence(state)? else { return None };
        // Python 2 writes a number.
        let is_fortran = matches!(pickle.get(is_fortran), Value::Bool(true) | Value::Int(1));
        Some(Parts { data, dtype, shape, is_fortran })
    }
}

fn is_reconstruct(class: &str) -> bool {
    matches!(class, "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct")
}

struct Parts {
    data: Id,
    dtype: Id,
    shape: Id,
    is_fortran: bool,
}

impl Parts {
    fn array(self, pickle: &Pickle) -> Option<Array> {
        let number = number(pickle, self.dtype)?;
        let shape: Vec<usize> =
            pickle.sequence(self.shape)?.iter().map(|&id| pickle.count(id)).collect::<Option<_>>()?;
        let (span, spelling) = bytes(pickle, self.data)?;
        let mut strides = vec![1; shape.len()];
        let mut step = 1usize;
        for place in 0..shape.len() {
            let axis = if self.is_fortran { place } else { shape.len() - 1 - place };
            strides[axis] = step;
            step = step.saturating_mul(shape[axis]);
        }
        Some(Array { number, shape, strides, span, spelling })
    }
}

/// Of `dtype('f4', …)` with `(version, order of bytes, …)` as its state.
fn number(pickle: &Pickle, dtype: Id) -> Option<Number> {
    let Value::Call(call) = pickle.get(dtype) else { return None };
    let name = *call.arguments.first()?;
    // JAX's type is a class of its own.
    let is_bf16 = pickle.global(name).is_some_and(|class| class.ends_with(".bfloat16"));
    let number = match pickle.text(name) {
        _ if is_bf16 => Number::Bf16,
        Some("f8") => Number::F64,
        Some("f4") => Number::F32,
        Some("f2") => Number::F16,
        Some(text) if text.starts_with(['b', 'i', 'u', 'c']) => Number::Other(text[1..].parse().ok()?),
        _ => return None,
    };
    let order = call.states.last().and_then(|&state| pickle.sequence(state)?.get(1)).and_then(|&id| pickle.text(id));
    (order != Some(">")).then_some(number)
}

/// Where bytes stand, which are spelled as a text for `_codecs.encode` below protocol 3.
fn bytes(pickle: &Pickle, id: Id) -> Option<(Span, Spelling)> {
    match pickle.get(id) {
        Value::Call(call) if pickle.global(call.class) == Some("_codecs.encode") => match call.arguments[..] {
            [text, name] if matches!(pickle.text(name), Some("latin1" | "latin-1")) => {
                Some((pickle.span(text)?, Spelling::Latin1))
            }
            _ => None,
        },
        _ => Some((pickle.span(id)?, Spelling::Plain)),
    }
}

/// The axes of an array of Haiku, whose name ends so, as PyTorch has them: its weights are `[height, width, in, out]` and
/// `[in, out]`, and its norms keep the axes that they average over.
pub(super) fn in_torch_order(name: &str, array: &mut Array) {
    let Array { shape, strides, .. } = array;
    let axes: Vec<usize> = match (name.rsplit('.').next(), &shape[..]) {
        (Some("w"), [_, _, _, _]) => vec![3, 2, 0, 1],
        (Some("w"), [_, _]) => vec![1, 0],
        (Some("scale" | "offset" | "average"), [ones @ .., _]) if ones.iter().all(|&side| side == 1) => {
            vec![ones.len()]
        }
        _ => return,
    };
    *strides = axes.iter().map(|&axis| strides[axis]).collect();
    *shape = axes.iter().map(|&axis| shape[axis]).collect();
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// `numpy.array([[1, 2, 3], [4, 5, 6]], "f4")` as NumPy 2.4 pickles it by protocols 2, 4 and 5, and in Fortran's order by 2 and 5; with
    /// its strides.
    const OF_NUMPY: [(&[u8], [usize; 2]); 5] = [
        (b"\x80\x02cnumpy._core.multiarray\n_reconstruct\nq\0cnumpy\nndarray\nq\x01K\0\x85q\x02c_codecs\nencode\nq\x03X\x01\0\0\0bq\x04X\x06\0\0\0latin1q\x05\x86q\x06Rq\x07\x87q\x08Rq\x09(K\x01K\x02K\x03\x86q\ncnumpy\ndtype\nq\x0bX\x02\0\0\0f4q\x0c\x89\x88\x87q\x0dRq\x0e(K\x03X\x01\0\0\0<q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tq\x10b\x89h\x03X\x1c\0\0\0\0\0\xc2\x80?\0\0\0@\0\0@@\0\0\xc2\x80@\0\0\xc2\xa0@\0\0\xc3\x80@q\x11h\x05\x86q\x12Rq\x13tq\x14b.", [3, 1]),
        (b"\x80\x04\x95\xa3\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02K\x03\x86\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02f4\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94b\x89C\x18\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@\0\0\xc0@\x94t\x94b.", [3, 1]),
        (b"\x80\x05\x95\x8e\0\0\0\0\0\0\0\x8c\x13numpy._core.numeric\x94\x8c\x0b_frombuffer\x94\x93\x94(\x96\x18\0\0\0\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@\0\0\xc0@\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02f4\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94bK\x02K\x03\x86\x94\x8c\x01C\x94t\x94R\x94.", [3, 1]),
        (b"\x80\x02cnumpy._core.multiarray\n_reconstruct\nq\0cnumpy\nndarray\nq\x01K\0\x85q\x02c_codecs\nencode\nq\x03X\x01\0\0\0bq\x04X\x06\0\0\0latin1q\x05\x86q\x06Rq\x07\x87q\x08Rq\x09(K\x01K\x02K\x03\x86q\ncnumpy\ndtype\nq\x0bX\x02\0\0\0f4q\x0c\x89\x88\x87q\x0dRq\x0e(K\x03X\x01\0\0\0<q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tq\x10b\x88h\x03X\x1c\0\0\0\0\0\xc2\x80?\0\0\xc2\x80@\0\0\0@\0\0\xc2\xa0@\0\0@@\0\0\xc3\x80@q\x11h\x05\x86q\x12Rq\x13tq\x14b.", [1, 2]),
        (b"\x80\x05\x95\x8e\0\0\0\0\0\0\0\x8c\x13numpy._core.numeric\x94\x8c\x0b_frombuffer\x94\x93\x94(\x96\x18\0\0\0\0\0\0\0\0\0\x80?\0\0\x80@\0\0\0@\0\0\xa0@\0\0@@\0\0\xc0@\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02f4\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94bK\x02K\x03\x86\x94\x8c\x01F\x94t\x94R\x94.", [1, 2]),
    ];

    fn read(bytes: &[u8]) -> Result<Option<Rebuilt>, String> {
        let pickle = Pickle::read(&mut Cursor::new(bytes)).unwrap();
        let Value::Call(call) = pickle.get(pickle.root) else { panic!("a call") };
        rebuilt(&pickle, call)
    }

    fn values(array: &Array, file: &[u8]) -> Vec<f32> {
        let Span { start, bytes } = array.span;
        let content = file[start as usize..(start + bytes) as usize].to_vec();
        let content = match array.spelling {
            Spelling::Plain => content,
            Spelling::Latin1 => of_latin1(content).unwrap(),
        };
        content.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
    }

    #[test]
    fn every_protocol_and_order_of_numpy_is_read() {
        for (file, strides) in OF_NUMPY {
            let Ok(Some(Rebuilt::Array(array))) = read(file) else { panic!("{file:?}") };
            assert_eq!((array.number, &array.shape[..], &array.strides[..]), (Number::F32, &[2, 3][..], &strides[..]));
            let values = values(&array, file);
            for (place, expected) in (0..6).zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
                assert_eq!(values[place / 3 * strides[0] + place % 3 * strides[1]], expected, "{file:?}");
            }
        }
    }

    #[test]
    fn numpy_before_2_had_another_name_for_its_core() {
        let (file, _) = OF_NUMPY[0];
        let underscore = file.windows(6).position(|part| part == b"._core").unwrap() + 1;
        let older = [&file[..underscore], &file[underscore + 1..]].concat();
        let Ok(Some(Rebuilt::Array(array))) = read(&older) else { panic!("no array") };
        assert_eq!(values(&array, &older), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn what_holds_no_numbers_in_our_order_of_bytes_is_told_from_what_is_damaged() {
        // Of float64 in the other order, of objects, of texts.
        let unread: [&[u8]; 3] = [
            b"\x80\x04\x95\xbb\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02K\x03\x86\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01>\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94b\x89C0?\xf0\0\0\0\0\0\0@\0\0\0\0\0\0\0@\x08\0\0\0\0\0\0@\x10\0\0\0\0\0\0@\x14\0\0\0\0\0\0@\x18\0\0\0\0\0\0\x94t\x94b.",
            b"\x80\x04\x95\x8a\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x01\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02O8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t\x94b\x89]\x94Nat\x94b.",
            b"\x80\x04\x95\x87\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x01\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02U1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNK\x04K\x04K\x08t\x94b\x89C\x04a\0\0\0\x94t\x94b.",
        ];
        for file in unread {
            assert_eq!(read(file), Ok(Some(Rebuilt::Unread)), "{file:?}");
        }
        // Another shape than the bytes are of.
        for (file, _) in OF_NUMPY {
            let mut file = file.to_vec();
            let shape = file.windows(4).rposition(|part| part == b"K\x02K\x03").unwrap();
            file[shape + 3] = 200;
            assert!(read(&file).unwrap_err().contains("an array of shape [2, 200] in 2"), "{file:?}");
        }
        assert_eq!(of_latin1("\u{ff}\0".into()), Some(vec![255, 0]));
        assert_eq!(of_latin1("\u{100}".into()), None);
        assert_eq!(of_latin1(vec![0xc3]), None);
    }

    #[test]
    fn haikus_axes_become_pytorchs() {
        let ordered = |name: &str, shape: &[usize]| {
            let Ok(Some(Rebuilt::Array(mut array))) = read(OF_NUMPY[1].0) else { panic!("an array") };
            array.shape = shape.to_vec();
            array.strides = (1..=shape.len()).collect();
            in_torch_order(name, &mut array);
            (array.shape, array.strides)
        };
        assert_eq!(ordered("a.conv_0.w", &[7, 5, 3, 2]), (vec![2, 3, 7, 5], vec![4, 3, 1, 2]));
        assert_eq!(ordered("a.linear.w", &[3, 2]), (vec![2, 3], vec![2, 1]));
        assert_eq!(ordered("a.batchnorm_0.scale", &[1, 1, 1, 4]), (vec![4], vec![4]));
        assert_eq!(ordered("a.mean_ema.average", &[4]), (vec![4], vec![1]));
        assert_eq!(ordered("a.average", &[2, 4]), (vec![2, 4], vec![1, 2]));
        assert_eq!(ordered("conv1.weight", &[7, 5, 3, 2]), (vec![7, 5, 3, 2], vec![1, 2, 3, 4]));
    }
}
