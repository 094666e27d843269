//! How long kernels take on the device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cubecl::future::block_on;
use cubecl::logging::{Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest};

/// One kind of kernel.
#[derive(Clone, Debug)]
pub struct KernelTime {
    /// Its name in the source, without types.
    pub name: String,
    /// How often it was launched.
    pub launches: usize,
    /// The time of all launches together, in seconds: by the device's own clock, or where it has none, with launch and waiting.
    pub seconds: f64,
}

/// Times every kernel that `work` launches, from any thread, the one that takes longest first. Kernels run one after the other as they always
/// do, but each costs the launching thread more, so that `work` as a whole takes longer.
pub fn kernel_times(work: impl FnOnce()) -> Vec<KernelTime> {
    let stopwatch = Arc::new(Stopwatch::default());
    let observation = LaunchObservation::new(stopwatch.clone());
    work();
    drop(observation);
    let mut sums: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    let mut add = |kernel, seconds| {
        let (launches, sum) = sums.entry(name(kernel)).or_default();
        *launches += 1;
        *sum += seconds;
    };
    let Measured { unread, read } = std::mem::take(&mut *stopwatch.0.lock().unwrap_or_else(PoisonError::into_inner));
    for (kernel, profile) in unread {
        let ticks = block_on(profile.resolve());
        add(kernel, ticks.map_or(0.0, |ticks| ticks.duration().as_secs_f64()));
    }
    for (kernel, duration) in read {
        add(kernel, duration.as_secs_f64());
    }
    let named = |(name, (launches, seconds)): (&str, _)| KernelTime { name: name.to_owned(), launches, seconds };
    let mut times: Vec<KernelTime> = sums.into_iter().map(named).collect();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    times
}

/// `norm::kernels::Normalise<f32, …>` is `Normalise`.
fn name(kernel: &'static str) -> &'static str {
    let path = kernel.split('<').next().unwrap_or(kernel);
    path.rsplit("::").next().unwrap_or(path)
}

#[derive(Default)]
struct Stopwatch(Mutex<Measured>);

#[derive(Default)]
struct Measured {
    unread: Vec<(&'static str, ProfileDuration)>,
    read: Vec<(&'static str, Duration)>,
}

impl LaunchObserver for Stopwatch {
    fn launched(&self, _: &'static str) {}

    fn timing(&self) -> TimingRequest {
        TimingRequest::Deferred
    }

    fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unread.push((kernel, profile));
    }

    fn timed(&self, kernel: &'static str, duration: Duration, _: TimingMethod) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read.push((kernel, duration));
    }
}
