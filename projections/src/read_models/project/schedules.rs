//! What the events of schedules change.

use super::{super::rows::ScheduleRow, Scene, Work};
use autonomos_domain::aggregates::schedule::{RunOutcome, ScheduleEvent};

impl Work {
    pub(super) fn schedule(&mut self, scene: &Scene<'_>, event: &ScheduleEvent) {
        match event {
            ScheduleEvent::ScheduleCreated { name, timing, action, connection_id, enabled, next_run_at } => {
                let row = ScheduleRow {
                    id: scene.id,
                    name: name.clone(),
                    cron: timing.cron.clone(),
                    time_zone: timing.time_zone.clone(),
                    action: *action,
                    connection_id: connection_id.0,
                    enabled: *enabled,
                    next_run_at: *next_run_at,
                    last_run_at: None,
                    last_task_id: None,
                    last_slot: None,
                    last_outcome: None,
                    created_at: scene.at,
                    updated_at: scene.at,
                };
                self.schedules.put(scene.tenant, scene.id, scene.order, row);
            }
            ScheduleEvent::ScheduleChanged { name, timing, enabled, next_run_at } => {
                let Some(row) = self.schedules.change(scene.tenant, scene.id) else { return };
                row.name.clone_from(name);
                row.cron.clone_from(&timing.cron);
                row.time_zone.clone_from(&timing.time_zone);
                row.enabled = *enabled;
                row.next_run_at = *next_run_at;
                row.updated_at = scene.at;
            }
            ScheduleEvent::ScheduleRan { slot, outcome, next_run_at } => {
                let Some(row) = self.schedules.change(scene.tenant, scene.id) else { return };
                row.next_run_at = *next_run_at;
                row.last_slot = Some(*slot);
                row.last_outcome = Some(outcome.clone());
                if let RunOutcome::Started { task_id, .. } = outcome {
                    row.last_run_at = Some(scene.at);
                    row.last_task_id = Some(task_id.0);
                }
            }
            ScheduleEvent::ScheduleDeleted {} => self.schedules.remove(scene.tenant, scene.id),
        }
    }
}
