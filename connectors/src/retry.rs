//! Requests that are made again where that helps: what is transient, and what a source asks to wait for.

use crate::error::ConnectorError;
use rand::Rng;
use std::time::Duration;

/// How often a request is made at most.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(150);
/// What a source asks for beyond this is for its caller to wait for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a request ended in: whether making it again may help is read from the error within.
pub(crate) trait Failed {
    fn error(&self) -> &ConnectorError;

    /// Whether something else is to be asked for rather than the same again.
    fn is_final(&self) -> bool {
        false
    }
}

impl Failed for ConnectorError {
    fn error(&self) -> &ConnectorError {
        self
    }
}

/// Makes a request until it is answered, or in a way that no repetition changes.
pub(crate) async fn retried<T, E, F>(mut request: impl FnMut() -> F) -> Result<T, E>
where
    E: Failed,
    F: Future<Output = Result<T, E>>,
{
    let mut tried = 1;
    loop {
        let failed = match request().await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let wait = next(failed.error(), tried).filter(|_| !failed.is_final());
        let Some(wait) = wait else { return Err(failed) };
        tokio::time::sleep(wait).await;
        tried += 1;
    }
}

/// How long to wait before the next try, if there should be one.
fn next(error: &ConnectorError, tried: u32) -> Option<Duration> {
    match error {
        _ if tried >= TRIES => None,
        ConnectorError::Transient { .. } => Some(wait(tried)),
        ConnectorError::RateLimited { retry_after, .. } if *retry_after <= LONGEST_WAIT => {
            Some(wait(tried).max(*retry_after))
        }
        _ => None,
    }
}

/// Longer each time, and never the same for two.
pub(crate) fn wait(tried: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << tried.min(10)).min(LONGEST_WAIT);
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transient() -> ConnectorError {
        ConnectorError::Transient { code: "AOS-0236", message: String::new() }
    }

    #[test]
    fn only_what_may_end_otherwise_is_tried_again() {
        let limited = |seconds| ConnectorError::RateLimited {
            code: "AOS-0236",
            message: String::new(),
            retry_after: Duration::from_secs(seconds),
        };
        assert!(next(&transient(), 1).is_some());
        assert!(next(&transient(), TRIES).is_none());
        assert!(next(&limited(3), 1).is_some_and(|wait| wait >= Duration::from_secs(3)));
        assert!(next(&limited(3_600), 1).is_none());
        assert!(next(&ConnectorError::Cancelled, 1).is_none());
        assert!(wait(1) < wait(9));
    }

    #[tokio::test]
    async fn a_request_is_made_until_it_is_answered() {
        let mut made = 0;
        let answer: Result<u32, ConnectorError> = retried(|| {
            made += 1;
            let answer = if made < 3 { Err(transient()) } else { Ok(made) };
            std::future::ready(answer)
        })
        .await;
        assert_eq!(answer.ok(), Some(3));
    }
}
