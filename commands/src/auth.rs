//! Who may come in: registration, sign-in, sessions, members and API keys.
//!
//! An e-mail belongs to one user of the installation: its reservation, in the system tenant under a
//! keyed hash, leads to tenant and user, so that signing in needs no read model. A token is checked
//! against its user's (or key's) aggregate each time, which is in memory while it is used: what was
//! revoked is refused from the next request on.

mod api_keys;
mod members;
mod passwords;
mod throttle;
mod tokens;

pub use api_keys::NewApiKey;
pub use members::NewUser;
pub use tokens::{ACCESS_TOKEN_SECONDS, Claims};

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
    keys::KeyStore,
};
use autonomos_domain::{
    aggregates::{
        reservation::{Holder, Reservation, ReservationCommand},
        tenant::{Tenant, TenantCommand},
        user::{Role, User, UserCommand},
    },
    envelope::{Actor, Position},
    error::Error as DomainError,
    ids::{CommandId, SessionId, TenantId, UserId},
};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use throttle::Subject;
use tokens::RefreshToken;
use uuid::Uuid;

const EMAIL: &str = "email";
const FIRST_ORGANIZATION: &str = "first_organization";
/// How long an unfinished registration keeps its e-mail.
const HOLD: TimeDelta = TimeDelta::minutes(1);

/// What a sign-in hands out.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
    /// Seconds.
    pub expires_in: i64,
}

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub user_id: UserId,
    pub tenant_id: TenantId,
    pub email: String,
    pub role: Role,
    pub organization: String,
    pub tokens: Tokens,
    pub position: Option<Position>,
}

/// Who a request comes from, as verified just now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub tenant: TenantId,
    pub actor: Actor,
    pub role: Role,
    /// Of a user, not of an API key.
    pub user: Option<UserId>,
    pub session: Option<SessionId>,
}

impl Identity {
    /// Refuses who has a lesser role.
    pub fn require(&self, role: Role) -> Result<(), CommandError> {
        if self.role < role {
            return Err(CommandError::Forbidden { reason: "your role does not allow this" });
        }
        Ok(())
    }

    /// The context of a command they ask for.
    pub fn context(&self, command_id: CommandId, request_hash: Option<String>) -> CommandContext {
        CommandContext { request_hash, ..CommandContext::new(self.tenant, self.actor.clone(), command_id) }
    }
}

/// Registration, sign-in, members and keys. Cheap to clone.
#[derive(Clone)]
pub struct AuthService {
    inner: Arc<Inner>,
}

struct Inner {
    commands: Commands,
    keys: Arc<KeyStore>,
    signer: tokens::Signer,
    hasher: passwords::Hasher,
    throttle: throttle::Throttle,
}

impl AuthService {
    /// Makes the signing key on first use, and hashes one password: takes some milliseconds.
    pub fn new(commands: Commands, keys: Arc<KeyStore>) -> Result<Self, CommandError> {
        let signer = tokens::Signer::open(&keys)?;
        let throttle = throttle::Throttle::new(commands.clock().clone());
        let hasher = passwords::Hasher::new()?;
        Ok(Self { inner: Arc::new(Inner { commands, keys, signer, hasher, throttle }) })
    }

    /// The published verification keys, as `/.well-known/jwks.json` answers them.
    pub fn jwks(&self) -> Value {
        self.inner.signer.jwks()
    }

    /// Registers an organisation with its owner, and signs them in.
    pub async fn register(
        &self,
        organization: &str,
        email: &str,
        password: &str,
    ) -> Result<SignedIn, CommandError> {
        let email = normalise_email(email);
        passwords::check_strength(password, &email)?;
        let tenant = TenantId::random();
        let user = UserId::random();
        let context = CommandContext::new(tenant, Actor::User(user.0), CommandId::random());
        // Hashing costs most: a taken e-mail is refused before it, and by the hold again after it.
        self.email_is_free(&email).await?;
        let password_hash = self.inner.hasher.hash(password).await?;

        let commands = &self.inner.commands;
        let register_tenant = TenantCommand::RegisterTenant {
            name: organization.trim().to_owned(),
            cell: commands.log().cell_of(tenant),
            owner: user,
        };
        self.claim_email(&context, &email, user, async |context| {
            commands.create::<Tenant>(context, tenant.0, register_tenant).await?;
            let register_user =
                UserCommand::RegisterUser { email: email.clone(), password_hash, role: Role::Owner };
            commands.create::<User>(context, user.0, register_user).await?;
            Ok(())
        })
        .await?;
        self.note_first_organization(&context).await;
        self.sign_in(tenant, user).await
    }

    /// Signs a user in. `address` is where the request came from, for slowing attackers down.
    pub async fn login(
        &self,
        email: &str,
        password: &str,
        address: Option<&str>,
    ) -> Result<SignedIn, CommandError> {
        let email = normalise_email(email);
        let throttle = &self.inner.throttle;
        let account = Subject::Account(&email);
        throttle.check(account)?;
        if let Some(address) = address {
            throttle.check(Subject::Address(address))?;
        }
        let found = self.find_user(&email).await?;
        let known = found.as_ref().map(|(_, user)| user.password_hash.as_str());
        let matches = self.inner.hasher.verify(password, known).await?;
        let Some((holder, _)) = found.filter(|_| matches) else {
            throttle.failed(account);
            if let Some(address) = address {
                throttle.failed(Subject::Address(address));
            }
            return Err(CommandError::WrongCredentials);
        };
        throttle.succeeded(account);
        self.sign_in(holder.tenant, UserId(holder.id)).await
    }

    /// Exchanges a refresh token for new tokens. A token used before ends its session: it was stolen.
    pub async fn refresh(&self, refresh_token: &str) -> Result<SignedIn, CommandError> {
        let refused = || CommandError::InvalidToken { reason: "sign in again" };
        let ids = RefreshToken::parse(refresh_token).ok_or_else(refused)?;
        let next = ids.issue();
        let new_hash = tokens::token_hash(&next);
        let now = self.inner.commands.clock().now();
        let context = CommandContext::new(ids.tenant, Actor::User(ids.user.0), CommandId::random());
        let command = UserCommand::RefreshSession {
            session_id: ids.session,
            presented_hash: tokens::token_hash(refresh_token),
            new_hash: new_hash.clone(),
            expires_at: now + TimeDelta::days(tokens::REFRESH_TOKEN_DAYS),
            now,
        };
        let outcome = match self.inner.commands.execute::<User>(&context, ids.user.0, command).await {
            Ok(outcome) => outcome,
            Err(CommandError::Refused(_)) => return Err(refused()),
            Err(error) => return Err(error),
        };
        let user = self.inner.commands.load::<User>(ids.tenant, ids.user.0).await?.state;
        if !user.session_holds(ids.session, &new_hash) {
            return Err(refused());
        }
        self.signed_in(ids, &user, next, outcome.position).await
    }

    /// Ends the session a request came with; its tokens are refused from now on.
    pub async fn logout(&self, identity: &Identity) -> Result<Option<Position>, CommandError> {
        let (Some(user), Some(session)) = (identity.user, identity.session) else {
            return Err(CommandError::Forbidden { reason: "an API key has no session; revoke the key" });
        };
        let context = identity.context(CommandId::random(), None);
        let command = UserCommand::RevokeSession { session_id: session, reason: "logout".to_owned() };
        Ok(self.inner.commands.execute::<User>(&context, user.0, command).await?.position)
    }

    /// Changes the caller's password; all their sessions end.
    pub async fn password_change(
        &self,
        identity: &Identity,
        current: &str,
        new: &str,
    ) -> Result<Option<Position>, CommandError> {
        let Some(id) = identity.user else {
            return Err(CommandError::Forbidden { reason: "an API key has no password" });
        };
        let user = self.inner.commands.load::<User>(identity.tenant, id.0).await?.state;
        self.inner.throttle.check(Subject::Account(&user.email))?;
        if !self.inner.hasher.verify(current, Some(&user.password_hash)).await? {
            self.inner.throttle.failed(Subject::Account(&user.email));
            return Err(CommandError::WrongCredentials);
        }
        passwords::check_strength(new, &user.email)?;
        let password_hash = self.inner.hasher.hash(new).await?;
        let context = identity.context(CommandId::random(), None);
        let command = UserCommand::ChangePassword { password_hash };
        Ok(self.inner.commands.execute::<User>(&context, id.0, command).await?.position)
    }

    /// Who a bearer token (access token or API key) belongs to, and that it holds right now.
    pub async fn verify(&self, token: &str) -> Result<Identity, CommandError> {
        if tokens::is_api_key(token) {
            return self.api_key_verify(token).await;
        }
        let now = self.inner.commands.clock().now();
        let claims = self.inner.signer.verify(token, now.timestamp())?;
        let ended = CommandError::InvalidToken { reason: "its session has ended" };
        let mut user = self.inner.commands.load::<User>(claims.tid, claims.sub.0).await?.state;
        if !user.sessions.contains_key(&claims.sid) {
            // It may have begun on another node, a moment ago.
            user = self.inner.commands.load_newest::<User>(claims.tid, claims.sub.0).await?.state;
        }
        if user.removed || !user.sessions.contains_key(&claims.sid) {
            return Err(ended);
        }
        let Some(role) = user.role else { return Err(ended) };
        Ok(Identity {
            tenant: claims.tid,
            actor: Actor::User(claims.sub.0),
            role,
            user: Some(claims.sub),
            session: Some(claims.sid),
        })
    }

    /// The first organisation that registered here, whom the file roots serve; none before it.
    pub async fn first_organization(&self) -> Result<Option<TenantId>, CommandError> {
        let id = self.inner.keys.reservation_id(FIRST_ORGANIZATION, "");
        let reservation = self.inner.commands.load::<Reservation>(TenantId::SYSTEM, id).await?.state;
        Ok(reservation.holder.filter(|_| reservation.confirmed).map(|holder| holder.tenant))
    }

    /// Best effort: whoever registers next takes it if this one did not come so far.
    async fn note_first_organization(&self, context: &CommandContext) {
        let holder = Holder { tenant: context.tenant, id: context.tenant.0 };
        let id = self.inner.keys.reservation_id(FIRST_ORGANIZATION, "");
        let held = self.reservation_hold(context, FIRST_ORGANIZATION, id, holder).await;
        if held.is_ok()
            && let Err(error) = self.reservation_confirm(context, FIRST_ORGANIZATION, id, holder).await
        {
            tracing::warn!(%error, "the first organisation could not be noted");
        }
    }

    async fn sign_in(&self, tenant: TenantId, user: UserId) -> Result<SignedIn, CommandError> {
        let ids = RefreshToken { tenant, user, session: SessionId::random() };
        let refresh_token = ids.issue();
        let now = self.inner.commands.clock().now();
        let context = CommandContext::new(tenant, Actor::User(user.0), CommandId::random());
        let command = UserCommand::StartSession {
            session_id: ids.session,
            refresh_hash: tokens::token_hash(&refresh_token),
            expires_at: now + TimeDelta::days(tokens::REFRESH_TOKEN_DAYS),
            now,
        };
        let outcome = self.inner.commands.execute::<User>(&context, user.0, command).await?;
        let state = self.inner.commands.load::<User>(tenant, user.0).await?.state;
        self.signed_in(ids, &state, refresh_token, outcome.position).await
    }

    async fn signed_in(
        &self,
        ids: RefreshToken,
        user: &User,
        refresh_token: String,
        position: Option<Position>,
    ) -> Result<SignedIn, CommandError> {
        let role = user.role.ok_or(CommandError::WrongCredentials)?;
        let now = self.inner.commands.clock().now().timestamp();
        let access_token = self.inner.signer.issue(ids.tenant, ids.user, role, ids.session, now)?;
        let tenant = self.inner.commands.load::<Tenant>(ids.tenant, ids.tenant.0).await?.state;
        Ok(SignedIn {
            user_id: ids.user,
            tenant_id: ids.tenant,
            email: user.email.clone(),
            role,
            organization: tenant.name.clone(),
            tokens: Tokens { access_token, refresh_token, expires_in: ACCESS_TOKEN_SECONDS },
            position,
        })
    }

    fn email_reservation(&self, email: &str) -> Uuid {
        self.inner.keys.reservation_id(EMAIL, email)
    }

    async fn email_is_free(&self, email: &str) -> Result<(), CommandError> {
        let id = self.email_reservation(email);
        let reservation = self.inner.commands.load::<Reservation>(TenantId::SYSTEM, id).await?.state;
        match reservation.holder_at(self.inner.commands.clock().now()) {
            Some(_) => Err(CommandError::EmailTaken),
            None => Ok(()),
        }
    }

    /// The user an e-mail leads to. A registration that stopped before its last step is finished here.
    async fn find_user(&self, email: &str) -> Result<Option<(Holder, Arc<User>)>, CommandError> {
        let id = self.email_reservation(email);
        let commands = &self.inner.commands;
        let reservation = commands.load::<Reservation>(TenantId::SYSTEM, id).await?.state;
        let Some(holder) = reservation.holder else { return Ok(None) };
        let user = commands.load::<User>(holder.tenant, holder.id).await?.state;
        if user.removed || user.email != email {
            return Ok(None);
        }
        if !reservation.confirmed {
            let context = CommandContext::system(holder.tenant, "registration");
            self.reservation_confirm(&context, EMAIL, id, holder).await?;
        }
        Ok(Some((holder, user)))
    }

    /// Holds an e-mail for a user, does the work, confirms. A crash in between frees the e-mail at
    /// the hold's deadline; a failure frees it at once.
    async fn claim_email(
        &self,
        context: &CommandContext,
        email: &str,
        user: UserId,
        work: impl AsyncFnOnce(&CommandContext) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let id = self.email_reservation(email);
        let holder = Holder { tenant: context.tenant, id: user.0 };
        self.reservation_hold(context, EMAIL, id, holder).await.map_err(|error| match error {
            CommandError::Refused(DomainError::Reserved { .. }) => CommandError::EmailTaken,
            other => other,
        })?;
        if let Err(error) = work(context).await {
            self.email_release(context, email, user).await?;
            return Err(error);
        }
        match self.reservation_confirm(context, EMAIL, id, holder).await {
            Err(CommandError::Refused(_)) => {
                // It took longer than the hold, and another came: nobody can sign in as this user.
                let step = context.step("unclaimed");
                self.inner.commands.execute::<User>(&step, user.0, UserCommand::RemoveUser).await?;
                Err(CommandError::EmailTaken)
            }
            other => other,
        }
    }

    async fn email_release(
        &self,
        context: &CommandContext,
        email: &str,
        user: UserId,
    ) -> Result<(), CommandError> {
        let step = context.in_tenant(TenantId::SYSTEM).step("release-email");
        let command = ReservationCommand::Release { holder: Holder { tenant: context.tenant, id: user.0 } };
        self.inner.commands.execute::<Reservation>(&step, self.email_reservation(email), command).await?;
        Ok(())
    }

    async fn reservation_hold(
        &self,
        context: &CommandContext,
        purpose: &str,
        id: Uuid,
        holder: Holder,
    ) -> Result<(), CommandError> {
        let now = self.inner.commands.clock().now();
        let step = context.in_tenant(TenantId::SYSTEM).step(&format!("hold-{purpose}"));
        let command =
            ReservationCommand::Hold { purpose: purpose.to_owned(), holder, deadline: now + HOLD, now };
        self.inner.commands.execute::<Reservation>(&step, id, command).await?;
        Ok(())
    }

    async fn reservation_confirm(
        &self,
        context: &CommandContext,
        purpose: &str,
        id: Uuid,
        holder: Holder,
    ) -> Result<(), CommandError> {
        let step = context.in_tenant(TenantId::SYSTEM).step(&format!("confirm-{purpose}"));
        let command = ReservationCommand::Confirm { holder };
        self.inner.commands.execute::<Reservation>(&step, id, command).await?;
        Ok(())
    }
}

/// E-mails are told apart without regard to case, as people expect.
fn normalise_email(email: &str) -> String {
    email.trim().to_lowercase()
}
