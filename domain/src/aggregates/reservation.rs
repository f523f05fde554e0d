//! A text that one holder at a time may own (an e-mail, a connection's name). The aggregate's id
//! is a keyed hash of the text, never the text. Never purged.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{ids::TenantId, limits};
use chrono::{DateTime, TimeDelta, Utc};
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
    pub fn decide(&self, command: ReservationCommand) -> Result<Vec<ReservationEvent>, Error> {
        match command {
            ReservationCommand::Hold { purpose, holder, deadline, now } => {
                limits::identifier("/purpose", &purpose)?;
                if deadline <= now || deadline > now + TimeDelta::hours(limits::RESERVATION_HOURS) {
                    let message = format!("`{deadline}` is not within {} hours", limits::RESERVATION_HOURS);
                    return Err(Error::invalid("/deadline", message));
                }
                match self.holder_at(now) {
                    Some(other) if other != holder => Err(Error::Reserved { purpose }),
                    Some(_) if self.confirmed || self.deadline >= Some(deadline) => Ok(Vec::new()),
                    _ => Ok(vec![ReservationEvent::ReservationHeld { purpose, holder, deadline }]),
                }
            }
            // Late, but nobody else came meanwhile: it still counts.
            ReservationCommand::Confirm { holder } if self.holder == Some(holder) => {
                if self.confirmed {
                    return Ok(Vec::new());
                }
                Ok(vec![ReservationEvent::ReservationConfirmed { holder }])
            }
            ReservationCommand::Confirm { .. } => {
                Err(Error::conflict("the reservation is not held by who would confirm it"))
            }
            ReservationCommand::Release { holder } if self.holder == Some(holder) => {
                Ok(vec![ReservationEvent::ReservationReleased { holder }])
            }
            ReservationCommand::Release { .. } => Ok(Vec::new()),
        }
    }

    /// Who has the text at `now`; a hold that was never confirmed ends at its deadline.
    pub fn holder_at(&self, now: DateTime<Utc>) -> Option<Holder> {
        let in_force = self.confirmed || self.deadline.is_some_and(|deadline| deadline > now);
        self.holder.filter(|_| in_force)
    }

    fn evolve(&mut self, event: ReservationEvent) {
        match event {
            ReservationEvent::ReservationHeld { purpose, holder, deadline } => {
                *self = Self { purpose, holder: Some(holder), deadline: Some(deadline), confirmed: false };
            }
            ReservationEvent::ReservationConfirmed { holder } => {
                self.holder = Some(holder);
                self.deadline = None;
                self.confirmed = true;
            }
            ReservationEvent::ReservationReleased { .. } => {
                self.holder = None;
                self.deadline = None;
                self.confirmed = false;
            }
        }
    }
}
