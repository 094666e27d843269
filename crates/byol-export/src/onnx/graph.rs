//! A graph under construction: each operation gives the name of its result.

use std::collections::BTreeMap;

use burn::tensor::f16;

use super::messages::{Attribute, DataType, GraphMessage, Node, TensorMessage, ValueInfo};
use crate::Number;

/// Operations in the order they run, and the tensors they take.
pub struct Graph {
    nodes: Vec<Node>,
    /// By name, so that equal constants stand once.
    tensors: BTreeMap<String, TensorMessage>,
    /// Type of weights in the file.
    weights: Number,
    /// Results so far, which are numbered where nobody names them.
    results: usize,
}

impl Graph {
    /// An empty one, whose large tensors are of type `weights`.
    pub fn new(weights: Number) -> Self {
        Self { nodes: Vec::new(), tensors: BTreeMap::new(), weights, results: 0 }
    }

    /// The result of `op` with one output; its number names it.
    pub fn op(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        self.results += 1;
        self.named(&format!("{}_{}", op.to_lowercase(), self.results), op, inputs, attributes)
    }

    /// The result of `op` under the given name.
    pub fn named(&mut self, name: &str, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            // Some runtimes look for values and operations under one roof.
            name: format!("{name}.{}", op.to_lowercase()),
            op_type: op.to_owned(),
            attribute: attributes,
        });
        name.to_owned()
    }

    /// A value turned into another type.
    pub fn cast(&mut self, value: &str, to: DataType) -> String {
        self.op("Cast", &[value], vec![Attribute::int("to", to as i64)])
    }

    /// A weight: in the file of the type of weights, in computations always `f32`.
    pub fn weight(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        match self.weights {
            Number::F32 => self.floats(name, shape, values),
            Number::F16 => {
                let stored = format!("{name}.f16");
                let bytes = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
                self.tensor(&stored, DataType::F16, shape, bytes);
                self.named(name, "Cast", &[&stored], vec![Attribute::int("to", DataType::F32 as i64)])
            }
        }
    }

    /// Numbers that are small in number or must be exact.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.tensor(name, DataType::F32, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// Whole numbers: a list, or with no axis one number.
    pub fn ints(&mut self, shape: &[usize], values: &[i64]) -> String {
        let words: Vec<String> = values.iter().take(8).map(i64::to_string).collect();
        let name = format!("int{}_{}x{}", shape.len(), words.join("_").replace('-', "minus"), values.len());
        self.tensor(&name, DataType::I64, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// One whole number.
    pub fn int(&mut self, value: i64) -> String {
        self.ints(&[], &[value])
    }

    /// One number.
    pub fn float(&mut self, value: f32) -> String {
        self.floats(&format!("float_{value:e}").replace('-', "minus"), &[], &[value])
    }

    fn tensor(&mut self, name: &str, kind: DataType, shape: &[usize], raw_data: Vec<u8>) -> String {
        let dims = shape.iter().map(|&side| side as i64).collect();
        let tensor = TensorMessage { dims, data_type: Some(kind as i32), name: name.to_owned(), raw_data };
        self.tensors.insert(name.to_owned(), tensor);
        name.to_owned()
    }

    /// The whole graph.
    pub fn finish(self, name: &str, input: ValueInfo, output: Vec<ValueInfo>) -> GraphMessage {
        let initializer = self.tensors.into_values().collect();
        GraphMessage { node: self.nodes, name: name.to_owned(), initializer, input: vec![input], output }
    }
}
