//! What can go wrong with an object store before it is used.

/// Errors of this room.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The address or a setting that belongs to it is wrong. Holds no secret.
    #[error("`{place}` is no place for objects: {reason}")]
    Place { place: String, reason: String },
    /// The store refused what a check asked of it, or could not be asked.
    #[error("`{place}` cannot be used, {step} failed: {change} ({reason})")]
    Unusable { place: String, step: &'static str, change: String, reason: String },
}

impl ObjectError {
    /// Stable code, `AOS-…`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Place { .. } => "AOS-0601",
            Self::Unusable { .. } => "AOS-0602",
        }
    }
}
