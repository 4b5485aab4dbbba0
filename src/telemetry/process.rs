//! What the process uses, as the operating system counts it, under the names every Prometheus client uses.

use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::exposition::Exposition;
use super::names;

/// Writes the families of the process; one that cannot be read is left out.
pub fn write(started: SystemTime, out: &mut Exposition) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::new(cpu.tv_sec.try_into().unwrap_or(0), cpu.tv_nsec.try_into().unwrap_or(0));
    out.family(&names::PROCESS_CPU).float(&[], cpu.as_secs_f64());
    if let Ok(since) = started.duration_since(SystemTime::UNIX_EPOCH) {
        out.family(&names::PROCESS_START).float(&[], since.as_secs_f64());
    }
    if let Some(bytes) = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes) {
        out.family(&names::PROCESS_RSS).integer(&[], bytes);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory being read.
        out.family(&names::PROCESS_FDS).integer(&[], entries.count().saturating_sub(1) as u64);
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        out.family(&names::PROCESS_MAX_FDS).integer(&[], limit);
    }
}

/// `VmRSS:   1234 kB` in the status file.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status_file() {
        assert_eq!(
            resident_bytes("Name:\tbaton\nVmHWM:\t  9 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n"),
            Some(1234 * 1024)
        );
        assert_eq!(resident_bytes("Name:\tbaton\n"), None);
    }

    #[test]
    fn this_process_has_used_time_memory_and_descriptors() {
        let mut out = Exposition::new();
        write(SystemTime::now(), &mut out);
        let text = out.finish();
        for metric in [
            &names::PROCESS_CPU,
            &names::PROCESS_START,
            &names::PROCESS_RSS,
            &names::PROCESS_FDS,
            &names::PROCESS_MAX_FDS,
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(metric.name)).unwrap_or_default();
            let value: f64 = value.trim().parse().unwrap_or_else(|_| panic!("{} in\n{text}", metric.name));
            assert!(value > 0.0, "{} is {value}", metric.name);
        }
    }
}
