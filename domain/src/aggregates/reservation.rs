//! A text that one holder at a time may own (an e-mail, a connection's name). The aggregate's id
//! is a keyed hash of the text, never the text. Never purged.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::ids::TenantId;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who holds it: the aggregate that will own the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    pub tenant: TenantId,
    pub id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ReservationEvent {
    /// Held until the deadline, unless confirmed before.
    ReservationHeld {
        purpose: String,
        holder: Holder,
        deadline: DateTime<Utc>,
    },
    ReservationConfirmed {
        holder: Holder,
    },
    ReservationReleased {
        holder: Holder,
    },
}
domain_event!(ReservationEvent { ReservationHeld, ReservationConfirmed, ReservationReleased });

#[derive(Debug, Clone)]
pub enum ReservationCommand {
    /// Refused while another holder's hold is in force or confirmed; the same holder may repeat it.
    Hold {
        purpose: String,
        holder: Holder,
        deadline: DateTime<Utc>,
        now: DateTime<Utc>,
    },
    Confirm {
        holder: Holder,
    },
    Release {
        holder: Holder,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    pub purpose: String,
    pub holder: Option<Holder>,
    /// While held and not confirmed.
    pub deadline: Option<DateTime<Utc>>,
    pub confirmed: bool,
}
stored_aggregate!(Reservation, Reservation, ReservationCommand, ReservationEvent);

impl Reservation {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: ReservationCommand) -> Result<Vec<ReservationEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: ReservationEvent) {}
}
