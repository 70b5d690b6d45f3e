//! The machine a command runs on.

use super::failure::{Failure, because};
use bgz_fusion::memory;

/// Bytes of a thread's stack: the standard library's default.
const STACK: usize = 2 << 20;

/// Refuses a `BGZ_ISA` that this host cannot run.
pub fn check_isa() -> Result<(), Failure> {
    bgz_fusion::kernels::Isa::detect()?;
    Ok(())
}

/// Sets the number of threads, before anything has started one. This thread is one of them: a model that it runs is
/// not handed over to another.
pub fn set_threads(threads: Option<u16>) -> Result<(), Failure> {
    // A thread that has its stack, and then no memory to handle an overflow of it, ends the process: all stacks are
    // asked for first.
    if !memory::obtainable(usize::from(threads.unwrap_or(0)).saturating_mul(STACK)) {
        return Err(because("cannot start threads", "there is not enough memory for their stacks"));
    }
    // 0 is as many as there are CPUs, or RAYON_NUM_THREADS.
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0).into())
        .use_current_thread()
        .build_global()
        .map_err(|e| because("cannot start threads", e))
}

/// The threads that models run on.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// The name of the CPU.
pub fn cpu() -> String {
    std::fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(|text| field(text, "model name")).map_or_else(
        || format!("{} CPU", std::env::consts::ARCH),
        |name| name.split_whitespace().collect::<Vec<_>>().join(" "),
    )
}

/// Greatest memory the process had resident so far, where the system says.
pub fn peak_bytes() -> Option<u64> {
    status_bytes("VmHWM")
}

/// Memory the process has resident, where the system says.
pub fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS")
}

fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kb: u64 = field(&status, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kb * 1024)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files() {
        assert_eq!(field("model\t\t: 85\nmodel name\t: A  CPU\n", "model name"), Some("A  CPU"));
        assert_eq!(field("VmHWM:\t  1234 kB\n", "VmHWM"), Some("1234 kB"));
        assert_eq!(field("VmHWM", "VmHWM"), None);
    }
}
