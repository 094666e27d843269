//! Objects that hold several others in a row, and what their places are called: named tuples.

use super::pickle::{Call, Id, Pickle, Value};

/// The states that BYOL's reference saves (`byol_experiment.py`, `eval_experiment.py`). A pickle names the class of a tuple, not its fields.
const OF_REFERENCE: [(&str, [&str; 5]); 2] = [
    ("_ByolExperimentState", ["online_params", "target_params", "online_state", "target_state", "opt_state"]),
    (
        "_EvalExperimentState",
        ["backbone_params", "classif_params", "backbone_state", "backbone_opt_state", "classif_opt_state"],
    ),
];

/// What the arguments of `call` are called in the object that it gives: by the fields of a named tuple, as far as they are known, else by
/// their places. None if at most one of them holds others, as in `OrderedDict([…])`.
pub(super) fn fields(pickle: &Pickle, call: &Call) -> Option<Vec<String>> {
    if let Some(class) = pickle.global(call.class).and_then(|class| class.rsplit('.').next())
        && let Some((_, fields)) = OF_REFERENCE.iter().find(|(name, _)| *name == class)
    {
        return Some(fields.map(str::to_owned).to_vec());
    }
    if let Value::Call(class) = pickle.get(call.class)
        && let Some(fields) = of_dill(pickle, class)
    {
        return Some(fields);
    }
    let holds = |&&id: &&Id| matches!(pickle.get(id), Value::Dict(_) | Value::Call(_));
    let is_row = call.arguments.iter().filter(holds).count() > 1;
    is_row.then(|| (0..call.arguments.len()).map(|place| place.to_string()).collect())
}

/// `_create_namedtuple(name, fields, module, …)`, by which dill pickles the class.
fn of_dill(pickle: &Pickle, class: &Call) -> Option<Vec<String>> {
    let function = pickle.global(class.class)?;
    if !(function.starts_with("dill.") && function.ends_with("._create_namedtuple")) {
        return None;
    }
    let fields = pickle.sequence(*class.arguments.get(1)?)?;
    fields.iter().map(|&field| pickle.text(field).map(str::to_owned)).collect()
}
