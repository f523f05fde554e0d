//! What the system knows of a process: how long it has computed, and how much memory it has.

use std::fs::read_to_string;

/// Ticks a second of `/proc/PID/stat`: the same on every Linux of the architectures this runs on.
const TICKS: f64 = 100.0;

/// Seconds that a process has spent on processors so far, in all its threads and in the system for it,
/// to a hundredth. The same figure as of `getrusage`, of any process.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything, but it ends with the last parenthesis.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

/// The memory a process has right now, MB.
pub fn memory(pid: u32) -> f64 {
    status(pid, "VmRSS:")
}

/// The most memory a process had, MB.
pub fn peak_memory(pid: u32) -> f64 {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> f64 {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    kilobytes / 1024.0
}
