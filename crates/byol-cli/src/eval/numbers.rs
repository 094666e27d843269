//! Numbers on the command line.

use std::str::FromStr;

use byol_eval::HeldOut;

/// The flag of every protocol that chooses a setting.
#[derive(clap::Args)]
#[command(next_help_heading = "Choosing a setting")]
pub struct HeldOutFlag {
    /// Training pictures held out to choose a setting on: a share (10%), a number (10009), or the last so many in the order of the
    /// data (last:10009)
    #[arg(long, value_name = "PART", default_value = "10%")]
    pub held_out: HeldOut,
}

pub fn whole_number(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|&number| number > 0).ok_or("expected a whole number above 0")
}

pub fn positive<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, &'static str> {
    let positive = |&number: &T| number.into() > 0.0 && number.into().is_finite();
    text.parse().ok().filter(positive).ok_or("expected a number above 0")
}

pub fn not_negative(text: &str) -> Result<f64, &'static str> {
    let fits = |number: &f64| *number >= 0.0 && number.is_finite();
    text.parse().ok().filter(fits).ok_or("expected a number of 0 or more")
}

/// A share of the labels, `0.01` or `1%`.
pub fn share(text: &str) -> Result<f64, &'static str> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    let fits = |share: &f64| *share > 0.0 && *share <= 1.0;
    number.ok().filter(fits).ok_or("expected a share above 0 and at most 1, such as 0.01 or 1%")
}
