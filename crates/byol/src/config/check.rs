//! The range of every setting.

use byol_nn::{Error, Result};

use super::tree::{Config, SyncBatchNorm};

impl Config {
    /// Checks every range.
    pub fn validate(&self) -> Result<()> {
        let positive = |key: &str, value: usize| check(value > 0, key, "a whole number above 0", value);
        let finite =
            |key: &str, value: f64| check(value.is_finite() && value >= 0.0, key, "a number of 0 or more", value);
        let fraction = |key: &str, value: f64| check((0.0..=1.0).contains(&value), key, "a number from 0 to 1", value);
        let below_one =
            |key: &str, value: f64| check((0.0..1.0).contains(&value), key, "a number from 0 to below 1", value);
        let units = |key: &str, value: usize| check((1..=65_536).contains(&value), key, "1 to 65536", value);
        units("model.projector_hidden", self.model.projector_hidden)?;
        units("model.predictor_hidden", self.model.predictor_hidden)?;
        units("model.projection_size", self.model.projection_size)?;
        let layers = |key: &str, value: usize| check((1..=3).contains(&value), key, "1, 2 or 3", value);
        layers("model.projector_layers", self.model.projector_layers)?;
        layers("model.predictor_layers", self.model.predictor_layers)?;
        finite("model.negatives_weight", self.model.negatives_weight.into())?;
        let temperature = self.model.negatives_temperature;
        check(
            (1e-3..=1e3).contains(&temperature),
            "model.negatives_temperature",
            "a number from 0.001 to 1000",
            temperature,
        )?;
        below_one("model.batch_norm_decay", self.model.batch_norm_decay)?;
        below_one("optimizer.momentum", self.optimizer.momentum)?;
        finite("optimizer.weight_decay", self.optimizer.weight_decay)?;
        finite("optimizer.trust_coefficient", self.optimizer.trust_coefficient)?;
        below_one("optimizer.beta1", self.optimizer.beta1)?;
        below_one("optimizer.beta2", self.optimizer.beta2)?;
        finite("optimizer.epsilon", self.optimizer.epsilon)?;
        finite("optimizer.projector_rate_factor", self.optimizer.projector_rate_factor)?;
        finite("optimizer.predictor_rate_factor", self.optimizer.predictor_rate_factor)?;
        let epochs = self.schedule.epochs;
        check((0.0..=1e6).contains(&epochs), "schedule.epochs", "a number from 0 to 1000000", epochs)?;
        finite("schedule.warmup_epochs", self.schedule.warmup_epochs)?;
        finite("schedule.base_learning_rate", self.schedule.base_learning_rate)?;
        fraction("schedule.target_ema", self.schedule.target_ema)?;
        let batch = self.train.batch_size;
        check(batch >= 2, "train.batch_size", "2 or more (batch norm needs more than one picture)", batch)?;
        positive("train.accumulation_steps", self.train.accumulation_steps)?;
        let micro = self.train.accumulation_steps;
        check(
            batch.is_multiple_of(micro) && batch / micro >= 2,
            "train.accumulation_steps",
            &format!("a divisor of train.batch_size = {batch} that leaves at least 2 pictures"),
            micro,
        )?;
        check(
            self.train.log_every_steps > 0,
            "train.log_every_steps",
            "a whole number above 0",
            self.train.log_every_steps,
        )?;
        let every = self.train.checkpoint_every_steps;
        check(every > 0, "train.checkpoint_every_steps", "a whole number above 0", every)?;
        let every = self.train.checkpoint_every_minutes;
        check(
            (0.0..=1e6).contains(&every),
            "train.checkpoint_every_minutes",
            "a number from 0 (off) to 1000000",
            every,
        )?;
        positive("train.checkpoints_kept", self.train.checkpoints_kept)?;
        let prefetch = self.train.prefetch_batches;
        check((1..=1024).contains(&prefetch), "train.prefetch_batches", "1 to 1024", prefetch)?;
        check(self.train.loader_threads <= 1024, "train.loader_threads", "0 to 1024", self.train.loader_threads)?;
        check(
            self.train.sync_batch_norm != SyncBatchNorm::Groups(0),
            "train.sync_batch_norm",
            "true, false, or a number of ranks above 0",
            0,
        )?;
        let timeout = self.train.rank_timeout_secs;
        check((1.0..=1e6).contains(&timeout), "train.rank_timeout_secs", "a number from 1 to 1000000", timeout)?;
        self.eval.validate()?;
        self.data.validate().map_err(Error::from)?;
        self.views.validate().map_err(Error::from)?;
        let channels = self.data.channels;
        check(
            self.views.mean.len() == channels,
            "views.mean",
            &format!("{channels} number(s), as data.channels says, and as many in views.std"),
            format!("{:?}", self.views.mean),
        )?;
        self.preprocessing().validate("evaluation").map_err(Error::from)
    }
}

fn check(good: bool, key: &str, expected: &str, got: impl ToString) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::Config { key: key.to_owned(), expected: expected.to_owned(), got: got.to_string() })
}
