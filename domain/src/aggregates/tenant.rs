//! An organisation: its cell, its settings, its uploads and their quota.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    ids::{UploadId, UserId},
    limits,
    policy::RepairRules,
    repair::{
        calibration::{self, JudgedRepair, TenantCalibration},
        precedent::{self, Precedent},
    },
};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How far the platform may go without a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutonomyMode {
    /// Report drift; hold; propose nothing.
    Observe,
    /// Propose; a person applies.
    Recommend,
    /// Prepare everything; a person approves each.
    ApproveToAct,
    /// Apply what is sure enough.
    #[default]
    Auto,
}

/// When a repair applies alone, is asked, or is held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepairPolicy {
    /// Least probability to apply alone; 0.85 to 1, default 0.99.
    pub automatic_from: f64,
    /// Least probability to ask a person; below it the change is held. Default 0.60.
    pub ask_from: f64,
}

impl RepairPolicy {
    /// Nothing ever applies alone below this, whatever a tenant sets.
    pub const AUTOMATIC_FLOOR: f64 = 0.85;

    /// Refuses values out of their ranges.
    pub fn check(&self) -> Result<(), Error> {
        if !(Self::AUTOMATIC_FLOOR..=1.0).contains(&self.automatic_from) {
            let message = format!("`{}` is not within 0.85 and 1", self.automatic_from);
            return Err(Error::invalid("/automatic_from", message));
        }
        if !(0.0..=self.automatic_from).contains(&self.ask_from) {
            let message = format!("`{}` is not within 0 and `automatic_from`", self.ask_from);
            return Err(Error::invalid("/ask_from", message));
        }
        Ok(())
    }
}

impl Default for RepairPolicy {
    fn default() -> Self {
        Self { automatic_from: 0.99, ask_from: 0.60 }
    }
}

/// A file that was uploaded, kept under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    pub id: UploadId,
    /// As the client called it; for people, and for the format by its ending. Never a path.
    pub file_name: String,
    pub bytes: u64,
    /// BLAKE3 of the content, hex.
    pub content_hash: String,
    pub uploaded_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TenantEvent {
    TenantRegistered {
        name: String,
        cell: u16,
        owner: UserId,
    },
    TenantRenamed {
        name: String,
    },
    AutonomyModeSet {
        mode: AutonomyMode,
    },
    RepairPolicySet {
        policy: RepairPolicy,
    },
    /// The rules that differ from the policy, all of them anew.
    RepairRulesRevised {
        version: u32,
        rules: RepairRules,
    },
    /// A person's decision about a proposal, and what probabilities mean from then on.
    RepairJudged {
        judged: JudgedRepair,
        calibration: TenantCalibration,
    },
    /// Changes of columns' names that were decided about: all that one decision says of them.
    PrecedentsNoted {
        decision: Uuid,
        precedents: Vec<Precedent>,
    },
    UploadQuotaSet {
        bytes: u64,
    },
    UploadStored {
        upload: Upload,
    },
    UploadRemoved {
        upload_id: UploadId,
    },
    OwnerAdded {
        owner: UserId,
    },
    OwnerRemoved {
        owner: UserId,
    },
}
domain_event!(TenantEvent {
    TenantRegistered,
    TenantRenamed,
    AutonomyModeSet,
    RepairPolicySet,
    RepairRulesRevised,
    RepairJudged,
    PrecedentsNoted,
    UploadQuotaSet,
    UploadStored,
    UploadRemoved,
    OwnerAdded,
    OwnerRemoved,
});

#[derive(Debug, Clone)]
pub enum TenantCommand {
    RegisterTenant {
        name: String,
        cell: u16,
        owner: UserId,
    },
    RenameTenant {
        name: String,
    },
    SetAutonomyMode {
        mode: AutonomyMode,
    },
    SetRepairPolicy {
        policy: RepairPolicy,
    },
    /// Refused unless it names the version it was edited from.
    ReviseRepairRules {
        based_on: u32,
        rules: RepairRules,
    },
    /// The latest word on a proposal.
    RecordJudgement {
        judged: JudgedRepair,
    },
    /// The latest word of a decision; none: it says nothing any more.
    NotePrecedents {
        decision: Uuid,
        precedents: Vec<Precedent>,
    },
    SetUploadQuota {
        bytes: u64,
    },
    /// Refused when it would pass the quota.
    StoreUpload {
        upload: Upload,
    },
    RemoveUpload {
        upload_id: UploadId,
    },
    AddOwner {
        owner: UserId,
    },
    /// Refused of the last one.
    RemoveOwner {
        owner: UserId,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Empty until registered.
    pub name: String,
    pub cell: u16,
    /// Who registered it.
    pub owner: Option<UserId>,
    /// All owners now; never empty once registered.
    #[serde(default)]
    pub owners: BTreeSet<UserId>,
    pub mode: AutonomyMode,
    pub policy: RepairPolicy,
    /// Where connections, entities and fields differ from `policy`.
    #[serde(default)]
    pub rules: RepairRules,
    /// 0: there never were any.
    #[serde(default)]
    pub rules_version: u32,
    /// The newest decisions about proposals, as far as they count, and what follows from them.
    #[serde(default)]
    pub judged: Vec<JudgedRepair>,
    #[serde(default)]
    pub calibration: TenantCalibration,
    /// The newest decisions about columns' names, the latest last.
    #[serde(default)]
    pub precedents: Vec<Precedent>,
    pub upload_quota: u64,
    pub uploads: BTreeMap<UploadId, Upload>,
    pub uploaded_bytes: u64,
}
stored_aggregate!(Tenant, Tenant, TenantCommand, TenantEvent);

impl Tenant {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, command: TenantCommand) -> Result<Vec<TenantEvent>, Error> {
        if let TenantCommand::RegisterTenant { name, cell, owner } = command {
            if !self.name.is_empty() {
                return Err(Error::AlreadyExists { what: "organisation", id: self.name.clone() });
            }
            limits::name("/name", &name)?;
            return Ok(vec![TenantEvent::TenantRegistered { name, cell, owner }]);
        }
        if self.name.is_empty() {
            return Err(Error::Missing { what: "organisation" });
        }
        let changed = |event: TenantEvent, same: bool| if same { Vec::new() } else { vec![event] };
        match command {
            TenantCommand::RegisterTenant { .. } => unreachable!("answered above"),
            TenantCommand::RenameTenant { name } => {
                limits::name("/name", &name)?;
                let same = name == self.name;
                Ok(changed(TenantEvent::TenantRenamed { name }, same))
            }
            TenantCommand::SetAutonomyMode { mode } => {
                Ok(changed(TenantEvent::AutonomyModeSet { mode }, mode == self.mode))
            }
            TenantCommand::SetRepairPolicy { policy } => {
                policy.check()?;
                Ok(changed(TenantEvent::RepairPolicySet { policy }, policy == self.policy))
            }
            TenantCommand::ReviseRepairRules { based_on, .. } if based_on != self.rules_version => {
                let in_force = self.rules_version;
                Err(Error::conflict(format!(
                    "edited from version `{based_on}`, but `{in_force}` is in force"
                )))
            }
            TenantCommand::ReviseRepairRules { rules, .. } => {
                rules.check()?;
                let same = rules == self.rules;
                Ok(changed(TenantEvent::RepairRulesRevised { version: self.rules_version + 1, rules }, same))
            }
            TenantCommand::RecordJudgement { judged } => {
                judged.check()?;
                let calibration = calibration::learn(&calibration::remember(&self.judged, judged.clone()));
                let same = judged.changes.is_empty() || self.judged.contains(&judged);
                Ok(changed(TenantEvent::RepairJudged { judged, calibration }, same))
            }
            TenantCommand::NotePrecedents { decision, precedents } => {
                precedent::check(decision, &precedents)?;
                let known = self.precedents.iter().filter(|known| known.decision == decision);
                let same = known.eq(&precedents);
                Ok(changed(TenantEvent::PrecedentsNoted { decision, precedents }, same))
            }
            TenantCommand::SetUploadQuota { bytes } => {
                if bytes > limits::UPLOAD_QUOTA_MAX_BYTES {
                    return Err(Error::LimitExceeded {
                        what: "the upload quota in bytes",
                        value: bytes,
                        limit: limits::UPLOAD_QUOTA_MAX_BYTES,
                    });
                }
                Ok(changed(TenantEvent::UploadQuotaSet { bytes }, bytes == self.upload_quota))
            }
            TenantCommand::StoreUpload { upload } => {
                if self.uploads.get(&upload.id) == Some(&upload) {
                    return Ok(Vec::new());
                }
                self.check_upload(&upload)?;
                Ok(vec![TenantEvent::UploadStored { upload }])
            }
            TenantCommand::RemoveUpload { upload_id } => {
                if !self.uploads.contains_key(&upload_id) {
                    return Err(Error::not_found("upload", upload_id));
                }
                Ok(vec![TenantEvent::UploadRemoved { upload_id }])
            }
            TenantCommand::AddOwner { owner } => {
                Ok(changed(TenantEvent::OwnerAdded { owner }, self.owners.contains(&owner)))
            }
            TenantCommand::RemoveOwner { owner } if !self.owners.contains(&owner) => Ok(Vec::new()),
            TenantCommand::RemoveOwner { .. } if self.owners.len() == 1 => {
                Err(Error::conflict("an organisation keeps at least one owner"))
            }
            TenantCommand::RemoveOwner { owner } => Ok(vec![TenantEvent::OwnerRemoved { owner }]),
        }
    }

    fn check_upload(&self, upload: &Upload) -> Result<(), Error> {
        if self.uploads.contains_key(&upload.id) {
            return Err(Error::AlreadyExists { what: "upload", id: upload.id.to_string() });
        }
        let name = &upload.file_name;
        let is_path = name.contains(['/', '\\']) || name == "." || name == "..";
        if name.trim().is_empty()
            || name.chars().count() > limits::FILE_NAME_CHARACTERS
            || name.chars().any(char::is_control)
            || is_path
        {
            let message = format!(
                "a file's name without a path, at most {} characters: {}",
                limits::FILE_NAME_CHARACTERS,
                limits::quoted(name)
            );
            return Err(Error::invalid("/file_name", message));
        }
        limits::hash("/content_hash", &upload.content_hash)?;
        limits::count("uploads kept", self.uploads.len() + 1, limits::UPLOADS_PER_TENANT)?;
        let value = self.uploaded_bytes.saturating_add(upload.bytes);
        if value > self.upload_quota {
            return Err(Error::LimitExceeded {
                what: "bytes of all uploads",
                value,
                limit: self.upload_quota,
            });
        }
        Ok(())
    }

    fn evolve(&mut self, event: TenantEvent) {
        match event {
            TenantEvent::TenantRegistered { name, cell, owner } => {
                *self = Self {
                    name,
                    cell,
                    owner: Some(owner),
                    owners: BTreeSet::from([owner]),
                    upload_quota: limits::UPLOAD_QUOTA_BYTES,
                    ..Self::default()
                };
            }
            TenantEvent::TenantRenamed { name } => self.name = name,
            TenantEvent::AutonomyModeSet { mode } => self.mode = mode,
            TenantEvent::RepairPolicySet { policy } => self.policy = policy,
            TenantEvent::RepairRulesRevised { version, rules } => {
                self.rules_version = version;
                self.rules = rules;
            }
            TenantEvent::RepairJudged { judged, calibration } => {
                self.judged = calibration::remember(&self.judged, judged);
                self.calibration = calibration;
            }
            TenantEvent::PrecedentsNoted { decision, precedents } => {
                self.precedents = precedent::remember(&self.precedents, decision, precedents);
            }
            TenantEvent::UploadQuotaSet { bytes } => self.upload_quota = bytes,
            TenantEvent::UploadStored { upload } => {
                self.uploaded_bytes = self.uploaded_bytes.saturating_add(upload.bytes);
                self.uploads.insert(upload.id, upload);
            }
            TenantEvent::OwnerAdded { owner } => {
                self.owners.insert(owner);
            }
            TenantEvent::OwnerRemoved { owner } => {
                self.owners.remove(&owner);
            }
            TenantEvent::UploadRemoved { upload_id } => {
                if let Some(upload) = self.uploads.remove(&upload_id) {
                    self.uploaded_bytes = self.uploaded_bytes.saturating_sub(upload.bytes);
                }
            }
        }
    }
}
