//! Drift detection, held to tables whose changes are known.

mod adversarial;
mod controls;
mod kit;
mod mutations;
mod small_signs;
