//! An organisation: its cell, its settings, its uploads and their quota.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::ids::{UploadId, UserId};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    TenantRegistered { name: String, cell: u16, owner: UserId },
    TenantRenamed { name: String },
    AutonomyModeSet { mode: AutonomyMode },
    RepairPolicySet { policy: RepairPolicy },
    UploadQuotaSet { bytes: u64 },
    UploadStored { upload: Upload },
    UploadRemoved { upload_id: UploadId },
}
domain_event!(TenantEvent {
    TenantRegistered,
    TenantRenamed,
    AutonomyModeSet,
    RepairPolicySet,
    UploadQuotaSet,
    UploadStored,
    UploadRemoved,
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
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Empty until registered.
    pub name: String,
    pub cell: u16,
    pub owner: Option<UserId>,
    pub mode: AutonomyMode,
    pub policy: RepairPolicy,
    pub upload_quota: u64,
    pub uploads: BTreeMap<UploadId, Upload>,
    pub uploaded_bytes: u64,
}
stored_aggregate!(Tenant, Tenant, TenantCommand, TenantEvent);

impl Tenant {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: TenantCommand) -> Result<Vec<TenantEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: TenantEvent) {}
}
