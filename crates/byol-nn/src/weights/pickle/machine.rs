//! The stack machine that a pickle is a program for.

use std::collections::HashMap;
use std::io::{BufRead, Seek};

use super::source::Source;
use super::{Call, Id, Pickle, Span, Value};

/// Most values of one pickle; that of a ResNet-200 with its optimiser has a tenth of a million.
const MAX_VALUES: usize = 1 << 21;

/// Longest text that may be a name or a key; longer ones are not kept.
const MAX_TEXT_BYTES: u64 = 4096;

/// Reads a pickle, opcode by opcode.
pub(super) struct Machine<'a, R> {
    source: Source<'a, R>,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at every open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    spans: HashMap<Id, Span>,
}

impl<'a, R: BufRead + Seek> Machine<'a, R> {
    pub fn new(source: &'a mut R) -> Self {
        let (memo, spans) = (HashMap::new(), HashMap::new());
        let source = Source(source);
        Self { source, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo, spans }
    }

    /// All values, and which of them the pickle is.
    pub fn run(mut self) -> Result<Pickle, String> {
        while self.step()? {}
        let root = self.pop()?;
        Ok(Pickle { values: self.values, spans: self.spans, root })
    }

    /// Obeys one opcode; false at the last.
    fn step(&mut self) -> Result<bool, String> {
        match self.source.byte()? {
            b'.' => return Ok(false),
            0x80 => match self.source.byte()? {
                0..=5 => {}
                version => return Err(format!("pickle protocol {version}, expected 0 to 5")),
            },
            // The length of a frame, which only matters to who reads ahead.
            0x95 => drop(self.source.bytes::<8>()?),
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'I' => {
                let value = match self.source.line()?.as_str() {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    digits => digits.parse().map_or(Value::Other, Value::Int),
                };
                self.push(value)?;
            }
            b'L' => {
                let value = self.source.line()?.trim_end_matches('L').parse().map_or(Value::Other, Value::Int);
                self.push(value)?;
            }
            b'J' => {
                let number = i32::from_le_bytes(self.source.bytes()?);
                self.push(Value::Int(number.into()))?;
            }
            b'K' => {
                let number = self.source.byte()?;
                self.push(Value::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.source.bytes()?);
                self.push(Value::Int(number.into()))?;
            }
            op @ (0x8a | 0x8b) => {
                let length = if op == 0x8a { self.source.byte()?.into() } else { self.source.u32()?.into() };
                let digits = self.source.content(length)?;
                self.push(whole(&digits).map_or(Value::Other, Value::Int))?;
            }
            b'F' => {
                self.source.line()?;
                self.push(Value::Other)?;
            }
            b'G' => {
                self.source.bytes::<8>()?;
                self.push(Value::Other)?;
            }
            // Text of Python 3; of Python 2, where keys are ASCII; as a line.
            op @ (b'X' | 0x8c | 0x8d | b'U' | b'T') => {
                let length = match op {
                    0x8c | b'U' => self.source.byte()?.into(),
                    0x8d => u64::from_le_bytes(self.source.bytes()?),
                    _ => self.source.u32()?.into(),
                };
                let start = self.source.position()?;
                let text = if length > MAX_TEXT_BYTES {
                    self.source.skip(length)?;
                    Value::Other
                } else {
                    Value::Text(String::from_utf8_lossy(&self.source.content(length)?).into())
                };
                self.push_found(text, Span { start, bytes: length })?;
            }
            b'V' => {
                let text = unescaped(&self.source.line_bytes()?);
                self.push(Value::Text(text.into()))?;
            }
            b'S' => {
                let text = self.source.line()?;
                self.push(Value::Text(text.trim_matches(['\'', '"']).into()))?;
            }
            op @ (b'C' | b'B' | 0x8e | 0x96) => {
                let length = match op {
                    b'C' => self.source.byte()?.into(),
                    b'B' => self.source.u32()?.into(),
                    _ => u64::from_le_bytes(self.source.bytes()?),
                };
                let start = self.source.position()?;
                self.source.skip(length)?;
                self.push_found(Value::Other, Span { start, bytes: length })?;
            }
            op => self.obey(op)?,
        }
        Ok(true)
    }

    /// The opcodes that work on the stack.
    fn obey(&mut self, op: u8) -> Result<(), String> {
        match op {
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b']' | 0x8f => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..op {
                    items.insert(0, self.pop()?);
                }
                self.push(Value::Tuple(items))?;
            }
            b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'd' => {
                let pairs = in_pairs(&self.pop_to_mark()?)?;
                self.push(Value::Dict(pairs))?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = in_pairs(&self.pop_to_mark()?)?;
                self.set(pairs)?;
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'g' | b'h' | b'j' => {
                let place = self.memo_place(op, [b'g', b'h'])?;
                let id = *self.memo.get(&place).ok_or_else(|| format!("value {place} is used before it is there"))?;
                self.stack.push(id);
            }
            b'p' | b'q' | b'r' => {
                let place = self.memo_place(op, [b'p', b'q'])?;
                let top = self.top()?;
                self.memo.insert(place, top);
            }
            0x94 => {
                let top = self.top()?;
                self.memo.insert(self.memo.len() as u32, top);
            }
            b'c' => {
                let name = format!("{}.{}", self.source.line()?, self.source.line()?);
                self.push(Value::Global(name.into()))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = match (&self.values[module as usize], &self.values[name as usize]) {
                    (Value::Text(module), Value::Text(name)) => format!("{module}.{name}"),
                    _ => return Err("a class whose name is no text".to_owned()),
                };
                self.push(Value::Global(name.into()))?;
            }
            b'P' => {
                let name = self.source.line()?;
                self.push(Value::Text(name.into()))?;
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            b'R' | 0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, self.spread(arguments))?;
            }
            0x92 => {
                let (keywords, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                let arguments = [self.spread(arguments), vec![keywords]].concat();
                self.call(class, arguments)?;
            }
            b'i' => {
                let name = format!("{}.{}", self.source.line()?, self.source.line()?);
                let arguments = self.pop_to_mark()?;
                self.push(Value::Global(name.into()))?;
                let class = self.pop()?;
                self.call(class, arguments)?;
            }
            b'o' => {
                let mut arguments = self.pop_to_mark()?;
                if arguments.is_empty() {
                    return Err("an object without a class".to_owned());
                }
                let class = arguments.remove(0);
                self.call(class, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let top = self.top()?;
                if let Value::Call(call) = &mut self.values[top as usize] {
                    call.states.push(state);
                }
            }
            other => return Err(format!("byte {other:#04x} where a pickle has an opcode")),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.values.len() >= MAX_VALUES {
            return Err(format!("a pickle of more than {MAX_VALUES} values"));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    /// A value whose content stands at `span`.
    fn push_found(&mut self, value: Value, span: Span) -> Result<(), String> {
        self.spans.insert(self.values.len() as Id, span);
        self.push(value)
    }

    fn call(&mut self, class: Id, arguments: Vec<Id>) -> Result<(), String> {
        let call = Call { class, arguments, items: Vec::new(), pairs: Vec::new(), states: Vec::new() };
        self.push(Value::Call(Box::new(call)))
    }

    /// The arguments of a call, which come as a tuple.
    fn spread(&self, arguments: Id) -> Vec<Id> {
        match &self.values[arguments as usize] {
            Value::Tuple(items) => items.clone(),
            _ => vec![arguments],
        }
    }

    fn top(&self) -> Result<Id, String> {
        match self.stack.last() {
            Some(&top) if self.marks.last().is_none_or(|&mark| mark < self.stack.len()) => Ok(top),
            _ => Err("an empty stack".to_owned()),
        }
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a list without its mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, more: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top as usize] {
            Value::List(items) => items.extend(more),
            Value::Call(call) => call.items.extend(more),
            _ => return Err("something appended to what is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, more: Vec<(Id, Id)>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top as usize] {
            Value::Dict(pairs) => pairs.extend(more),
            Value::Call(call) => call.pairs.extend(more),
            _ => return Err("a key set in what is no dictionary".to_owned()),
        }
        Ok(())
    }

    /// The number after an opcode of the memo, of which those that spell it as a line and as a byte are `[line, byte]`.
    fn memo_place(&mut self, op: u8, [line, byte]: [u8; 2]) -> Result<u32, String> {
        if op == line {
            let digits = self.source.line()?;
            digits.parse().map_err(|_| format!("{digits:?} where a number belongs"))
        } else if op == byte {
            Ok(self.source.byte()?.into())
        } else {
            self.source.u32()
        }
    }
}

/// Python's `raw-unicode-escape`: Latin-1, and `\uXXXX` for the rest.
fn unescaped(line: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(&first) = rest.first() {
        let (length, next) = escape(rest).unwrap_or((1, char::from(first)));
        text.push(next);
        rest = &rest[length..];
    }
    text
}

/// The length of an escape at the beginning, and what it stands for.
fn escape(line: &[u8]) -> Option<(usize, char)> {
    let digits = match line.get(..2)? {
        b"\\u" => 4,
        b"\\U" => 8,
        _ => return None,
    };
    let number = std::str::from_utf8(line.get(2..2 + digits)?).ok()?;
    Some((2 + digits, char::from_u32(u32::from_str_radix(number, 16).ok()?)?))
}

/// A number in two's complement, if 64 bits hold it.
fn whole(digits: &[u8]) -> Option<i64> {
    let sign = if digits.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut bytes = [sign; 8];
    bytes.get_mut(..digits.len())?.copy_from_slice(digits);
    Some(i64::from_le_bytes(bytes))
}

fn in_pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("a key without a value".to_owned()),
    }
}
