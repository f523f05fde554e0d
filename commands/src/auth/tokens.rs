//! The tokens handed out. Access tokens are JWTs signed with Ed25519 (RFC 8037), so that anyone can
//! check them by the published key. Refresh tokens and API keys carry the ids that lead to their
//! aggregate, then 32 random bytes; only their hash is stored.

use crate::{error::CommandError, keys::KeyStore};
use autonomos_domain::{
    aggregates::user::Role,
    ids::{ApiKeyId, SessionId, TenantId, UserId},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// Seven days.
pub const ACCESS_TOKEN_SECONDS: i64 = 604_800;
pub(super) const REFRESH_TOKEN_DAYS: i64 = 30;
const ISSUER: &str = "autonomos";
const API_KEY_START: &str = "aos_";
const REFRESH_START: &str = "aosr_";
const SECRET_BYTES: usize = 32;
/// Seconds a clock may be behind.
const LEEWAY: u64 = 5;
/// Verified signatures remembered at most.
const REMEMBERED: u64 = 10_000;
/// RFC 8410: everything of a PKCS #8 Ed25519 key but its 32 bytes.
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub sub: UserId,
    pub tid: TenantId,
    /// As of when it was issued; what holds is the user's role now.
    pub role: Role,
    pub sid: SessionId,
    pub jti: Uuid,
    pub iat: i64,
    pub exp: i64,
    pub iss: String,
}

pub(super) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
    public: String,
    verified: moka::sync::Cache<[u8; 32], Claims>,
}

impl Signer {
    /// The installation's key pair, made on first use.
    pub(super) fn open(keys: &KeyStore) -> Result<Self, CommandError> {
        let private = keys.secret("token_signing", || {
            let mut key = ED25519_PKCS8.to_vec();
            key.extend_from_slice(&random_secret());
            key
        })?;
        let unusable = |_| CommandError::InvalidToken { reason: "the signing key cannot be used" };
        let encoding = EncodingKey::from_ed_der(&private);
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&encoding, Algorithm::EdDSA).map_err(unusable)?;
        let jsonwebtoken::jwk::AlgorithmParameters::OctetKeyPair(parameters) = jwk.algorithm else {
            return Err(CommandError::InvalidToken { reason: "the signing key is of another kind" });
        };
        let public = parameters.x;
        let key_id = blake3::hash(public.as_bytes()).to_hex()[..16].to_owned();
        Ok(Self {
            decoding: DecodingKey::from_ed_components(&public).map_err(unusable)?,
            encoding,
            key_id,
            public,
            verified: moka::sync::Cache::new(REMEMBERED),
        })
    }

    /// The published keys (RFC 7517).
    pub(super) fn jwks(&self) -> Value {
        json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": self.key_id, "x": self.public,
        }]})
    }

    pub(super) fn issue(
        &self,
        tenant: TenantId,
        user: UserId,
        role: Role,
        session: SessionId,
        now: i64,
    ) -> Result<String, CommandError> {
        let claims = Claims {
            sub: user,
            tid: tenant,
            role,
            sid: session,
            jti: Uuid::new_v4(),
            iat: now,
            exp: now + ACCESS_TOKEN_SECONDS,
            iss: ISSUER.to_owned(),
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map_err(|_| CommandError::InvalidToken { reason: "it cannot be signed" })
    }

    /// Checks signature, issuer and time; whether the session still holds is the caller's to ask.
    pub(super) fn verify(&self, token: &str, now: i64) -> Result<Claims, CommandError> {
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        let claims = match self.verified.get(&hash) {
            Some(claims) => claims,
            None => {
                let mut validation = Validation::new(Algorithm::EdDSA);
                validation.set_issuer(&[ISSUER]);
                validation.set_required_spec_claims(&["exp", "iss", "sub"]);
                // By our own clock, below.
                validation.validate_exp = false;
                let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)
                    .map_err(|_| CommandError::InvalidToken { reason: "it was not issued here" })?
                    .claims;
                self.verified.insert(hash, claims.clone());
                claims
            }
        };
        if claims.exp + LEEWAY as i64 <= now {
            return Err(CommandError::InvalidToken { reason: "it has expired" });
        }
        Ok(claims)
    }
}

/// A refresh token's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RefreshToken {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) session: SessionId,
}

impl RefreshToken {
    /// The token's text, with a new secret.
    pub(super) fn issue(self) -> String {
        let mut ids = [0_u8; 48];
        ids[..16].copy_from_slice(self.tenant.0.as_bytes());
        ids[16..32].copy_from_slice(self.user.0.as_bytes());
        ids[32..].copy_from_slice(self.session.0.as_bytes());
        let secret = random_secret();
        format!("{REFRESH_START}{}.{}", URL_SAFE_NO_PAD.encode(ids), URL_SAFE_NO_PAD.encode(secret))
    }

    pub(super) fn parse(token: &str) -> Option<Self> {
        let (ids, secret) = token.strip_prefix(REFRESH_START)?.split_once('.')?;
        let ids: [u8; 48] = URL_SAFE_NO_PAD.decode(ids).ok()?.try_into().ok()?;
        secret_is_whole(secret)?;
        Some(Self {
            tenant: TenantId(uuid_at(&ids, 0)),
            user: UserId(uuid_at(&ids, 16)),
            session: SessionId(uuid_at(&ids, 32)),
        })
    }
}

/// An API key's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ApiKeyToken {
    pub(super) tenant: TenantId,
    pub(super) id: ApiKeyId,
}

impl ApiKeyToken {
    /// Characters of a key that people see afterwards.
    pub(super) const SHOWN: usize = 12;

    /// The key's text, with a new secret. The id comes first, so that keys differ early.
    pub(super) fn issue(self) -> String {
        let mut ids = [0_u8; 32];
        ids[..16].copy_from_slice(self.id.0.as_bytes());
        ids[16..].copy_from_slice(self.tenant.0.as_bytes());
        let secret = random_secret();
        format!("{API_KEY_START}{}.{}", URL_SAFE_NO_PAD.encode(ids), URL_SAFE_NO_PAD.encode(secret))
    }

    pub(super) fn parse(key: &str) -> Option<Self> {
        let (ids, secret) = key.strip_prefix(API_KEY_START)?.split_once('.')?;
        let ids: [u8; 32] = URL_SAFE_NO_PAD.decode(ids).ok()?.try_into().ok()?;
        secret_is_whole(secret)?;
        Some(Self { id: ApiKeyId(uuid_at(&ids, 0)), tenant: TenantId(uuid_at(&ids, 16)) })
    }
}

/// True of what looks like an API key rather than an access token.
pub(super) fn is_api_key(token: &str) -> bool {
    token.starts_with(API_KEY_START)
}

/// What is stored of a token. The secret in it has 256 random bits, so a fast hash is enough.
pub(super) fn token_hash(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}

fn uuid_at(bytes: &[u8], start: usize) -> Uuid {
    let mut id = [0_u8; 16];
    id.copy_from_slice(&bytes[start..start + 16]);
    Uuid::from_bytes(id)
}

fn secret_is_whole(secret: &str) -> Option<()> {
    (URL_SAFE_NO_PAD.decode(secret).ok()?.len() == SECRET_BYTES).then_some(())
}

fn random_secret() -> [u8; SECRET_BYTES] {
    let mut secret = [0_u8; SECRET_BYTES];
    rand::rng().fill_bytes(&mut secret);
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_tokens_verify_until_they_expire_and_under_their_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(folder.path()).unwrap();
        let signer = Signer::open(&keys).unwrap();
        let (tenant, user, session) = (TenantId::random(), UserId::random(), SessionId::random());
        let token = signer.issue(tenant, user, Role::Editor, session, 1_000).unwrap();
        let claims = Signer::open(&keys).unwrap().verify(&token, 1_001).unwrap();
        assert_eq!((claims.sub, claims.tid, claims.sid), (user, tenant, session));
        assert_eq!(claims.exp - claims.iat, ACCESS_TOKEN_SECONDS);
        assert!(signer.verify(&token, 1_000 + ACCESS_TOKEN_SECONDS + 6).is_err());

        let other_folder = tempfile::tempdir().unwrap();
        let other = Signer::open(&KeyStore::open(other_folder.path()).unwrap()).unwrap();
        assert!(other.verify(&token, 1_001).is_err());
        assert!(signer.verify("a.b.c", 1_001).is_err());
        assert_eq!(signer.jwks()["keys"][0]["crv"], "Ed25519");
    }

    #[test]
    fn tokens_lead_back_to_their_aggregates() {
        let refresh =
            RefreshToken { tenant: TenantId::random(), user: UserId::random(), session: SessionId::random() };
        let text = refresh.issue();
        assert_eq!(RefreshToken::parse(&text), Some(refresh));
        assert_eq!(RefreshToken::parse(&text[..text.len() - 4]), None);
        assert_ne!(text, refresh.issue());

        let key = ApiKeyToken { tenant: TenantId::random(), id: ApiKeyId::random() };
        let text = key.issue();
        assert!(is_api_key(&text));
        assert_eq!(ApiKeyToken::parse(&text), Some(key));
        assert_eq!(ApiKeyToken::parse("aos_x.y"), None);
    }
}
