//! Registration, sign-in, members and API keys.

use super::{
    extract::{Body, Command, Path, Query},
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, page, positioned},
    state::App,
};
use autonomos_commands::auth::SignedIn;
use autonomos_domain::{
    aggregates::user::Role,
    ids::{ApiKeyId, UserId},
};
use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(me))
        .routes(routes!(password_change))
        .routes(routes!(user_list, user_create))
        .routes(routes!(user_change, user_remove))
        .routes(routes!(api_key_list, api_key_create))
        .routes(routes!(api_key_revoke))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    organization: String,
    email: String,
    password: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    email: String,
    password: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    refresh_token: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserView {
    id: Uuid,
    email: String,
    #[schema(value_type = String, example = "owner")]
    role: Role,
}

#[derive(Debug, Serialize, ToSchema)]
struct TenantView {
    id: Uuid,
    name: String,
}

/// Tokens and whose they are.
#[derive(Debug, Serialize, ToSchema)]
struct TokensView {
    user: UserView,
    tenant: TenantView,
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
}

fn signed_in(app: &App, status: StatusCode, signed: SignedIn) -> Response {
    let position = signed.position;
    let body = TokensView {
        user: UserView { id: signed.user_id.0, email: signed.email, role: signed.role },
        tenant: TenantView { id: signed.tenant_id.0, name: signed.organization },
        access_token: signed.tokens.access_token,
        refresh_token: signed.tokens.refresh_token,
        token_type: "Bearer",
        expires_in: signed.tokens.expires_in,
    };
    positioned(app, (status, Json(body)).into_response(), position)
}

/// Registers an organisation and its owner.
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = Registration, security(()),
    responses((status = 201, body = TokensView), (status = 409, description = "the e-mail is taken"),
              (status = 422, description = "a weak password or a bad e-mail")))]
async fn register(State(app): State<App>, Body(body): Body<Registration>) -> Result<Response, ApiError> {
    if !app.config.open_registration {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "AOS-0505",
            "registration is closed on this installation",
        ));
    }
    let signed = app.platform.auth.register(&body.organization, &body.email, &body.password).await?;
    if let Some(first) = app.platform.auth.first_organization().await? {
        app.platform.connectors.roots.claim(first);
    }
    Ok(signed_in(&app, StatusCode::CREATED, signed))
}

/// Signs in. A wrong e-mail and a wrong password get one message, in the same time.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Credentials, security(()),
    responses((status = 200, body = TokensView), (status = 401, description = "wrong e-mail or password")))]
async fn login(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Body(body): Body<Credentials>,
) -> Result<Response, ApiError> {
    let from = address.ip().to_string();
    let signed = app.platform.auth.login(&body.email, &body.password, Some(&from)).await?;
    Ok(signed_in(&app, StatusCode::OK, signed))
}

/// Exchanges a refresh token, once, for new tokens.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = RefreshRequest, security(()),
    responses((status = 200, body = TokensView), (status = 401, description = "used, expired or unknown")))]
async fn refresh(State(app): State<App>, Body(body): Body<RefreshRequest>) -> Result<Response, ApiError> {
    Ok(signed_in(&app, StatusCode::OK, app.platform.auth.refresh(&body.refresh_token).await?))
}

/// Ends the session; its tokens are refused at once.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses((status = 204)))]
async fn logout(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    app.platform.auth.logout(&caller.0).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who asks: a key has no user.
#[derive(Debug, Serialize, ToSchema)]
struct MeView {
    user: Option<UserView>,
    tenant: TenantView,
    #[schema(value_type = String, example = "owner")]
    role: Role,
}

/// Who am I.
#[utoipa::path(get, path = "/auth/me", tag = "auth", responses((status = 200, body = MeView)))]
async fn me(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    use autonomos_domain::aggregates::{tenant::Tenant, user::User};
    let tenant = app.platform.commands.load::<Tenant>(caller.tenant(), caller.tenant().0).await?.state;
    let user = match caller.0.user {
        Some(id) => {
            let user = app.platform.commands.load::<User>(caller.tenant(), id.0).await?.state;
            Some(UserView { id: id.0, email: user.email.clone(), role: caller.0.role })
        }
        None => None,
    };
    let tenant = TenantView { id: caller.tenant().0, name: tenant.name.clone() };
    Ok(Json(MeView { user, tenant, role: caller.0.role }).into_response())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    current_password: String,
    new_password: String,
}

/// Changes the caller's password; all their sessions end.
#[utoipa::path(post, path = "/auth/password", tag = "auth", request_body = PasswordChange, responses((status = 204)))]
async fn password_change(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<PasswordChange>,
) -> Result<Response, ApiError> {
    app.platform.auth.password_change(&caller.0, &body.current_password, &body.new_password).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Members of the organisation.
#[utoipa::path(get, path = "/users", tag = "auth", params(ListQuery), responses((status = 200, body = ref("#/list/UserRow"))))]
async fn user_list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let rows = app.models().user_list(caller.tenant(), &request).await?;
    Ok(page(rows, position, |row| row))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMember {
    email: String,
    /// A first one, for the member to change.
    password: String,
    #[schema(value_type = String, example = "viewer")]
    role: Role,
}

/// Adds a member.
#[utoipa::path(post, path = "/users", tag = "auth", request_body = NewMember, responses((status = 201, body = UserView)))]
async fn user_create(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Body(body): Body<NewMember>,
) -> Result<Response, ApiError> {
    let context = command.context(&caller);
    let user =
        app.platform.auth.user_create(&caller.0, &context, &body.email, &body.password, body.role).await?;
    let view = UserView { id: user.id.0, email: user.email, role: user.role };
    Ok(positioned(&app, (StatusCode::CREATED, Json(view)).into_response(), user.position))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoleChange {
    #[schema(value_type = String, example = "editor")]
    role: Role,
}

/// Changes a member's role.
#[utoipa::path(patch, path = "/users/{id}", tag = "auth", params(("id" = Uuid, Path,)), request_body = RoleChange,
    responses((status = 204), (status = 404), (status = 409, description = "the last owner")))]
async fn user_change(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Path(id): Path<Uuid>,
    Body(body): Body<RoleChange>,
) -> Result<Response, ApiError> {
    let context = command.context(&caller);
    let position = app.platform.auth.user_change_role(&caller.0, &context, UserId(id), body.role).await?;
    Ok(positioned(&app, StatusCode::NO_CONTENT.into_response(), position))
}

/// Removes a member.
#[utoipa::path(delete, path = "/users/{id}", tag = "auth", params(("id" = Uuid, Path,)),
    responses((status = 204), (status = 404), (status = 409, description = "the last owner")))]
async fn user_remove(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let context = command.context(&caller);
    let position = app.platform.auth.user_remove(&caller.0, &context, UserId(id)).await?;
    Ok(positioned(&app, StatusCode::NO_CONTENT.into_response(), position))
}

/// Keys for machines.
#[utoipa::path(get, path = "/api-keys", tag = "auth", params(ListQuery), responses((status = 200, body = ref("#/list/ApiKeyRow"))))]
async fn api_key_list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let rows = app.models().api_key_list(caller.tenant(), &request).await?;
    Ok(page(rows, position, |row| row))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    #[schema(value_type = String, example = "viewer")]
    role: Role,
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct NewKeyView {
    id: Uuid,
    name: String,
    #[schema(value_type = String, example = "viewer")]
    role: Role,
    /// Its first characters, to tell keys apart.
    prefix: String,
    /// The key itself: it is kept nowhere.
    key: String,
    expires_at: Option<DateTime<Utc>>,
}

/// Makes a key; its text is in this answer and nowhere else. The same `Idempotency-Key` makes no
/// second one: it answers 409 with the first one's id.
#[utoipa::path(post, path = "/api-keys", tag = "auth", request_body = NewKey,
    responses((status = 201, description = "the key, shown once", body = NewKeyView)))]
async fn api_key_create(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Body(body): Body<NewKey>,
) -> Result<Response, ApiError> {
    let context = command.context(&caller);
    let made =
        app.platform.auth.api_key_create(&caller.0, &context, &body.name, body.role, body.expires_at).await?;
    let view = NewKeyView {
        id: made.id.0,
        name: body.name.trim().to_owned(),
        role: body.role,
        prefix: made.prefix,
        key: made.key,
        expires_at: body.expires_at,
    };
    Ok(positioned(&app, (StatusCode::CREATED, Json(view)).into_response(), made.position))
}

/// Revokes a key; it is refused at once.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "auth", params(("id" = Uuid, Path,)), responses((status = 204), (status = 404)))]
async fn api_key_revoke(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let context = command.context(&caller);
    let position = app.platform.auth.api_key_revoke(&caller.0, &context, ApiKeyId(id)).await?;
    Ok(positioned(&app, StatusCode::NO_CONTENT.into_response(), position))
}
