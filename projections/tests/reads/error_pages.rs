//! Every error code has a page a user can read.

use crate::world::tenant;
use autonomos_domain::envelope::Position;
use autonomos_projections::ProjectionError as Error;
use std::path::Path;

#[test]
fn every_code_has_its_page() {
    let text = String::new;
    let position = Position { cell: 0, sequence: 1 };
    let errors = [
        Error::Store(text()),
        Error::Views(text()),
        Error::RolledBack { cell: 0, reason: text() },
        Error::Parked { projector: text(), tenant: tenant(1), position, message: text() },
        Error::WaitTimeout { projector: text() },
        Error::UnknownProjector { name: text(), known: text() },
        Error::Fenced { projector: text() },
        Error::Payload(text()),
        Error::UnknownEntity { name: text(), known: text() },
        Error::UnknownField { entity: text(), name: text(), known: text() },
        Error::BadValue { field: text(), value: text(), expected: text() },
        Error::BadCursor,
        Error::QueryRefused(text()),
        Error::QueryFailed(text()),
        Error::QueryTimeout { seconds: 5 },
        Error::DryRunTimeout { seconds: 5 },
        Error::DryRunTooLarge,
        Error::Export(text()),
        Error::NotParked { projector: text() },
        Error::AlreadyRebuilding { projector: text() },
        Error::Stopped,
        Error::Elsewhere { projector: text() },
        Error::GenerationGone,
        Error::Unstorable(text()),
        Error::Address,
        Error::Snapshot(text()),
    ];
    for error in errors {
        let page = format!("{}/../docs/errors/{}.md", env!("CARGO_MANIFEST_DIR"), error.code());
        assert!(Path::new(&page).exists(), "{page} is missing");
    }
}
