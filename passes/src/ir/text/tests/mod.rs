mod malformed;
pub(super) mod random;
mod round_trip;
