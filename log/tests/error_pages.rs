//! Every error code has a page a user can read.

use autonomos_domain::{
    envelope::{AggregateKey, AggregateType},
    ids::{LogId, TenantId},
};
use autonomos_log::{
    error::{AppendError, LogError},
    events::EventError,
    seal::SealError,
    token::TokenError,
};
use std::path::Path;

#[test]
fn every_code_has_its_page() {
    let tenant = TenantId::SYSTEM;
    let key = AggregateKey { tenant, aggregate_type: AggregateType::Task, aggregate_id: tenant.0 };
    let text = String::new;
    let log_id = LogId(tenant.0);
    let codes = [
        LogError::Store(text()).code(),
        LogError::Damaged { place: text(), reason: text() }.code(),
        LogError::WrongCells { found: 1, asked: 2 }.code(),
        LogError::NotArchivable { key, reason: text() }.code(),
        LogError::Closed.code(),
        LogError::InUse { folder: text() }.code(),
        LogError::Unreachable(text()).code(),
        LogError::Misconfigured { what: text(), setting: text(), found: text(), wanted: text() }.code(),
        AppendError::Conflict { key, expected: 1, actual: 2 }.code(),
        AppendError::Stopped { reason: text() }.code(),
        AppendError::TooLarge { bytes: 2, limit: 1 }.code(),
        AppendError::Invalid(text()).code(),
        SealError::Shredded { tenant, key_id: 1 }.code(),
        SealError::Missing { tenant, key_id: 1 }.code(),
        SealError::Altered { tenant, key_id: 1 }.code(),
        SealError::Store(text()).code(),
        SealError::Unreachable(text()).code(),
        EventError::Payload { event_type: text(), reason: text() }.code(),
        EventError::NoEvent { index: 1 }.code(),
        EventError::NoBody { event_type: text() }.code(),
        TokenError::Malformed(text()).code(),
        TokenError::OtherLog { found: log_id, expected: log_id }.code(),
    ];
    for code in codes {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/errors/{code}.md"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("{code} has no page"));
        assert!(text.starts_with(&format!("# {code}: ")));
    }
}
