//! Several protocols one after the other: what they will take, each as soon as it is done, and what stays after Ctrl-C.

use std::collections::{BTreeMap, BTreeSet};

use byol_eval::comparison::{Origin, ToDo};
use byol_eval::pace::Pace;
use byol_eval::{Evaluation, duration};
use byol_nn::{Error, Result};

use super::session::Session;
use super::table;
use crate::interrupt::command_line;
use crate::screen::{Screen, paragraph, say, state};
use crate::{Ending, show};

/// A protocol with its options.
pub trait Measurement {
    /// Its name, for the person.
    fn name(&self) -> String;

    /// Outcomes and representations still to compute, that of earlier evaluations left out.
    fn to_do(&self, session: &mut Session) -> ToDo;

    /// Seconds of one outcome, without the representations it takes.
    fn outcome_secs(&self, session: &Session, pace: &Pace) -> Result<f64>;

    /// Whether pictures pass through a network in training.
    fn trains(&self) -> bool;

    /// Measures.
    fn run(&self, session: &mut Session) -> Result<(Evaluation, Origin)>;
}

/// Says how long it will take, then measures one after the other; each is shown and remembered when it is done.
pub fn measure(session: &mut Session, plan: &[Box<dyn Measurement>]) -> Result<Ending> {
    let to_do: Vec<ToDo> = plan.iter().map(|measurement| measurement.to_do(session)).collect();
    say_expected(session, plan, &to_do)?;
    let mut done = Vec::new();
    let mut work = || -> Result<()> {
        session.train_supervised()?;
        for measurement in plan {
            let (evaluation, origin) = measurement.run(session)?;
            table::print(&evaluation);
            say_origin(origin);
            session.remember(&evaluation, origin)?;
            done.push(evaluation);
        }
        Ok(())
    };
    match work() {
        Ok(()) => {
            if session.json {
                match &done[..] {
                    [only] => show::json(only),
                    all => show::json(&BTreeMap::from([("evaluations", all)])),
                }
            }
            Ok(Ending::Done)
        }
        Err(Error::Interrupted) => {
            let left =
                plan.get(done.len()).map(|measurement| (measurement.name(), measurement.to_do(session).outcomes));
            say_kept(session, &done, left, to_do.get(done.len()));
            if session.json {
                show::json(&serde_json::json!({"evaluations": done, "finished": false}));
            }
            Ok(Ending::Interrupted)
        }
        Err(error) => Err(error),
    }
}

/// What is still to do, in seconds, from a measured second.
fn say_expected(session: &Session, plan: &[Box<dyn Measurement>], to_do: &[ToDo]) -> Result<()> {
    let supervised_pictures = session.supervised_pictures();
    let outcomes: u64 = to_do.iter().map(|to_do| to_do.outcomes).sum();
    if outcomes == 0 && supervised_pictures == 0 {
        return Ok(());
    }
    let trains = supervised_pictures > 0 || plan.iter().zip(to_do).any(|(m, to_do)| m.trains() && to_do.outcomes > 0);
    let comparison = &session.comparison;
    let pace = match Pace::measure(&comparison.encoder, &session.parts.train, trains, &comparison.device) {
        Ok(pace) => pace,
        // Broken pictures in the sample: the evaluation itself says what is wrong, or goes on without them.
        Err(Error::Data(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut parts = Vec::new();
    if supervised_pictures > 0 {
        parts.push(("supervised baseline".to_owned(), supervised_pictures as f64 * pace.train_secs));
    }
    let represented = pictures_to_represent(to_do, comparison.cache.is_some()) as f64 * pace.represent_secs;
    parts.push(("representations".to_owned(), represented));
    for (measurement, to_do) in plan.iter().zip(to_do) {
        if to_do.outcomes > 0 {
            let secs = measurement.outcome_secs(session, &pace)? * to_do.outcomes as f64;
            parts.push((measurement.name(), secs));
        }
    }
    let total: f64 = parts.iter().map(|(_, secs)| secs).sum();
    let listed: Vec<String> = parts
        .iter()
        .filter(|(_, secs)| *secs >= 1.0)
        .map(|(name, secs)| format!("{name} {}", duration(*secs)))
        .collect();
    let listed = if listed.len() > 1 { format!(": {}", listed.join(", ")) } else { String::new() };
    let sentence = format!("about {} (estimated from a measured second){listed}", duration(total.max(1.0)));
    say!("{}", Screen::of_stderr().wrapped(&sentence, "expected  ", "          "));
    Ok(())
}

/// Those that several protocols take count once if they are kept.
fn pictures_to_represent(to_do: &[ToDo], is_kept: bool) -> u64 {
    let all = to_do.iter().flat_map(|to_do| &to_do.representations);
    match is_kept {
        true => all.collect::<BTreeSet<_>>().into_iter().map(|(_, pictures)| pictures).sum(),
        false => all.map(|(_, pictures)| pictures).sum(),
    }
}

fn say_origin(origin: Origin) {
    match origin {
        Origin { kept: 0, .. } => {}
        Origin { computed: 0, .. } => {
            let kept = "kept from before: the same weights, pictures and options; --no-cache computes it again";
            say!("{}", Screen::of_stderr().wrapped(kept, "  ", "  "));
        }
        Origin { kept, computed } => {
            say!("  {kept} of {} results kept from before, the others computed now", kept + computed);
        }
    }
}

/// After Ctrl-C.
fn say_kept(session: &Session, done: &[Evaluation], left: Option<(String, u64)>, before: Option<&ToDo>) {
    let mut kept: Vec<String> = done.iter().map(|evaluation| evaluation.eval.clone()).collect();
    if let (Some((name, left)), Some(before)) = (left, before)
        && left < before.outcomes
    {
        kept.push(format!("{} of {} results of {name}", before.outcomes - left, before.outcomes));
    }
    let sentence = match (session.keeps(), &kept[..]) {
        (true, []) => "stopped; no result was complete yet, representations that were are kept. To go on:".to_owned(),
        (true, kept) => format!(
            "stopped; kept are {} and the representations that were complete. To go on from there:",
            kept.join(", ")
        ),
        (false, []) => "stopped; nothing was complete. To begin again:".to_owned(),
        (false, _) => {
            "stopped; what is complete is shown above and nothing is kept, since the encoder is no run folder or \
                       --no-cache was given. To begin again:"
                .to_owned()
        }
    };
    state!();
    paragraph(&sentence);
    state!("  {}", command_line());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_stay_are_represented_once() {
        let to_do = |names: &[&str]| ToDo {
            representations: names.iter().map(|name| ((*name).to_owned(), 10)).collect(),
            outcomes: 1,
        };
        let all = [to_do(&["a", "b"]), to_do(&["b", "c"])];
        assert_eq!((pictures_to_represent(&all, true), pictures_to_represent(&all, false)), (30, 40));
    }
}
