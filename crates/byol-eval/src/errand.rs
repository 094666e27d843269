//! Representations by all ranks where rank 0 alone knows what is measured: the others wait, and represent their stretch of whatever
//! data set it names.
//!
//! ```text
//! rank 0   extract_by_all  errand, encoder →   ready?  own stretch   joined   …   dismiss
//! others   help                  → both, opened ready   own stretch   joined   …   end
//! ```
//!
//! An error of rank 0 ends all ranks (it is the one that the person hears of), so that nobody waits for its answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{DataConfig, Dataset};
use byol_nn::dist::{Communicator, agree};
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::features::{Features, extract_part, joined};
use super::progress::Countdown;

/// What is to be represented, as rank 0 names it.
#[derive(Serialize, Deserialize)]
struct Errand {
    place: Place,
    /// Names of all pictures, in the order of rank 0.
    names: Vec<String>,
}

/// Where pictures are, and how they are read.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Place {
    roots: Vec<PathBuf>,
    split: Option<String>,
    config: DataConfig,
}

/// What [`extract_by_all`] found.
pub struct ByAll {
    /// Representations of all pictures.
    pub features: Features,
    /// Why rank 0 made all of them, if it did.
    pub alone: Option<String>,
}

/// Representations of `dataset` by all ranks, of which the others are in [`help`]; by this one alone if one of them cannot open the same
/// pictures. `countdown` counts those of this rank.
///
/// # Errors
/// Data errors of any rank, [`Error::Interrupted`] of this one, and those of the collective calls.
pub fn extract_by_all(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    device: &Device,
    countdown: &mut Countdown,
    ranks: &dyn Communicator,
) -> Result<ByAll> {
    let alone = match ranks.is_alone() || dataset.roots().is_empty() {
        true => None,
        false => {
            let (roots, split) = (dataset.roots().to_vec(), dataset.split().map(str::to_owned));
            let names = (0..dataset.len()).map(|index| dataset.name(index)).collect();
            let errand = Errand { place: Place { roots, split, config: dataset.config().clone() }, names };
            tell(Some(&errand), ranks)?;
            ranks.broadcast(&mut encoder.to_bytes())?;
            match hindrance(ranks, Ok(()))? {
                None => return shared(encoder, dataset, device, countdown, ranks),
                hindrance => hindrance,
            }
        }
    };
    let features = extract_part(encoder, dataset, 0, device, countdown, &byol_nn::dist::Alone)?;
    Ok(ByAll { features, alone })
}

fn shared(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    device: &Device,
    countdown: &mut Countdown,
    ranks: &dyn Communicator,
) -> Result<ByAll> {
    let own = dataset.len().div_ceil(ranks.ranks());
    countdown.leave_out((dataset.len() - own) as u64);
    let own = extract_part(encoder, dataset, 0, device, countdown, ranks)?;
    ranks.wait_patiently()?;
    Ok(ByAll { features: joined(agree(ranks, Ok(own))?, dataset, ranks)?, alone: None })
}

/// Sends the other ranks home, when all is measured.
///
/// # Errors
/// Those of the collective calls.
pub fn dismiss(ranks: &dyn Communicator) -> Result<()> {
    if ranks.is_alone() { Ok(()) } else { tell(None, ranks) }
}

/// Does errands until rank 0 says that there are no more; without a word, and while it waits without keeping a core busy.
///
/// # Errors
/// Bad pictures beyond the limit, and those of the collective calls.
pub fn help(device: &Device, ranks: &dyn Communicator) -> Result<()> {
    let mut opened: Option<(Place, Dataset)> = None;
    while let Some(errand) = told(ranks)? {
        let mut encoder = Vec::new();
        ranks.broadcast(&mut encoder)?;
        let ready = Encoder::from_bytes(&encoder, device).and_then(|encoder| {
            if opened.as_ref().is_none_or(|(place, _)| *place != errand.place) {
                let Place { roots, split, config } = &errand.place;
                opened = Some((errand.place.clone(), Dataset::open_all(roots, split.as_deref(), config)?));
            }
            let all = opened.as_ref().map(|(_, dataset)| dataset).expect("opened above");
            Ok((encoder, Arc::new(named(all, &errand.names)?)))
        });
        let (ready, outcome) = match ready {
            Ok(ready) => (Some(ready), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if hindrance(ranks, outcome)?.is_some() {
            continue;
        }
        let (mut encoder, dataset) = ready.expect("every rank is ready");
        let own = extract_part(&mut encoder, &dataset, 0, device, &mut Countdown::silent(), ranks);
        ranks.wait_patiently()?;
        // Also where all together have too many bad pictures, of which rank 0 tells.
        if joined(agree(ranks, own)?, &dataset, ranks).is_err() {
            break;
        }
    }
    Ok(())
}

/// The pictures of these names, in that order.
fn named(dataset: &Dataset, names: &[String]) -> Result<Dataset> {
    let places: HashMap<String, u32> = (0..dataset.len()).map(|index| (dataset.name(index), index as u32)).collect();
    let place = |name: &String| {
        places.get(name).copied().ok_or_else(|| Error::Evaluation(format!("it has no picture {name} in the same data")))
    };
    if places.len() < dataset.len() {
        return Err(Error::Evaluation("several pictures of the data have the same name".to_owned()));
    }
    Ok(dataset.subset(&names.iter().map(place).collect::<Result<Vec<_>>>()?))
}

fn tell(errand: Option<&Errand>, ranks: &dyn Communicator) -> Result<()> {
    ranks.wait_patiently()?;
    ranks.broadcast(&mut serde_json::to_vec(&errand).expect("plain fields have a JSON form"))
}

fn told(ranks: &dyn Communicator) -> Result<Option<Errand>> {
    ranks.wait_patiently()?;
    let mut errand = Vec::new();
    ranks.broadcast(&mut errand)?;
    Ok(serde_json::from_slice(&errand).expect("what rank 0 wrote"))
}

/// Why some rank is not ready, if one is not.
fn hindrance(ranks: &dyn Communicator, own: Result<()>) -> Result<Option<String>> {
    ranks.wait_patiently()?;
    let own = own.err().map(|error| error.to_string()).unwrap_or_default();
    let all = ranks.gather(own.as_bytes())?;
    let first = all.iter().position(|problem| !problem.is_empty());
    Ok(first.map(|rank| format!("rank {rank}: {}", String::from_utf8_lossy(&all[rank]))))
}
