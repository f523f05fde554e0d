//! What the settings mean together: embedded or scaled, and what this node does.

use super::{Address, Config, Secret};
use crate::error::GatewayError;
use autonomos_log::jetstream::Credentials;
use autonomos_objects::{Place, S3Settings};
use std::path::{Path, PathBuf};

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Answers clients.
    pub(crate) gateway: bool,
    /// Runs tasks and process managers.
    pub(crate) worker: bool,
    /// Keeps projections.
    pub(crate) projector: bool,
}

impl Roles {
    fn parse(text: &str) -> Result<Self, GatewayError> {
        let mut roles = Self { gateway: false, worker: false, projector: false };
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let role = match name {
                "gateway" => &mut roles.gateway,
                "worker" => &mut roles.worker,
                "projector" => &mut roles.projector,
                _ => {
                    return Err(refused(format!(
                        "`{name}` in `roles` is not one of `gateway`, `worker`, `projector`"
                    )));
                }
            };
            *role = true;
        }
        if !(roles.gateway || roles.worker || roles.projector) {
            return Err(refused("`roles` names none: any of `gateway`, `worker`, `projector`".to_owned()));
        }
        Ok(roles)
    }

    const fn is_all(self) -> bool {
        self.gateway && self.worker && self.projector
    }
}

/// How this installation runs.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// One node, files alone.
    Embedded,
    /// Several nodes on a log and a database they share.
    Scaled(Box<Scaled>),
}

/// What the scaled mode needs, checked.
#[derive(Debug, Clone)]
pub(crate) struct Scaled {
    /// Without user and password.
    pub(crate) nats_servers: String,
    pub(crate) nats_credentials: Credentials,
    pub(crate) nats_monitoring: Vec<String>,
    pub(crate) database: Address,
    pub(crate) shared_dir: PathBuf,
    pub(crate) master_key_file: PathBuf,
    /// Where snapshots of the unified views go; none: there are none.
    pub(crate) snapshots: Option<Place>,
}

impl Config {
    /// What this node does.
    pub(crate) fn roles(&self) -> Result<Roles, GatewayError> {
        Roles::parse(&self.roles)
    }

    /// How the installation runs. Settings that contradict each other are refused.
    pub(crate) fn mode(&self) -> Result<Mode, GatewayError> {
        let roles = self.roles()?;
        match (&self.nats_url, &self.database_url) {
            (None, None) => {
                if !roles.is_all() {
                    return Err(refused(format!(
                        "`roles` is `{}`, but nobody would do the rest: a node of its own (without `nats_url` and `database_url`) has all roles",
                        self.roles
                    )));
                }
                if self.cells != 1 {
                    return Err(refused(format!(
                        "`cells` is `{}`: without `nats_url` and `database_url` the log has one",
                        self.cells
                    )));
                }
                if self.unified_tables {
                    return Err(refused(
                        "`unified_tables` is `true`: there is no `database_url` to copy the views to"
                            .to_owned(),
                    ));
                }
                if self.snapshots.is_some() {
                    return Err(refused(
                        "`snapshots` is set: without `nats_url` and `database_url` no other node takes over from them"
                            .to_owned(),
                    ));
                }
                Ok(Mode::Embedded)
            }
            (Some(_), None) => {
                Err(refused("`nats_url` is set and `database_url` is not: nodes need both".to_owned()))
            }
            (None, Some(_)) => {
                Err(refused("`database_url` is set and `nats_url` is not: nodes need both".to_owned()))
            }
            (Some(nats), Some(database)) => self.scaled(nats, database).map(Box::new).map(Mode::Scaled),
        }
    }

    fn scaled(&self, nats: &Address, database: &Address) -> Result<Scaled, GatewayError> {
        if ![1, 3, 5].contains(&self.nats_replicas) {
            return Err(refused(format!("`nats_replicas` is `{}`, not 1, 3 or 5", self.nats_replicas)));
        }
        if self.cells == 0 {
            return Err(refused("`cells` is `0`: a log has at least one".to_owned()));
        }
        let scheme = database.reveal().split("://").next().unwrap_or_default();
        if !["postgres", "postgresql"].contains(&scheme) {
            return Err(refused(format!("`database_url` is `{database:?}`, not a `postgres://` address")));
        }
        let Some(shared_dir) = self.shared_dir.clone() else {
            return Err(refused(
                "`shared_dir` is not set: uploads and archived commits lie in a folder that every node sees"
                    .to_owned(),
            ));
        };
        if let Some(url) = &self.advertise_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            return Err(refused(format!("`advertise_url` is `{url}`, not an `http://` address")));
        }
        let (nats_servers, nats_credentials) = servers(nats)?;
        let snapshots = match self.snapshots.as_ref().map(Address::reveal) {
            None => Some(Place::Folder(shared_dir.join("snapshots"))),
            Some("off") => None,
            Some(address) => Some(Place::parse(address, &self.s3()?)?),
        };
        let list = self.nats_monitoring.as_deref().unwrap_or_default();
        Ok(Scaled {
            nats_servers,
            nats_credentials,
            nats_monitoring: list
                .split(',')
                .map(str::trim)
                .filter(|url| !url.is_empty())
                .map(str::to_owned)
                .collect(),
            database: database.clone(),
            shared_dir,
            snapshots,
            master_key_file: self
                .master_key_file
                .clone()
                .unwrap_or_else(|| self.data_dir.join("keys").join("master.key")),
        })
    }
}

impl Config {
    /// What a bucket needs beside its address. The secret's file is read here, so that a wrong one is
    /// named at start.
    fn s3(&self) -> Result<S3Settings, GatewayError> {
        let secret = secret_of(
            "s3_secret_access_key",
            self.s3_secret_access_key.as_ref(),
            self.s3_secret_access_key_file.as_deref(),
        )?;
        Ok(S3Settings {
            region: self.s3_region.clone(),
            endpoint: self.s3_endpoint.as_ref().map(|endpoint| endpoint.reveal().to_owned()),
            access_key_id: self.s3_access_key_id.clone(),
            secret_access_key: secret.map(Into::into),
            virtual_host: self.s3_virtual_host,
        })
    }
}

/// The servers' addresses without user and password, which are the same for all of them.
fn servers(nats: &Address) -> Result<(String, Credentials), GatewayError> {
    let mut places = Vec::new();
    let mut found: Option<&str> = None;
    for address in nats.reveal().split(',').map(str::trim).filter(|address| !address.is_empty()) {
        let (scheme, rest) = address.split_once("://").unwrap_or(("nats", address));
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        if let (Some(before), Some(user)) = (found, user)
            && before != user
        {
            return Err(refused(
                "the servers of `nats_url` have different users: one log has one".to_owned(),
            ));
        }
        found = found.or(user);
        places.push(format!("{scheme}://{place}"));
    }
    if places.is_empty() {
        return Err(refused("`nats_url` names no server".to_owned()));
    }
    let credentials = match found.map(|user| user.split_once(':').ok_or(user)) {
        None => Credentials::None,
        Some(Ok((user, password))) => {
            Credentials::User { user: user.to_owned(), password: password.to_owned() }
        }
        Some(Err(token)) => Credentials::Token(token.to_owned()),
    };
    Ok((places.join(","), credentials))
}

/// A secret that stands in a setting or in a file.
pub(super) fn secret_of(
    name: &str,
    secret: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<String>, GatewayError> {
    match (secret, file) {
        (Some(_), Some(_)) => {
            Err(refused(format!("`{name}` and `{name}_file` are both set: one of them is enough")))
        }
        (Some(secret), None) => Ok(Some(secret.reveal().to_owned())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                refused(format!("`{name}_file` is `{}`, which cannot be read: {error}", path.display()))
            })?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        }
        (None, None) => Ok(None),
    }
}

pub(super) fn refused(reason: String) -> GatewayError {
    GatewayError::Configuration(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_log::jetstream::Credentials;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    fn address(text: &str) -> Option<Address> {
        serde_json::from_value(serde_json::Value::from(text)).ok()
    }

    fn scaled(change: impl FnOnce(&mut Config)) -> Config {
        config(|config| {
            config.nats_url = address("nats://me:pa55@one:4222, two:4222");
            config.database_url = address("postgres://me:pa55@db/aos");
            config.shared_dir = Some("/shared".into());
            change(config);
        })
    }

    /// Words of the refusal.
    fn check(config: &Config, expect: &str) {
        let error = config.mode().expect_err(expect);
        assert_eq!(error.code(), "AOS-0520");
        assert!(error.to_string().contains(expect), "`{error}` does not say `{expect}`");
        assert!(!error.to_string().contains("pa55"), "{error}");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        assert!(matches!(Config::default().mode(), Ok(Mode::Embedded)));
        check(&config(|config| config.roles = "worker".to_owned()), "`roles` is `worker`");
        check(&config(|config| config.roles = "gateway,worker,projectors".to_owned()), "`projectors`");
        check(&config(|config| config.roles = " , ".to_owned()), "names none");
        check(&config(|config| config.cells = 2), "`cells` is `2`");
        check(&config(|config| config.unified_tables = true), "`unified_tables`");
        check(&config(|config| config.nats_url = address("nats://a")), "`database_url` is not");
        check(&config(|config| config.database_url = address("postgres://a")), "`nats_url` is not");
        check(&scaled(|config| config.shared_dir = None), "`shared_dir`");
        check(&scaled(|config| config.nats_replicas = 2), "`nats_replicas` is `2`");
        check(&scaled(|config| config.cells = 0), "`cells` is `0`");
        check(&scaled(|config| config.database_url = address("mysql://me:pa55@db/x")), "`mysql://***@db/x`");
        check(&scaled(|config| config.nats_url = address(",")), "names no server");
        check(
            &scaled(|config| config.nats_url = address("nats://a:pa55@x,nats://b:pa55@y")),
            "different users",
        );
        check(&scaled(|config| config.advertise_url = Some("node:80".to_owned())), "`advertise_url`");
        check(&config(|config| config.snapshots = address("off")), "`snapshots` is set");
        check(
            &scaled(|config| {
                bucket(config);
                config.s3_secret_access_key_file = Some("key".into());
            }),
            "both set",
        );
    }

    fn bucket(config: &mut Config) {
        config.snapshots = address("s3://bucket/prefix");
        config.s3_endpoint = address("http://store:9000");
        config.s3_access_key_id = Some("me".to_owned());
        config.s3_secret_access_key = serde_json::from_value("pa55".into()).ok();
    }

    #[test]
    fn a_place_for_snapshots_that_is_none_is_refused() {
        let refused = |change: &dyn Fn(&mut Config), expect: &str| {
            let error = scaled(change).mode().expect_err(expect);
            assert_eq!(error.code(), "AOS-0601");
            assert!(error.to_string().contains(expect), "`{error}` does not say `{expect}`");
            assert!(!error.to_string().contains("pa55"), "{error}");
        };
        refused(&|config| config.snapshots = address("file://relative"), "`file://relative`");
        refused(&|config| config.snapshots = address("s3://me:pa55@bucket/x"), "`s3://***@bucket/x`");
        refused(
            &|config| {
                bucket(config);
                config.s3_access_key_id = None;
            },
            "`s3_access_key_id`",
        );
    }

    #[test]
    fn snapshots_go_to_the_shared_folder_or_where_they_are_told_to() {
        let place = |snapshots: Option<&str>| {
            let config = scaled(|config| config.snapshots = snapshots.and_then(address));
            let Ok(Mode::Scaled(scaled)) = config.mode() else { panic!("not scaled") };
            scaled.snapshots
        };
        assert_eq!(place(None), Some(Place::Folder("/shared/snapshots".into())));
        assert_eq!(place(Some("file:///elsewhere")), Some(Place::Folder("/elsewhere".into())));
        assert_eq!(place(Some("off")), None);
    }

    #[test]
    fn the_secret_of_a_bucket_comes_from_a_setting_or_a_file_and_is_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "pa55\n").expect("writes");
        let named = scaled(bucket);
        let filed = scaled(|config| {
            bucket(config);
            config.s3_secret_access_key = None;
            config.s3_secret_access_key_file = Some(file.clone());
        });
        let place = |config: &Config| {
            let Ok(Mode::Scaled(scaled)) = config.mode() else { panic!("not scaled") };
            scaled.snapshots.expect("a place")
        };
        assert_eq!(place(&named), place(&filed));
        assert_eq!(place(&named).to_string(), "s3://bucket/prefix");
        let shown = format!("{named:?} {} {:?}", serde_json::to_string(&named).expect("JSON"), place(&named));
        assert!(!shown.contains("pa55"), "{shown}");
        std::fs::remove_file(&file).expect("removes");
        check(&filed, "`s3_secret_access_key_file`");
    }

    #[test]
    fn the_scaled_mode_knows_its_servers_and_shows_no_password() {
        let config = scaled(|config| config.roles = "worker, projector".to_owned());
        let roles = config.roles().expect("valid");
        assert_eq!(roles, Roles { gateway: false, worker: true, projector: true });
        let Ok(Mode::Scaled(scaled)) = config.mode() else { panic!("not scaled") };
        assert_eq!(scaled.nats_servers, "nats://one:4222,nats://two:4222");
        let Credentials::User { user, password } = &scaled.nats_credentials else { panic!("no user") };
        assert_eq!((user.as_str(), password.as_str()), ("me", "pa55"));
        assert_eq!(scaled.master_key_file, PathBuf::from("autonomos-data/keys/master.key"));
        let shown = format!("{config:?} {}", serde_json::to_string(&config).expect("JSON"));
        assert!(!shown.contains("pa55") && shown.contains("postgres://***@db/aos"), "{shown}");
    }
}
