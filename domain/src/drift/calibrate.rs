//! From evidence to a probability that means what it says.

/// A correction of raw probabilities, learnt from a tenant's decisions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Platt scaling: `sigmoid(slope * logit(p) + offset)`.
    pub slope: f64,
    pub offset: f64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { slope: 1.0, offset: 0.0 }
    }
}
