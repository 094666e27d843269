//! Python's pickles as values: a stack machine that calls nothing. What a pickle would call is kept as a [`Call`], for
//! [`super::objects`] to know or to pass by, so a `defaultdict`, a `deque` or an object of any program is no obstacle.
//!
//! A value that a pickle names twice is one value here, too, so reading takes time and memory in proportion to the pickle.

mod machine;
mod source;

use std::collections::HashMap;
use std::io::{BufRead, Seek};

use machine::Machine;

/// Place of a value in its [`Pickle`].
pub(super) type Id = u32;

/// One value.
#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    /// A class or function, `module.name`.
    Global(Box<str>),
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// What the file keeps outside of the pickle.
    Persistent(Id),
    Call(Box<Call>),
    /// Floats and numbers above 64 bits, which no state dict needs; bytes and texts too long for a name, of which
    /// [`Pickle::span`] says where they stand.
    Other,
}

/// Where the content of a text or of bytes stands in the file that the pickle was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub start: u64,
    pub bytes: u64,
}

/// What calling `class` would give, and what was done to it afterwards.
#[derive(Debug)]
pub(super) struct Call {
    pub class: Id,
    pub arguments: Vec<Id>,
    /// Appended to it.
    pub items: Vec<Id>,
    /// Set in it by key.
    pub pairs: Vec<(Id, Id)>,
    /// Its attributes, or what it makes them from.
    pub states: Vec<Id>,
}

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    spans: HashMap<Id, Span>,
    pub root: Id,
}

impl Pickle {
    /// Reads one pickle of protocol 0 to 5, and no byte after it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(source: &mut (impl BufRead + Seek)) -> Result<Self, String> {
        Machine::new(source).run()
    }

    pub fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Of a text that a protocol above 0 wrote, or of bytes.
    pub fn span(&self, id: Id) -> Option<Span> {
        self.spans.get(&id).copied()
    }

    pub fn global(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Global(name) => Some(name),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub fn count(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The elements of a tuple or list.
    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value under `key` of a dictionary, or of a call that gives one.
    pub fn at(&self, id: Id, key: &str) -> Option<Id> {
        let pairs = match self.get(id) {
            Value::Dict(pairs) => pairs,
            Value::Call(call) => &call.pairs,
            _ => return None,
        };
        pairs.iter().rev().find(|&&(name, _)| self.text(name) == Some(key)).map(|&(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// `{'a': [1, (2, None), True], 'b': -300, 'c': 2**40, 'd': {'x': 'é'}, 'e': b'yz'}` as Python's `pickle.dumps` writes it
    /// by protocols 0 to 5.
    const OF_PYTHON: [&[u8]; 6] = [
        b"(dp0\x0aVa\x0ap1\x0a(lp2\x0aI1\x0aa(I2\x0aNtp3\x0aaI01\x0aasVb\x0ap4\x0aI-300\x0asVc\x0ap5\x0aL1099511627776L\x0asVd\x0ap6\x0a(dp7\x0aVx\x0ap8\x0aV\xe9\x0ap9\x0assVe\x0ap10\x0ac_codecs\x0aencode\x0ap11\x0a(Vyz\x0ap12\x0aVlatin1\x0ap13\x0atp14\x0aRp15\x0as.",
        b"}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01(K\x02Ntq\x03I01\x0aeX\x01\x00\x00\x00bq\x04J\xd4\xfe\xff\xffX\x01\x00\x00\x00cq\x05L1099511627776L\x0aX\x01\x00\x00\x00dq\x06}q\x07X\x01\x00\x00\x00xq\x08X\x02\x00\x00\x00\xc3\xa9q\x09sX\x01\x00\x00\x00eq\x0ac_codecs\x0aencode\x0aq\x0b(X\x02\x00\x00\x00yzq\x0cX\x06\x00\x00\x00latin1q\x0dtq\x0eRq\x0fu.",
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02N\x86q\x03\x88eX\x01\x00\x00\x00bq\x04J\xd4\xfe\xff\xffX\x01\x00\x00\x00cq\x05\x8a\x06\x00\x00\x00\x00\x00\x01X\x01\x00\x00\x00dq\x06}q\x07X\x01\x00\x00\x00xq\x08X\x02\x00\x00\x00\xc3\xa9q\x09sX\x01\x00\x00\x00eq\x0ac_codecs\x0aencode\x0aq\x0bX\x02\x00\x00\x00yzq\x0cX\x06\x00\x00\x00latin1q\x0d\x86q\x0eRq\x0fu.",
        b"\x80\x03}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02N\x86q\x03\x88eX\x01\x00\x00\x00bq\x04J\xd4\xfe\xff\xffX\x01\x00\x00\x00cq\x05\x8a\x06\x00\x00\x00\x00\x00\x01X\x01\x00\x00\x00dq\x06}q\x07X\x01\x00\x00\x00xq\x08X\x02\x00\x00\x00\xc3\xa9q\x09sX\x01\x00\x00\x00eq\x0aC\x02yzq\x0bu.",
        b"\x80\x04\x95C\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01K\x02N\x86\x94\x88e\x8c\x01b\x94J\xd4\xfe\xff\xff\x8c\x01c\x94\x8a\x06\x00\x00\x00\x00\x00\x01\x8c\x01d\x94}\x94\x8c\x01x\x94\x8c\x02\xc3\xa9\x94s\x8c\x01e\x94C\x02yz\x94u.",
        b"\x80\x05\x95C\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01K\x02N\x86\x94\x88e\x8c\x01b\x94J\xd4\xfe\xff\xff\x8c\x01c\x94\x8a\x06\x00\x00\x00\x00\x00\x01\x8c\x01d\x94}\x94\x8c\x01x\x94\x8c\x02\xc3\xa9\x94s\x8c\x01e\x94C\x02yz\x94u.",
    ];

    #[test]
    fn every_protocol_gives_the_same_values() {
        for (protocol, bytes) in OF_PYTHON.into_iter().enumerate() {
            let mut source = Cursor::new(bytes);
            let pickle = Pickle::read(&mut source).unwrap_or_else(|error| panic!("{protocol}: {error}"));
            let at = |key| pickle.at(pickle.root, key).unwrap();
            let &[one, pair, truth] = pickle.sequence(at("a")).unwrap() else { panic!("three items") };
            assert_eq!(pickle.count(one), Some(1));
            assert!(matches!(pickle.get(truth), Value::Bool(true)));
            let &[two, none] = pickle.sequence(pair).unwrap() else { panic!("two items") };
            assert!(pickle.count(two) == Some(2) && matches!(pickle.get(none), Value::None));
            assert!(matches!(pickle.get(at("b")), Value::Int(-300)));
            assert_eq!(pickle.count(at("c")), Some(1 << 40));
            assert_eq!(pickle.at(at("d"), "x").and_then(|id| pickle.text(id)).map(str::len), Some(2));
            assert!(pickle.at(pickle.root, "e").is_some(), "{protocol}");
            assert_eq!(source.position(), bytes.len() as u64, "{protocol}");
        }
    }

    #[test]
    fn a_pickle_cut_short_anywhere_is_an_error() {
        for whole in OF_PYTHON {
            for end in 0..whole.len() {
                assert!(Pickle::read(&mut Cursor::new(&whole[..end])).is_err(), "{end} of {}", whole.len());
            }
        }
    }

    #[test]
    fn a_long_text_and_bytes_are_passed_over_and_can_be_found_again() {
        // `{'a': 'xx…', 'b': b'yz'}`.
        let long = 100_000u32;
        let text = [&b"X"[..], &long.to_le_bytes(), &vec![b'x'; long as usize]].concat();
        let whole = [&b"\x80\x03}(X\x01\0\0\0a"[..], &text, b"X\x01\0\0\0bC\x02yzu."].concat();
        let pickle = Pickle::read(&mut Cursor::new(&whole)).unwrap();
        for (key, content) in [("a", &text[5..]), ("b", b"yz")] {
            let id = pickle.at(pickle.root, key).unwrap();
            assert!(matches!(pickle.get(id), Value::Other), "{key}");
            let Span { start, bytes } = pickle.span(id).unwrap();
            assert_eq!(&whole[start as usize..(start + bytes) as usize], content, "{key}");
        }
        for end in [20, 50_000, whole.len() - 12, whole.len() - 1] {
            assert!(Pickle::read(&mut Cursor::new(&whole[..end])).is_err(), "{end}");
        }
        let endless = [&b"\x80\x04\x8e"[..], &u64::MAX.to_le_bytes(), b"."].concat();
        assert!(Pickle::read(&mut Cursor::new(endless)).unwrap_err().contains("cut short"));
    }
}
