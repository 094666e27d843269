//! The tensors in a pickle, by name: those of dictionaries of any class, of modules under the names their state
//! dict gives them, and of the attributes of other objects.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Number;
use super::arrays::{self, Array};
use super::named_tuples;
use super::pickle::{Call, Id, Pickle, Value};

/// Deepest nesting that is followed; what is below, as at the end of a chain of objects, are no weights of a network.
const MAX_DEPTH: usize = 200;

/// Most values that are looked at; one under several names counts under each.
const MAX_VISITS: usize = 1 << 20;

/// Where the values of a tensor stand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strided {
    /// Key of the storage.
    pub storage: String,
    pub number: Number,
    /// First value, and steps along the axes, in values.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub tensors: BTreeMap<String, Strided>,
    /// Arrays of NumPy and JAX, with PyTorch's order of axes where Haiku has another.
    pub arrays: BTreeMap<String, Array>,
    /// Classes of tensors that are in none of the forms above.
    pub unread: BTreeSet<String>,
}

/// All tensors of `pickle`; `outside` are those that it names by persistent id itself, as the tar form does.
///
/// # Errors
/// Why they cannot be found.
pub(super) fn tensors(pickle: &Pickle, outside: &HashMap<String, Strided>) -> Result<Found, String> {
    let mut walk =
        Walk { pickle, outside, found: Found::default(), path: Vec::new(), entered: HashSet::new(), visits: 0 };
    walk.visit(pickle.root, "")?;
    Ok(walk.found)
}

/// The class of the outermost object, for a person.
pub(super) fn class(pickle: &Pickle) -> String {
    match pickle.get(pickle.root) {
        Value::Call(call) => pickle.global(call.class).unwrap_or("an object").to_owned(),
        Value::Dict(_) => "a dictionary".to_owned(),
        Value::List(_) | Value::Tuple(_) => "a list".to_owned(),
        Value::Text(_) => "a text".to_owned(),
        Value::Global(name) => name.to_string(),
        _ => "a number".to_owned(),
    }
}

/// Key, type if it has one, and number of values of each storage that `pickle` names.
pub(super) fn storages(pickle: &Pickle) -> HashMap<String, (Option<Number>, usize)> {
    let named = |value: &Value| match value {
        Value::Persistent(id) => storage(pickle, *id).map(|storage| (storage.key, (storage.number, storage.values))),
        _ => None,
    };
    pickle.values().filter_map(named).collect()
}

struct Storage {
    key: String,
    number: Option<Number>,
    values: usize,
    /// Where a view of it begins.
    offset: usize,
}

/// `('storage', class, key, device, count[, (view, offset, count) or None])`.
fn storage(pickle: &Pickle, id: Id) -> Option<Storage> {
    let (&[tag, class, key, _, values], rest) = pickle.sequence(id)?.split_first_chunk()?;
    if pickle.text(tag)? != "storage" {
        return None;
    }
    let view = rest.first().and_then(|&view| pickle.sequence(view));
    let offset = match view {
        Some(&[_, offset, _]) => pickle.count(offset)?,
        _ => 0,
    };
    let class = pickle.global(class)?.rsplit('.').next()?;
    Some(Storage { key: key_text(pickle, key)?, number: of_storage(class), values: pickle.count(values)?, offset })
}

/// A key, which is a text or a number.
pub(super) fn key_text(pickle: &Pickle, id: Id) -> Option<String> {
    match pickle.get(id) {
        Value::Text(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Of `FloatStorage` and the like; none for storages without a type.
pub(super) fn of_storage(class: &str) -> Option<Number> {
    Some(match class {
        "DoubleStorage" => Number::F64,
        "FloatStorage" => Number::F32,
        "HalfStorage" => Number::F16,
        "BFloat16Storage" => Number::Bf16,
        "ComplexDoubleStorage" => Number::Other(16),
        "ComplexFloatStorage" | "LongStorage" => Number::Other(8),
        "IntStorage" | "QInt32Storage" => Number::Other(4),
        "ShortStorage" => Number::Other(2),
        "CharStorage" | "ByteStorage" | "BoolStorage" | "QInt8Storage" | "QUInt8Storage" => Number::Other(1),
        _ => return None,
    })
}

/// Of `torch.float16` and the like.
fn of_dtype(name: &str) -> Option<Number> {
    Some(match name.strip_prefix("torch.")? {
        "float64" | "double" => Number::F64,
        "float32" | "float" => Number::F32,
        "float16" | "half" => Number::F16,
        "bfloat16" => Number::Bf16,
        "complex128" => Number::Other(16),
        "int64" | "long" | "uint64" | "complex64" => Number::Other(8),
        "int32" | "int" | "uint32" | "complex32" => Number::Other(4),
        "int16" | "short" | "uint16" => Number::Other(2),
        "int8" | "uint8" | "bool" => Number::Other(1),
        name if name.starts_with("float8") => Number::Other(1),
        _ => return None,
    })
}

struct Walk<'a> {
    pickle: &'a Pickle,
    outside: &'a HashMap<String, Strided>,
    found: Found,
    /// The values that hold the present one, so that what holds itself is entered once.
    path: Vec<Id>,
    /// Objects whose attributes were followed, which is done once: those of a program may all know each other.
    entered: HashSet<Id>,
    visits: usize,
}

impl Walk<'_> {
    fn visit(&mut self, id: Id, name: &str) -> Result<(), String> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(format!("more than {MAX_VISITS} values, or some that hold each other many times over"));
        }
        if self.path.len() >= MAX_DEPTH || self.path.contains(&id) {
            return Ok(());
        }
        self.path.push(id);
        let pickle = self.pickle;
        match pickle.get(id) {
            Value::Dict(pairs) => self.visit_pairs(pairs, name)?,
            Value::List(items) | Value::Tuple(items) => self.visit_items(items, name)?,
            Value::Call(call) => self.visit_call(id, call, name)?,
            Value::Persistent(key) => {
                if let Some(tensor) = pickle.text(*key).and_then(|key| self.outside.get(key)) {
                    self.found.tensors.insert(name.to_owned(), tensor.clone());
                }
            }
            _ => {}
        }
        self.path.pop();
        Ok(())
    }

    fn visit_pairs(&mut self, pairs: &[(Id, Id)], name: &str) -> Result<(), String> {
        for &(key, value) in pairs {
            if let Some(key) = key_text(self.pickle, key) {
                self.visit(value, &joined(name, &key))?;
            }
        }
        Ok(())
    }

    fn visit_items(&mut self, items: &[Id], name: &str) -> Result<(), String> {
        for (place, &item) in items.iter().enumerate() {
            if matches!(self.pickle.get(item), Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Call(_)) {
                self.visit(item, &joined(name, &place.to_string()))?;
            }
        }
        Ok(())
    }

    fn visit_call(&mut self, id: Id, call: &Call, name: &str) -> Result<(), String> {
        let pickle = self.pickle;
        let class = pickle.global(call.class).unwrap_or_default();
        if let Some(rebuilt) = rebuilds(class) {
            match rebuilt {
                Rebuilt::Tensor(form) => match self.tensor(form, &call.arguments) {
                    Some(tensor) => drop(self.found.tensors.insert(name.to_owned(), tensor)),
                    None => drop(self.found.unread.insert(class.to_owned())),
                },
                Rebuilt::Parameter => {
                    if let Some(&data) = call.arguments.first() {
                        self.visit(data, name)?;
                    }
                }
                // `(function, class, arguments, attributes)` of a class above `torch.Tensor`.
                Rebuilt::Subclass => {
                    let tensor = match call.arguments[..] {
                        [function, _, arguments, ..] => {
                            let form = pickle.global(function).and_then(rebuilds);
                            match (form, pickle.sequence(arguments)) {
                                (Some(Rebuilt::Tensor(form)), Some(arguments)) => self.tensor(form, arguments),
                                _ => None,
                            }
                        }
                        _ => None,
                    };
                    match tensor {
                        Some(tensor) => drop(self.found.tensors.insert(name.to_owned(), tensor)),
                        None => drop(self.found.unread.insert(class.to_owned())),
                    }
                }
                Rebuilt::Unread => drop(self.found.unread.insert(class.to_owned())),
            }
            return Ok(());
        }
        match arrays::rebuilt(pickle, call)? {
            Some(arrays::Rebuilt::Array(mut array)) => {
                arrays::in_torch_order(name, &mut array);
                self.found.arrays.insert(name.to_owned(), array);
                return Ok(());
            }
            Some(arrays::Rebuilt::Unread) => {
                self.found.unread.insert(class.to_owned());
                return Ok(());
            }
            None => {}
        }
        if let Some(fields) = named_tuples::fields(pickle, call) {
            for (field, &value) in fields.iter().zip(&call.arguments) {
                self.visit(value, &joined(name, field))?;
            }
            return Ok(());
        }
        // `OrderedDict([(key, value), …])` as Python 2 wrote it, `Counter({…})`, Haiku's `FlatMapping({…})`.
        for &argument in &call.arguments {
            match pickle.get(argument) {
                Value::Dict(pairs) => self.visit_pairs(pairs, name)?,
                Value::List(items) if class.ends_with("Dict") => {
                    let pair = |&item: &Id| match pickle.sequence(item) {
                        Some(&[key, value]) => Some((key, value)),
                        _ => None,
                    };
                    let pairs: Vec<(Id, Id)> = items.iter().filter_map(pair).collect();
                    self.visit_pairs(&pairs, name)?;
                }
                _ => {}
            }
        }
        self.visit_pairs(&call.pairs, name)?;
        self.visit_items(&call.items, name)?;
        for &state in &call.states {
            if pickle.at(state, "_parameters").is_some() && pickle.at(state, "_modules").is_some() {
                self.visit_module(state, name)?;
            } else if self.entered.insert(id) {
                // Attributes, or a tuple of those in a dictionary and those in slots.
                let parts = match pickle.get(state) {
                    Value::Tuple(parts) => parts.clone(),
                    _ => vec![state],
                };
                for part in parts {
                    self.visit(part, name)?;
                }
            }
        }
        Ok(())
    }

    /// What `state_dict()` of a module would give.
    fn visit_module(&mut self, attributes: Id, name: &str) -> Result<(), String> {
        let pickle = self.pickle;
        let temporary: BTreeSet<&str> = match pickle.at(attributes, "_non_persistent_buffers_set") {
            Some(set) => {
                // Protocol 2 has no sets: `set([…])`.
                let names = match pickle.get(set) {
                    Value::Call(call) => call.arguments.first().and_then(|&list| pickle.sequence(list)),
                    _ => pickle.sequence(set),
                };
                names.unwrap_or_default().iter().filter_map(|&id| pickle.text(id)).collect()
            }
            None => BTreeSet::new(),
        };
        for table in ["_parameters", "_buffers", "_modules"] {
            let Some(entries) = pickle.at(attributes, table) else { continue };
            let pairs = match pickle.get(entries) {
                Value::Dict(pairs) => pairs.as_slice(),
                Value::Call(call) => &call.pairs,
                _ => &[],
            };
            for &(key, value) in pairs {
                match key_text(pickle, key) {
                    Some(key) if table != "_buffers" || !temporary.contains(key.as_str()) => {
                        self.visit(value, &joined(name, &key))?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// `(storage, offset, shape, strides, …)`; none if it is something else.
    fn tensor(&self, form: Form, arguments: &[Id]) -> Option<Strided> {
        let pickle = self.pickle;
        let (&[place, offset, shape, strides], rest) = arguments.split_first_chunk()?;
        let Value::Persistent(id) = pickle.get(place) else { return None };
        let storage = storage(pickle, *id)?;
        let number = match form {
            Form::OfStorage => storage.number?,
            // `(…, requires_grad, hooks, dtype)`.
            Form::OfDtype => of_dtype(pickle.global(*rest.get(2)?)?)?,
        };
        let counts = |id| pickle.sequence(id)?.iter().map(|&id| pickle.count(id)).collect::<Option<Vec<usize>>>();
        let (shape, strides) = (counts(shape)?, counts(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        let offset = pickle.count(offset)?.checked_add(storage.offset)?;
        Some(Strided { storage: storage.key, number, offset, shape, strides })
    }
}

/// What a function of PyTorch gives.
#[derive(Clone, Copy)]
enum Rebuilt {
    Tensor(Form),
    /// Its first argument.
    Parameter,
    Subclass,
    /// Values, in a form that is not read.
    Unread,
}

/// What says of which type the values of a tensor are.
#[derive(Clone, Copy)]
enum Form {
    OfStorage,
    OfDtype,
}

fn rebuilds(class: &str) -> Option<Rebuilt> {
    let (module, function) = class.rsplit_once('.')?;
    match (module, function) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Rebuilt::Tensor(Form::OfStorage)),
        ("torch._utils", "_rebuild_tensor_v3") => Some(Rebuilt::Tensor(Form::OfDtype)),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Some(Rebuilt::Parameter),
        ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => Some(Rebuilt::Subclass),
        ("torch._utils", function) if function.starts_with("_rebuild") => Some(Rebuilt::Unread),
        _ => None,
    }
}

fn joined(name: &str, key: &str) -> String {
    match name.is_empty() {
        true => key.to_owned(),
        false => format!("{name}.{key}"),
    }
}
