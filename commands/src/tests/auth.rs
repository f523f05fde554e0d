use super::{World, context};
use crate::{
    auth::{AuthService, Identity, SignedIn},
    clock::Clock,
    error::{CommandError, Kind},
    execute::CommandContext,
};
use autonomos_domain::{
    aggregates::{
        reservation::{Holder, Reservation, ReservationCommand},
        tenant::{Tenant, TenantCommand},
        user::{Role, User, UserCommand},
    },
    ids::{CommandId, TenantId, UserId},
};
use chrono::{DateTime, TimeDelta};

const PASSWORD: &str = "correct horse battery";

fn service(world: &World) -> AuthService {
    AuthService::new(world.commands.clone(), world.keys.clone()).unwrap()
}

fn fixed() -> Clock {
    Clock::fixed(DateTime::from_timestamp(1_700_000_000, 0).unwrap())
}

async fn registered(auth: &AuthService, email: &str) -> (SignedIn, Identity) {
    let signed_in = auth.register("Meyer AG", email, PASSWORD).await.unwrap();
    let identity = auth.verify(&signed_in.tokens.access_token).await.unwrap();
    (signed_in, identity)
}

fn asked(identity: &Identity) -> CommandContext {
    identity.context(CommandId::random(), None)
}

#[tokio::test]
async fn register_sign_in_and_out() {
    let world = World::new();
    let auth = service(&world);
    let (first, identity) = registered(&auth, " Frida@Example.com").await;
    assert_eq!(first.email, "frida@example.com");
    assert_eq!((identity.tenant, identity.role), (first.tenant_id, Role::Owner));
    assert_eq!(first.tokens.expires_in, 604_800);
    assert_eq!(auth.first_organization().await.unwrap(), Some(first.tenant_id));

    let again = auth.login("FRIDA@example.com", PASSWORD, Some("10.0.0.1")).await.unwrap();
    assert_eq!((again.user_id, again.organization.as_str()), (first.user_id, "Meyer AG"));
    let wrong = auth.login("frida@example.com", "wrong password", None).await.unwrap_err();
    let unknown = auth.login("nobody@example.com", PASSWORD, None).await.unwrap_err();
    assert_eq!(wrong.to_string(), unknown.to_string());
    assert_eq!(wrong.kind(), Kind::Unauthenticated);

    auth.logout(&identity).await.unwrap();
    let ended = auth.verify(&first.tokens.access_token).await.unwrap_err();
    assert_eq!(ended.kind(), Kind::Unauthenticated);
    auth.refresh(&first.tokens.refresh_token).await.unwrap_err();
    auth.verify(&again.tokens.access_token).await.unwrap();

    registered(&auth, "second@example.com").await;
    assert_eq!(auth.first_organization().await.unwrap(), Some(first.tenant_id));
}

#[tokio::test]
async fn sessions_survive_a_restart() {
    let world = World::new();
    let (signed_in, _) = registered(&service(&world), "frida@example.com").await;
    let world = world.restart().await;
    let auth = service(&world);
    auth.verify(&signed_in.tokens.access_token).await.unwrap();
    auth.refresh(&signed_in.tokens.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_register_one_email_exactly_one_wins() {
    let world = World::new();
    let auth = service(&world);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let auth = auth.clone();
        callers.spawn(async move {
            auth.register(&format!("Company {number}"), "same@example.com", PASSWORD).await
        });
    }
    let results = callers.join_all().await;
    let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1);
    for lost in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(lost, CommandError::EmailTaken), "{lost}");
    }
    let signed_in = auth.login("same@example.com", PASSWORD, None).await.unwrap();
    assert_eq!(signed_in.tenant_id, winners[0].tenant_id);
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_the_session() {
    let world = World::new();
    let auth = service(&world);
    let (first, _) = registered(&auth, "frida@example.com").await;
    let second = auth.refresh(&first.tokens.refresh_token).await.unwrap();
    assert_ne!(first.tokens.refresh_token, second.tokens.refresh_token);
    auth.verify(&second.tokens.access_token).await.unwrap();

    let stolen = auth.refresh(&first.tokens.refresh_token).await.unwrap_err();
    assert_eq!(stolen.kind(), Kind::Unauthenticated);
    auth.verify(&second.tokens.access_token).await.unwrap_err();
    auth.refresh(&second.tokens.refresh_token).await.unwrap_err();
    auth.refresh("aosr_nonsense").await.unwrap_err();
}

#[tokio::test]
async fn tokens_and_sessions_expire() {
    let clock = fixed();
    let world = World::with_clock(clock.clone());
    let auth = service(&world);
    let (signed_in, _) = registered(&auth, "frida@example.com").await;
    clock.advance(TimeDelta::days(8));
    auth.verify(&signed_in.tokens.access_token).await.unwrap_err();
    let renewed = auth.refresh(&signed_in.tokens.refresh_token).await.unwrap();
    auth.verify(&renewed.tokens.access_token).await.unwrap();
    clock.advance(TimeDelta::days(31));
    auth.refresh(&renewed.tokens.refresh_token).await.unwrap_err();
}

#[tokio::test]
async fn failed_sign_ins_are_slowed_down() {
    let clock = fixed();
    let world = World::with_clock(clock.clone());
    let auth = service(&world);
    registered(&auth, "frida@example.com").await;
    for _ in 0..6 {
        let wrong = auth.login("frida@example.com", "wrong password", None).await.unwrap_err();
        assert!(matches!(wrong, CommandError::WrongCredentials), "{wrong}");
    }
    let slowed = auth.login("frida@example.com", PASSWORD, None).await.unwrap_err();
    assert_eq!(slowed.kind(), Kind::TooManyRequests);
    clock.advance(TimeDelta::minutes(15));
    auth.login("frida@example.com", PASSWORD, None).await.unwrap();
}

#[tokio::test]
async fn weak_passwords_and_bad_emails_are_refused_and_leave_nothing_behind() {
    let world = World::new();
    let auth = service(&world);
    let weak = auth.register("Meyer AG", "frida@example.com", "password123").await.unwrap_err();
    assert_eq!((weak.code(), weak.kind()), ("AOS-0314", Kind::Invalid));
    let bad = auth.register("Meyer AG", "no e-mail", PASSWORD).await.unwrap_err();
    assert_eq!(bad.kind(), Kind::Invalid);
    let nameless = auth.register(" ", "frida@example.com", PASSWORD).await.unwrap_err();
    assert_eq!(nameless.kind(), Kind::Invalid);
    // The refused registration let go of the e-mail.
    registered(&auth, "frida@example.com").await;
}

#[tokio::test]
async fn a_registration_cut_before_its_last_step_is_finished_by_signing_in() {
    let clock = fixed();
    let world = World::with_clock(clock.clone());
    let auth = service(&world);
    let (first, _) = registered(&auth, "other@example.com").await;
    let password_hash = world
        .commands
        .load::<User>(first.tenant_id, first.user_id.0)
        .await
        .unwrap()
        .state
        .password_hash
        .clone();

    let (tenant, user) = (TenantId::random(), UserId::random());
    let now = clock.now();
    let hold = ReservationCommand::Hold {
        purpose: "email".to_owned(),
        holder: Holder { tenant, id: user.0 },
        deadline: now + TimeDelta::minutes(1),
        now,
    };
    let id = world.keys.reservation_id("email", "cut@example.com");
    let commands = &world.commands;
    commands.execute::<Reservation>(&context(TenantId::SYSTEM), id, hold).await.unwrap();
    let register = TenantCommand::RegisterTenant { name: "Cut".to_owned(), cell: 0, owner: user };
    commands.create::<Tenant>(&context(tenant), tenant.0, register).await.unwrap();
    let register =
        UserCommand::RegisterUser { email: "cut@example.com".to_owned(), password_hash, role: Role::Owner };
    commands.create::<User>(&context(tenant), user.0, register).await.unwrap();

    clock.advance(TimeDelta::minutes(5));
    assert_eq!(auth.login("cut@example.com", PASSWORD, None).await.unwrap().user_id, user);
    let taken = auth.register("Late", "cut@example.com", PASSWORD).await.unwrap_err();
    assert!(matches!(taken, CommandError::EmailTaken));
}

#[tokio::test]
async fn members_and_the_last_owner() {
    let world = World::new();
    let auth = service(&world);
    let (owner, identity) = registered(&auth, "frida@example.com").await;
    let added = asked(&identity);
    let admin = auth
        .user_create(&identity, &added, "admin@example.com", "another good one", Role::Admin)
        .await
        .unwrap();
    // A retry adds nobody twice.
    let again = auth
        .user_create(&identity, &added, "admin@example.com", "another good one", Role::Admin)
        .await
        .unwrap();
    assert_eq!(again.id, admin.id);
    let signed_in = auth.login("admin@example.com", "another good one", None).await.unwrap();
    assert_eq!(signed_in.tenant_id, owner.tenant_id);
    let admin_identity = auth.verify(&signed_in.tokens.access_token).await.unwrap();

    let cannot = |error: CommandError| assert_eq!(error.kind(), Kind::Forbidden, "{error}");
    let context = asked(&admin_identity);
    cannot(
        auth.user_create(&admin_identity, &context, "x@example.com", PASSWORD, Role::Owner)
            .await
            .unwrap_err(),
    );
    cannot(auth.user_remove(&admin_identity, &context, owner.user_id).await.unwrap_err());
    cannot(auth.user_change_role(&admin_identity, &context, admin.id, Role::Owner).await.unwrap_err());

    let last = auth.user_remove(&identity, &asked(&identity), owner.user_id).await.unwrap_err();
    assert!(matches!(last, CommandError::LastOwner), "{last}");
    let last =
        auth.user_change_role(&identity, &asked(&identity), owner.user_id, Role::Viewer).await.unwrap_err();
    assert!(matches!(last, CommandError::LastOwner), "{last}");

    auth.user_change_role(&identity, &asked(&identity), admin.id, Role::Owner).await.unwrap();
    let promoted = auth.verify(&signed_in.tokens.access_token).await.unwrap();
    assert_eq!(promoted.role, Role::Owner);
    auth.user_remove(&promoted, &asked(&promoted), owner.user_id).await.unwrap();
    auth.verify(&owner.tokens.access_token).await.unwrap_err();
    auth.login("frida@example.com", PASSWORD, None).await.unwrap_err();
    // The e-mail is free again.
    registered(&auth, "frida@example.com").await;
}

#[tokio::test]
async fn a_new_password_ends_all_sessions() {
    let world = World::new();
    let auth = service(&world);
    let (signed_in, identity) = registered(&auth, "frida@example.com").await;
    auth.password_change(&identity, "not the one", "a brand new one").await.unwrap_err();
    auth.password_change(&identity, PASSWORD, "a brand new one").await.unwrap();
    auth.verify(&signed_in.tokens.access_token).await.unwrap_err();
    auth.login("frida@example.com", "a brand new one", None).await.unwrap();
}

#[tokio::test]
async fn api_keys_work_until_they_are_revoked() {
    let world = World::new();
    let auth = service(&world);
    let (signed_in, identity) = registered(&auth, "frida@example.com").await;
    let context = asked(&identity);
    let key = auth.api_key_create(&identity, &context, "ci", Role::Editor, None).await.unwrap();
    assert!(key.key.starts_with(&key.prefix));
    let by_key = auth.verify(&key.key).await.unwrap();
    assert_eq!((by_key.tenant, by_key.role, by_key.user), (signed_in.tenant_id, Role::Editor, None));
    by_key.require(Role::Admin).unwrap_err();

    let mut forged = key.key.clone();
    forged.pop();
    forged.push(if key.key.ends_with('A') { 'E' } else { 'A' });
    auth.verify(&forged).await.unwrap_err();
    // The secret was shown once: a retry makes no other key and says which one it made.
    let again = auth.api_key_create(&identity, &context, "ci", Role::Editor, None).await.unwrap_err();
    assert_eq!((again.code(), again.kind()), ("AOS-0306", Kind::Conflict));
    assert!(again.to_string().contains(&key.id.to_string()), "{again}");
    auth.verify(&key.key).await.unwrap();

    auth.api_key_revoke(&identity, &asked(&identity), key.id).await.unwrap();
    auth.verify(&key.key).await.unwrap_err();
}
