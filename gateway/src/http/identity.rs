//! Who asks: the tenant comes from the verified token and from nothing else.

use super::{problem::ApiError, state::App};
use autonomos_commands::auth::Identity;
use autonomos_domain::{aggregates::user::Role, ids::TenantId};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, header, request::Parts},
};

/// A verified caller. The tenant of every query and command is this one's.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub Identity);

impl Caller {
    pub(crate) fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    /// Refuses who may only look.
    pub(crate) fn may_edit(&self) -> Result<(), ApiError> {
        self.0.require(Role::Editor).map_err(ApiError::from)
    }

    /// Refuses who may not manage members, keys and policies.
    pub(crate) fn may_administer(&self) -> Result<(), ApiError> {
        self.0.require(Role::Admin).map_err(ApiError::from)
    }
}

/// The bearer token of a request, if it has one.
pub(super) fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(super) fn unauthenticated() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "AOS-0502",
        "sign in first: send `Authorization: Bearer <access token or API key>`",
    )
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        // A layer before this one verified the token already (it limits rates by tenant).
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let token = bearer(parts).ok_or_else(unauthenticated)?;
        let identity = app.platform.auth.verify(token).await?;
        let caller = Self(identity);
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// Nobody may ask where a ticket does instead.
impl OptionalFromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Self::Rejection> {
        if parts.extensions.get::<Self>().is_none() && bearer(parts).is_none() {
            return Ok(None);
        }
        <Self as FromRequestParts<App>>::from_request_parts(parts, app).await.map(Some)
    }
}
