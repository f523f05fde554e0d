//! The JetStream adapter on one server against the suite every adapter must pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod support;

use autonomos_log::conformance_tests;
use support::Account;

conformance_tests!(Account::of(1));
