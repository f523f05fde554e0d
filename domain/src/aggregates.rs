//! The aggregates: each file holds one's events (past tense), commands (imperative), state and
//! decisions. Deciding is pure: no clock, no I/O; whatever varies comes in with the command.

pub mod api_key;
pub mod connection;
pub mod feed;
pub mod identity;
pub mod mapping;
pub mod ontology;
pub mod reservation;
pub mod stream_schema;
pub mod sync;
pub mod task;
pub mod tenant;
pub mod user;

/// Implements cqrs-es' `DomainEvent` for an event enum: the type is the variant's name, as serde
/// writes it; the version is the schema version of that payload.
macro_rules! domain_event {
    ($event:ident { $($variant:ident),+ $(,)? }) => {
        impl cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                match self { $(Self::$variant { .. } => stringify!($variant).to_owned()),+ }
            }
            fn event_version(&self) -> String {
                "1".to_owned()
            }
        }

        impl $event {
            /// Every event type of this aggregate.
            pub const TYPES: &'static [&'static str] = &[$(stringify!($variant)),+];
        }
    };
}
pub(crate) use domain_event;
