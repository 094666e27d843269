//! What someone meant who gave a flag that does not exist: maybe a setting.

use byol::Preset;
use byol::config::similar_settings;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// `error` with a tip where the unknown flag of a command that has `--set` is called as a setting is.
pub fn with_tip(mut error: Error, command: &Command, arguments: &[String]) -> Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let takes_settings = arguments
        .get(1)
        .and_then(|name| command.find_subcommand(name))
        .is_some_and(|command| command.get_arguments().any(|flag| flag.get_long() == Some("set")));
    if error.kind() != ErrorKind::UnknownArgument || !takes_settings {
        return error;
    }
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or("").replace('-', "_");
    let meant = similar_settings(&name, &Preset::Cifar10.config());
    let called_so = meant.iter().any(|key| key.rsplit('.').next() == Some(&name));
    // A flag that is only similar is no better a guess than a setting of that very name.
    if !called_so && error.get(ContextKind::SuggestedArg).is_some() {
        return error;
    }
    if let Some(first) = meant.first() {
        let more: String = meant[1..].iter().map(|key| format!(", or {key}")).collect();
        let tip = StyledStr::from(format!("this is a setting: '--set {first}=VALUE'{more}"));
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::Usage);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

#[cfg(test)]
mod tests {
    use crate::command;

    fn message(line: &str) -> String {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let error = command().try_get_matches_from(&arguments).unwrap_err();
        super::with_tip(error, &command(), &arguments).to_string()
    }

    #[test]
    fn a_flag_that_is_a_setting_is_told_and_a_slip_finds_the_flag() {
        let cases = [
            ("byol preview photos -o x.png --hue 0.1", "--set views.view1.hue=VALUE', or views.view2.hue"),
            ("byol doctor photos --lr 0.1", "--set schedule.base_learning_rate=VALUE"),
            ("byol doctor photos --warmup-epochs 3", "--set schedule.warmup_epochs=VALUE"),
            ("byol doctor photos --sampel 3", "--sample"),
            ("byol pretain photos", "pretrain"),
            ("byol eval kn runs/photos", "knn"),
        ];
        for (line, expected) in cases {
            assert!(message(line).contains(expected), "{line}: {}", message(line));
        }
        assert!(!message("byol resume run --hue 3").contains("setting"), "resume takes no settings");
    }
}
