//! A test for memory, made before it is needed by code that cannot do without.

/// Less than this is not asked for.
const SMALL: usize = 1 << 20;

/// The bytes that are left over for everything else: lists, names, what libraries take for themselves.
const SLACK: usize = 16 << 20;

/// True if so many bytes can be had at once, with some more besides. They are asked for and given back.
pub fn obtainable(bytes: usize) -> bool {
    if bytes < SMALL {
        return true;
    }
    let mut trial: Vec<u8> = Vec::new();
    let tried = trial.try_reserve_exact(bytes.saturating_add(SLACK)).is_ok();
    // Else a compiler may leave out an allocation that nothing is written to.
    std::hint::black_box(trial.as_ptr());
    tried
}

/// An empty vector with room for `len` values.
///
/// # Errors
/// Memory does not suffice for so many bytes.
pub fn room<T>(len: usize) -> Result<Vec<T>, usize> {
    let bytes = len.saturating_mul(size_of::<T>());
    let mut out = Vec::new();
    if !obtainable(bytes) || out.try_reserve_exact(len).is_err() {
        return Err(bytes);
    }
    Ok(out)
}

/// The first `len` values of an iterator.
///
/// # Errors
/// Those of [`room`].
pub fn collected<T>(len: usize, values: impl Iterator<Item = T>) -> Result<Vec<T>, usize> {
    let mut out = room(len)?;
    out.extend(values.take(len));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_said_to_be() {
        assert!(obtainable(0) && obtainable(64 << 20));
        assert!(!obtainable(usize::MAX) && !obtainable(isize::MAX as usize));
        assert_eq!(collected(3, 0..5), Ok(vec![0, 1, 2]));
        assert_eq!(collected(isize::MAX as usize, 0u64..), Err(usize::MAX));
        assert_eq!(collected(1 << 60, 0u8..1), Err(1 << 60));
    }
}
