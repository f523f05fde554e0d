//! Positions as clients see them: one opaque token of (log id, cell, sequence, event index). The log
//! id lets a token of an earlier log be recognised instead of pointing at a wrong commit.

use autonomos_domain::{envelope::Position, ids::LogId};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

const VERSION: u8 = 1;
const LENGTH: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("`{0}` is not a position")]
    Malformed(String),
    #[error("the position is of log `{found}`, this is log `{expected}`")]
    OtherLog { found: LogId, expected: LogId },
}

impl TokenError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "AOS-0130",
            Self::OtherLog { .. } => "AOS-0131",
        }
    }
}

/// A place in a log, down to the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PositionToken {
    pub log_id: LogId,
    pub position: Position,
    /// Index of the event in its commit, from 0.
    pub event: u32,
}

impl PositionToken {
    pub const fn new(log_id: LogId, position: Position, event: u32) -> Self {
        Self { log_id, position, event }
    }

    /// The token's text: URL-safe base64, 43 characters.
    pub fn encode(&self) -> String {
        let mut bytes = [0_u8; LENGTH];
        bytes[0] = VERSION;
        bytes[1..17].copy_from_slice(self.log_id.0.as_bytes());
        bytes[17..19].copy_from_slice(&self.position.cell.to_be_bytes());
        bytes[19..27].copy_from_slice(&self.position.sequence.to_be_bytes());
        bytes[27..31].copy_from_slice(&self.event.to_be_bytes());
        bytes[31] = check_byte(&bytes[..31]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// A token of any log.
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        Self::parse(text).ok_or_else(|| TokenError::Malformed(text.chars().take(80).collect()))
    }

    /// A token that must be of this log.
    pub fn decode_for(log_id: LogId, text: &str) -> Result<Self, TokenError> {
        let token = Self::decode(text)?;
        if token.log_id == log_id {
            Ok(token)
        } else {
            Err(TokenError::OtherLog { found: token.log_id, expected: log_id })
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; LENGTH] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        if bytes[0] != VERSION || bytes[31] != check_byte(&bytes[..31]) {
            return None;
        }
        Some(Self {
            log_id: LogId(Uuid::from_slice(&bytes[1..17]).ok()?),
            position: Position {
                cell: u16::from_be_bytes(bytes[17..19].try_into().ok()?),
                sequence: u64::from_be_bytes(bytes[19..27].try_into().ok()?),
            },
            event: u32::from_be_bytes(bytes[27..31].try_into().ok()?),
        })
    }
}

/// Catches mistyped and cut tokens; it is no signature, and a position is no secret.
fn check_byte(bytes: &[u8]) -> u8 {
    blake3::hash(bytes).as_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> PositionToken {
        let position = Position { cell: 3, sequence: 1 << 40 };
        PositionToken::new(LogId(Uuid::from_u128(5)), position, 2)
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let text = token().encode();
        assert_eq!(PositionToken::decode(&text), Ok(token()));
        assert_eq!(PositionToken::decode_for(token().log_id, &text), Ok(token()));
    }

    #[test]
    fn a_token_of_another_log_is_told_apart() {
        let error = PositionToken::decode_for(LogId(Uuid::from_u128(6)), &token().encode()).unwrap_err();
        assert_eq!(error.code(), "AOS-0131");
    }

    #[test]
    fn garbage_is_malformed() {
        for text in ["", "7", "not base64 !", "AAAA", &token().encode()[1..], &"A".repeat(43)] {
            assert_eq!(PositionToken::decode(text).unwrap_err().code(), "AOS-0130", "{text}");
        }
    }
}
