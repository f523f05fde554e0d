//! Passwords: which are refused, and Argon2id off the async threads, a few at a time.

use crate::error::CommandError;
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Memory in KiB, passes, lanes: OWASP's password storage cheat sheet, Argon2id, second row.
const ARGON2: (u32, u32, u32) = (19 * 1024, 2, 1);
const LEAST_CHARACTERS: usize = 10;
/// Hashing time does not depend on the length; this only bounds what is taken in.
const MOST_BYTES: usize = 1_024;
/// Sign-ins that may wait for a hash at a time.
const MOST_WAITING: usize = 512;
/// What people choose when ten characters are asked for.
const COMMON: &[&str] = &[
    "1234567890",
    "0123456789",
    "0987654321",
    "1234512345",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "qwertyuiop",
    "qwerty1234",
    "qwerty12345",
    "qwerty123456",
    "asdfghjkl1",
    "zaq12wsxcde3",
    "password12",
    "password123",
    "password1234",
    "password12345",
    "passw0rd123",
    "p@ssw0rd123",
    "iloveyou123",
    "welcome123",
    "welcome1234",
    "letmein123",
    "letmein1234",
    "changeme123",
    "admin12345",
    "administrator",
    "superman123",
    "sunshine123",
    "football123",
    "baseball123",
    "princess123",
    "abcdefghij",
    "abcdefghijk",
    "abc1234567",
    "abcd123456",
    "aaaaaaaaaa",
    "1111111111",
    "0000000000",
    "autonomos1",
    "autonomos123",
];

/// Refuses what is guessed first. `email` in lower case.
pub(super) fn check_strength(password: &str, email: &str) -> Result<(), CommandError> {
    let refuse = |reason| Err(CommandError::WeakPassword { reason });
    if password.chars().count() < LEAST_CHARACTERS {
        return refuse("at least 10 characters are needed");
    }
    if password.len() > MOST_BYTES {
        return refuse("at most 1024 bytes are taken");
    }
    let folded = password.to_lowercase();
    if COMMON.contains(&folded.as_str()) {
        return refuse("it is on the list of common passwords");
    }
    let first = folded.chars().next();
    if folded.chars().all(|character| Some(character) == first) {
        return refuse("it repeats one character");
    }
    let local = email.split('@').next().unwrap_or_default();
    if local.len() >= 3 && folded.contains(local) {
        return refuse("it contains the e-mail's name");
    }
    Ok(())
}

/// Hashes and verifies, as many at a time as there are cores to spare.
pub(super) struct Hasher {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Verified against when there is no such user, so that both take the same time.
    dummy: String,
}

impl Hasher {
    pub(super) fn new() -> Result<Self, CommandError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            permits: Arc::new(Semaphore::new(cores.div_ceil(2))),
            waiting: AtomicUsize::new(0),
            dummy: hash("nobody's password")?,
        })
    }

    pub(super) async fn hash(&self, password: &str) -> Result<String, CommandError> {
        let password = Zeroizing::new(password.to_owned());
        self.blocking(move || hash(&password)).await?
    }

    /// Takes as long whether or not there is a hash to verify against.
    pub(super) async fn verify(&self, password: &str, known: Option<&str>) -> Result<bool, CommandError> {
        let password = Zeroizing::new(password.to_owned());
        let exists = known.is_some();
        let hash = known.unwrap_or(&self.dummy).to_owned();
        let matches = self
            .blocking(move || {
                argon2()
                    .is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), hash.as_str()).is_ok())
            })
            .await?;
        Ok(matches && exists)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CommandError> {
        let _waiting = Waiting::enter(&self.waiting)?;
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.map_err(|_| CommandError::ShuttingDown)?;
        tokio::task::spawn_blocking(move || {
            // Held until the hash is done, also when the caller went away.
            let _permit = permit;
            work()
        })
        .await
        .map_err(|_| CommandError::ShuttingDown)
    }
}

struct Waiting<'count>(&'count AtomicUsize);

impl<'count> Waiting<'count> {
    fn enter(count: &'count AtomicUsize) -> Result<Self, CommandError> {
        let entered = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            return Err(CommandError::TooManyAttempts { retry_after: std::time::Duration::from_secs(5) });
        }
        Ok(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Result<Argon2<'static>, CommandError> {
    let (memory, passes, lanes) = ARGON2;
    let parameters = Params::new(memory, passes, lanes, None)
        .map_err(|_| CommandError::WeakPassword { reason: "it cannot be hashed" })?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

fn hash(password: &str) -> Result<String, CommandError> {
    argon2()?
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| CommandError::WeakPassword { reason: "it cannot be hashed" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_passwords_are_refused() {
        let check = |password: &str, weak: bool| {
            let refused = check_strength(password, "frida.meyer@example.com").is_err();
            assert_eq!(refused, weak, "{password}");
        };
        check("short", true);
        check("Password123", true);
        check("zzzzzzzzzzzzzz", true);
        check("xx-Frida.Meyer-77", true);
        check(&"long".repeat(400), true);
        check("correct horse battery", false);
        check("Tr0ub4dor&3-x", false);
    }

    #[tokio::test]
    async fn a_hash_verifies_its_password_alone() {
        let hasher = Hasher::new().unwrap();
        let hash = hasher.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify("correct horse battery", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("nobody's password", None).await.unwrap());
    }
}
