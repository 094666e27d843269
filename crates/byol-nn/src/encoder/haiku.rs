//! How Haiku names the parts of the ResNet of BYOL's reference: by module, parameters (`online_params`) and running statistics
//! (`online_state`) in trees of their own.
//!
//! ```text
//! online_params.res_net50/~/initial_conv.w
//! online_params.res_net50/~/block_group_0/~/block_0/~/batchnorm_0.scale
//! online_state.res_net50/~/block_group_0/~/block_0/~/batchnorm_0/~/mean_ema.average
//! ```

use std::collections::BTreeSet;

use crate::weights::StateDict;

/// Where the parts of one ResNet are.
#[derive(Debug)]
pub(super) struct Haiku {
    /// Before the module of a parameter, with a dot at the end.
    parameters: String,
    /// Before that of a running statistic.
    statistics: String,
    /// What all modules of the network begin with: `res_net50/~/`.
    module: String,
    conv: String,
    norm: String,
}

impl Haiku {
    /// What stands before all parameters, as a prefix of names.
    fn prefix(&self) -> String {
        match self.module.trim_end_matches(['/', '~']) {
            "" => self.parameters.clone(),
            module => format!("{}{module}.", self.parameters),
        }
    }

    /// The full name of a tensor that torchvision calls `name`.
    pub fn of(&self, name: &str) -> String {
        let Self { parameters, statistics, module, .. } = self;
        let (layer, value) = name.rsplit_once('.').unwrap_or((name, ""));
        let (layer, is_norm) = self.layer(layer);
        match value {
            "running_mean" => format!("{statistics}{module}{layer}/~/mean_ema.average"),
            "running_var" => format!("{statistics}{module}{layer}/~/var_ema.average"),
            "bias" => format!("{parameters}{module}{layer}.offset"),
            _ if is_norm => format!("{parameters}{module}{layer}.scale"),
            _ => format!("{parameters}{module}{layer}.w"),
        }
    }

    /// The module that torchvision calls `layer`, and whether it is a norm.
    fn layer(&self, layer: &str) -> (String, bool) {
        let parts: Vec<&str> = layer.split('.').collect();
        let (group, block, part) = match parts[..] {
            ["conv1"] => return (self.conv.clone(), false),
            ["bn1"] => return (self.norm.clone(), true),
            [group, block, ref part @ ..] => (group, block, part),
            _ => return (layer.to_owned(), false),
        };
        let place = |digits: &str| digits.parse::<usize>().ok()?.checked_sub(1);
        let group = group.strip_prefix("layer").and_then(place).unwrap_or_default();
        let (part, is_norm) = match *part {
            ["downsample", "0"] => ("shortcut_conv".to_owned(), false),
            ["downsample", _] => ("shortcut_batchnorm".to_owned(), true),
            [part] => match (part.strip_prefix("conv").and_then(place), part.strip_prefix("bn").and_then(place)) {
                (Some(place), _) => (format!("conv_{place}"), false),
                (_, Some(place)) => (format!("batchnorm_{place}"), true),
                _ => (part.to_owned(), false),
            },
            _ => (part.join("."), false),
        };
        (format!("block_group_{group}/~/block_{block}/~/{part}"), is_norm)
    }

    /// Numbers of the blocks that a group has names of.
    pub fn blocks<'a>(&'a self, dict: &'a StateDict, group: usize) -> impl Iterator<Item = usize> + 'a {
        let start = format!("{}{}block_group_{group}/~/block_", self.parameters, self.module);
        dict.names().filter_map(move |name| name.strip_prefix(&start)?.split('/').next()?.parse().ok())
    }

    /// Whether a tensor computes inside of the network, as opposed to the layer that follows it and what running statistics are made from.
    pub fn is_inside(&self, name: &str) -> bool {
        let is_count = name.ends_with("_ema.hidden") || name.ends_with("_ema.counter");
        let of = |tree: &str| name.strip_prefix(tree).and_then(|name| name.strip_prefix(&self.module));
        let inside = of(&self.parameters).or_else(|| of(&self.statistics));
        inside.is_some_and(|name| !is_count && !name.starts_with("logits."))
    }
}

/// Where one ResNet begins: what stands before the module, what the modules of the network begin with, the module.
type Start<'a> = (&'a str, &'a str, &'a str);

/// Every ResNet with parameters and running statistics, with its prefix; if there is none, what lacks them, in words.
pub(super) fn find(dict: &StateDict) -> (Vec<(String, Haiku)>, Vec<String>) {
    let starts = |ending: &'static str, module: &'static str| {
        let start = move |name| start(name, ending).filter(|(_, _, layer)| is_named(layer, module));
        dict.names().filter_map(start).collect::<Vec<Start>>()
    };
    let convs = starts(".w", "initial_conv");
    let norms = starts("/~/mean_ema.average", "initial_batchnorm");
    let pair = |&conv: &Start, norm: &Start| Haiku {
        parameters: conv.0.to_owned(),
        statistics: norm.0.to_owned(),
        module: conv.1.to_owned(),
        conv: conv.2.to_owned(),
        norm: norm.2.to_owned(),
    };
    let mut found: Vec<Haiku> = Vec::new();
    for conv in &convs {
        // In one tree, as after `merge`; or as the reference calls the two.
        let beside = [conv.0.to_owned(), swapped(conv.0)];
        let of = |tree: &String| norms.iter().find(|norm| norm.0 == tree && norm.1 == conv.1);
        found.extend(beside.iter().find_map(of).map(|norm| pair(conv, norm)));
    }
    // As in `(params, state, …)`: the optimiser's moments have the names of the parameters and come later or lie deeper.
    let trees: BTreeSet<&str> = norms.iter().map(|norm| norm.0).collect();
    if found.is_empty() && trees.len() == 1 {
        for norm in &norms {
            let of_norm = convs.iter().filter(|conv| conv.1 == norm.1);
            found.extend(of_norm.min_by_key(|conv| conv.0.matches('.').count()).map(|conv| pair(conv, norm)));
        }
    }
    let problems = match found.is_empty() {
        true => convs.iter().map(|conv| problem(dict, conv)).collect(),
        false => Vec::new(),
    };
    (found.into_iter().map(|haiku| (haiku.prefix(), haiku)).collect(), problems)
}

fn start<'a>(name: &'a str, ending: &str) -> Option<Start<'a>> {
    let path = name.strip_suffix(ending)?;
    let (tree, module) = path.split_at(path.rfind('.').map_or(0, |dot| dot + 1));
    let (network, layer) = module.split_at(module.rfind('/').map_or(0, |slash| slash + 1));
    Some((tree, network, layer))
}

/// Whether Haiku calls a module `name` so: the second one built is `name_1`, and the first need not be in the network.
fn is_named(module: &str, name: &str) -> bool {
    let number = |rest: &str| rest.strip_prefix('_').is_some_and(|number| number.parse::<usize>().is_ok());
    module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || number(rest))
}

/// `online_state.` of `online_params.`.
fn swapped(tree: &str) -> String {
    let path = tree.strip_suffix('.').unwrap_or(tree);
    let (before, last) = path.split_at(path.rfind('.').map_or(0, |dot| dot + 1));
    format!("{before}{}.", last.replace("params", "state"))
}

/// Why there is no network that begins with `conv`.
fn problem(dict: &StateDict, &(tree, network, _): &Start) -> String {
    let start = format!("{tree}{network}");
    let is_v2 =
        dict.names().any(|name| name.strip_prefix(&start).is_some_and(|rest| rest.starts_with("final_batchnorm.")));
    match is_v2 {
        true => {
            format!("`{start}…` is a ResNet with activations before its convolutions (resnet_v2), which is not read")
        }
        false => format!(
            "`{start}…` has parameters, but no running statistics beside them (`initial_batchnorm/~/mean_ema`): save \
             Haiku's state with its parameters"
        ),
    }
}
