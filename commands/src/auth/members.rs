//! Members of an organisation. Who may do what: an admin manages members of roles up to their own;
//! owners are made and unmade by owners alone, and one stays. Owners are listed on the tenant's own
//! aggregate, so that "the last one" is decided in one place.

use super::{AuthService, Identity, normalise_email, passwords};
use crate::{
    error::CommandError,
    execute::{CommandContext, derive_id},
};
use autonomos_domain::{
    aggregates::{
        tenant::{Tenant, TenantCommand},
        user::{Role, User, UserCommand},
    },
    envelope::Position,
    error::Error as DomainError,
    ids::UserId,
};
use std::sync::Arc;

/// A member just added.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub id: UserId,
    pub email: String,
    pub role: Role,
    pub position: Option<Position>,
}

impl AuthService {
    /// Adds a member with a first password, which they are to change.
    pub async fn user_create(
        &self,
        identity: &Identity,
        context: &CommandContext,
        email: &str,
        password: &str,
        role: Role,
    ) -> Result<NewUser, CommandError> {
        identity.require(Role::Admin)?;
        identity.require(role)?;
        let email = normalise_email(email);
        passwords::check_strength(password, &email)?;
        let id = UserId(derive_id(context.tenant, context.command_id, "user"));
        let commands = &self.inner.commands;
        let known = commands.load::<User>(context.tenant, id.0).await?;
        if known.version == 0 {
            self.email_is_free(&email).await?;
        }
        let password_hash = self.inner.hasher.hash(password).await?;
        let mut position = None;
        self.claim_email(context, &email, id, async |context| {
            let command = UserCommand::RegisterUser { email: email.clone(), password_hash, role };
            position = commands.create::<User>(context, id.0, command).await?.position;
            Ok(())
        })
        .await?;
        if role == Role::Owner {
            position = self.owner_add(context, id).await?.or(position);
        }
        Ok(NewUser { id, email, role, position })
    }

    /// Gives a member another role.
    pub async fn user_change_role(
        &self,
        identity: &Identity,
        context: &CommandContext,
        id: UserId,
        role: Role,
    ) -> Result<Option<Position>, CommandError> {
        let user = self.managed_user(identity, context, id).await?;
        identity.require(role)?;
        if user.role == Some(Role::Owner) && role != Role::Owner {
            self.owner_remove(context, id).await?;
        }
        let outcome =
            self.inner.commands.execute::<User>(context, id.0, UserCommand::ChangeRole { role }).await?;
        if role == Role::Owner {
            return Ok(self.owner_add(context, id).await?.or(outcome.position));
        }
        Ok(outcome.position)
    }

    /// Removes a member; their sessions end and their e-mail is free again.
    pub async fn user_remove(
        &self,
        identity: &Identity,
        context: &CommandContext,
        id: UserId,
    ) -> Result<Option<Position>, CommandError> {
        let user = self.managed_user(identity, context, id).await?;
        self.owner_remove(context, id).await?;
        let outcome = self.inner.commands.execute::<User>(context, id.0, UserCommand::RemoveUser).await?;
        self.email_release(context, &user.email, id).await?;
        Ok(outcome.position)
    }

    /// A member that the caller may manage.
    async fn managed_user(
        &self,
        identity: &Identity,
        context: &CommandContext,
        id: UserId,
    ) -> Result<Arc<User>, CommandError> {
        identity.require(Role::Admin)?;
        let user = self.inner.commands.load::<User>(context.tenant, id.0).await?;
        if user.version == 0 {
            return Err(CommandError::NotFound { what: "user", id: id.to_string() });
        }
        if let Some(role) = user.state.role {
            identity.require(role)?;
        }
        Ok(user.state)
    }

    async fn owner_add(
        &self,
        context: &CommandContext,
        id: UserId,
    ) -> Result<Option<Position>, CommandError> {
        let step = context.step("add-owner");
        let command = TenantCommand::AddOwner { owner: id };
        Ok(self.inner.commands.execute::<Tenant>(&step, context.tenant.0, command).await?.position)
    }

    async fn owner_remove(&self, context: &CommandContext, id: UserId) -> Result<(), CommandError> {
        let step = context.step("remove-owner");
        let command = TenantCommand::RemoveOwner { owner: id };
        match self.inner.commands.execute::<Tenant>(&step, context.tenant.0, command).await {
            Ok(_) => Ok(()),
            Err(CommandError::Refused(DomainError::Conflict { .. })) => Err(CommandError::LastOwner),
            Err(error) => Err(error),
        }
    }
}
