//! Memory of this process, where the system says.

/// Bytes resident now.
pub fn resident() -> Option<u64> {
    field("VmRSS:")
}

/// Greatest number of bytes resident so far.
pub fn peak() -> Option<u64> {
    field("VmHWM:")
}

fn field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kb = status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix("kB")?;
    Some(kb.trim().parse::<u64>().ok()? * 1024)
}
