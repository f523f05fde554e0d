//! The aggregates: each file holds one's events (past tense), commands (imperative), state and
//! decisions. Deciding is pure: no clock, no I/O; whatever varies comes in with the command.

use crate::{envelope::AggregateType, error::Error};

pub mod api_key;
pub mod connection;
pub mod feed;
pub mod identity;
pub mod llm_account;
pub mod mapping;
pub mod ontology;
pub mod reservation;
pub mod schedule;
pub mod stream_schema;
pub mod sync;
pub mod task;
pub mod tenant;
pub mod unified_view;
pub mod user;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod tests;

/// Implements cqrs-es' `DomainEvent` for an event enum: the type is the variant's name, as serde
/// writes it; the version is the schema version of that payload.
macro_rules! domain_event {
    ($event:ident { $($variant:ident $(= $version:literal)?),+ $(,)? }) => {
        impl cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                match self { $(Self::$variant { .. } => stringify!($variant).to_owned()),+ }
            }
            fn event_version(&self) -> String {
                match self { $(Self::$variant { .. } => domain_event!(@version $($version)?).to_string()),+ }
            }
        }

        impl $event {
            /// Every event type of this aggregate, with the version it is written in.
            pub const TYPES: &'static [(&'static str, u16)] =
                &[$((stringify!($variant), domain_event!(@version $($version)?))),+];
        }
    };
    // The first version goes without saying.
    (@version) => { 1_u16 };
    (@version $version:literal) => { $version };
}
pub(crate) use domain_event;

/// An aggregate that lives on the log, under its kind.
pub trait StoredAggregate: cqrs_es::Aggregate<Services = (), Error = Error> + Clone {
    const KIND: AggregateType;
}

/// Implements cqrs-es' `Aggregate` over the aggregate's own `decide` (pure) and `evolve`.
macro_rules! stored_aggregate {
    ($aggregate:ident, $kind:ident, $command:ty, $event:ty) => {
        impl cqrs_es::Aggregate for $aggregate {
            const TYPE: &'static str = crate::envelope::AggregateType::$kind.as_str();
            type Command = $command;
            type Event = $event;
            type Error = crate::error::Error;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                _services: &Self::Services,
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for event in self.decide(command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                self.evolve(event);
            }
        }

        impl super::StoredAggregate for $aggregate {
            const KIND: crate::envelope::AggregateType = crate::envelope::AggregateType::$kind;
        }
    };
}
pub(crate) use stored_aggregate;
