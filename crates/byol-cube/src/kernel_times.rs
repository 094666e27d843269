//! How long kernels take on the device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cubecl::future::block_on;
use cubecl::logging::{Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest};

/// One kind of kernel.
#[derive(Clone, Debug, Default)]
pub struct KernelTime {
    /// Its name in the source, without types.
    pub name: String,
    /// How often it was launched.
    pub launches: usize,
    /// How many of these were timed.
    pub timed_launches: usize,
    /// The time of those together, in seconds.
    pub seconds: f64,
    /// Whether some of it is the host's: launch, waiting and compilation are in it then.
    pub by_host_clock: bool,
}

/// Times every kernel that `work` launches, from any thread, the one that takes longest first; by the device's own clock where it has one. Kernels
/// run one after the other as they always do, but each costs the launching thread more, so that `work` as a whole takes longer.
pub fn kernel_times(work: impl FnOnce()) -> Vec<KernelTime> {
    let stopwatch = Arc::new(Stopwatch::default());
    let observation = LaunchObservation::new(stopwatch.clone());
    work();
    drop(observation);
    let Measured { launched, unread, mut read } = std::mem::take(&mut *stopwatch.measured());
    for (kernel, profile) in unread {
        let method = profile.timing_method();
        if let Some(ticks) = block_on(profile.resolve()) {
            read.push((kernel, ticks.duration(), method));
        }
    }
    let mut times: BTreeMap<&str, KernelTime> = BTreeMap::new();
    for kernel in launched {
        times.entry(name(kernel)).or_default().launches += 1;
    }
    for (kernel, duration, method) in read {
        let time = times.entry(name(kernel)).or_default();
        time.timed_launches += 1;
        time.seconds += duration.as_secs_f64();
        time.by_host_clock |= matches!(method, TimingMethod::System);
    }
    let named = |(name, time): (&str, KernelTime)| KernelTime { name: name.to_owned(), ..time };
    let mut times: Vec<KernelTime> = times.into_iter().map(named).collect();
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
    launched: Vec<&'static str>,
    unread: Vec<(&'static str, ProfileDuration)>,
    read: Vec<(&'static str, Duration, TimingMethod)>,
}

impl Stopwatch {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LaunchObserver for Stopwatch {
    fn launched(&self, kernel: &'static str) {
        self.measured().launched.push(kernel);
    }

    fn timing(&self) -> TimingRequest {
        TimingRequest::Deferred
    }

    fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
        self.measured().unread.push((kernel, profile));
    }

    fn timed(&self, kernel: &'static str, duration: Duration, method: TimingMethod) {
        self.measured().read.push((kernel, duration, method));
    }
}
