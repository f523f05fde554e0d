//! How an aggregate's key stands in the columns of a database file.

use autonomos_domain::{
    envelope::{AggregateKey, AggregateType},
    ids::TenantId,
};
use rusqlite::Row;
use uuid::Uuid;

/// The number an aggregate type is stored as; never reused.
pub(crate) const fn type_code(aggregate_type: AggregateType) -> u8 {
    match aggregate_type {
        AggregateType::Tenant => 1,
        AggregateType::User => 2,
        AggregateType::ApiKey => 3,
        AggregateType::Reservation => 4,
        AggregateType::Connection => 5,
        AggregateType::Feed => 6,
        AggregateType::Sync => 7,
        AggregateType::StreamSchema => 8,
        AggregateType::Mapping => 9,
        AggregateType::Ontology => 10,
        AggregateType::UnifiedView => 11,
        AggregateType::Identity => 12,
        AggregateType::Task => 13,
        AggregateType::Schedule => 14,
        AggregateType::Agent => 15,
        AggregateType::LlmAccount => 16,
    }
}

/// The key in the columns `tenant, aggregate_type, aggregate_id` from `first` on; `None` if they
/// hold none (a damaged row).
pub(crate) fn key_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<AggregateKey>> {
    let uuid = |index: usize| -> rusqlite::Result<Option<Uuid>> {
        Ok(row.get_ref(index)?.as_blob().ok().and_then(|bytes| Uuid::from_slice(bytes).ok()))
    };
    let code = row.get_ref(first + 1)?.as_i64().unwrap_or_default();
    let aggregate_type = AggregateType::ALL.into_iter().find(|kind| i64::from(type_code(*kind)) == code);
    let (Some(tenant), Some(aggregate_type), Some(aggregate_id)) =
        (uuid(first)?, aggregate_type, uuid(first + 2)?)
    else {
        return Ok(None);
    };
    Ok(Some(AggregateKey { tenant: TenantId(tenant), aggregate_type, aggregate_id }))
}
