//! What the events of syncs and tasks change: the course of each run, and how its connection stands
//! after it.

use super::{
    super::{
        models::SyncModel,
        rows::{Failure, SyncRow, SyncStatus, SyncStreamRow, TaskProgress, TaskRow},
    },
    Scene, Work,
};
use autonomos_domain::{
    aggregates::{
        connection::ConnectionStatus,
        sync::{StreamProgress, SyncEvent},
        task::{TaskEvent, TaskStatus},
    },
    ids::{ConnectionId, FeedId},
};
use uuid::Uuid;

impl Work {
    pub(super) fn sync(&mut self, scene: &Scene<'_>, event: &SyncEvent) {
        if let SyncEvent::SyncRequested { connection_id, task_id } = event {
            let row = SyncRow {
                id: scene.id,
                connection_id: connection_id.0,
                task_id: task_id.0,
                status: SyncStatus::Queued,
                attempt: 0,
                streams: Vec::new(),
                requested_at: scene.at,
                started_at: None,
                finished_at: None,
                error: None,
            };
            let model = SyncModel { row, sequences: std::collections::BTreeMap::new() };
            self.syncs.put(scene.tenant, scene.id, scene.order, model);
            return;
        }
        let Some(SyncModel { row, .. }) = self.syncs.change(scene.tenant, scene.id) else { return };
        let connection_id = row.connection_id;
        let outcome = match event {
            SyncEvent::SyncRequested { .. } => None,
            SyncEvent::SyncStarted { attempt, streams } => {
                row.status = SyncStatus::Running;
                row.attempt = *attempt;
                row.started_at = row.started_at.or(Some(scene.at));
                row.streams = streams.iter().map(|stream| sync_stream(connection_id, stream)).collect();
                None
            }
            SyncEvent::StreamSyncStarted { stream } => {
                stream_row(row, stream).status = SyncStatus::Running;
                None
            }
            SyncEvent::StreamSyncProgressed { stream, progress, total_rows } => {
                let stream = stream_row(row, stream);
                stream_progress(stream, progress);
                stream.total_rows = *total_rows;
                None
            }
            SyncEvent::StreamSyncCompleted { stream, progress } => {
                let stream = stream_row(row, stream);
                stream_progress(stream, progress);
                stream.status = SyncStatus::Succeeded;
                None
            }
            SyncEvent::StreamSyncFailed { stream, code, message } => {
                let stream = stream_row(row, stream);
                stream.status = SyncStatus::Failed;
                stream.error = Some(Failure { code: code.clone(), message: message.clone() });
                None
            }
            SyncEvent::SyncSucceeded {} => {
                row.status = SyncStatus::Succeeded;
                row.finished_at = Some(scene.at);
                Some((ConnectionStatus::Healthy, None))
            }
            SyncEvent::SyncFailed { code, message } => {
                row.status = SyncStatus::Failed;
                row.finished_at = Some(scene.at);
                row.error = Some(Failure { code: code.clone(), message: message.clone() });
                Some((ConnectionStatus::Failing, Some(message.clone())))
            }
            SyncEvent::SyncCancelled {} => {
                row.status = SyncStatus::Cancelled;
                row.finished_at = Some(scene.at);
                for stream in &mut row.streams {
                    if matches!(stream.status, SyncStatus::Queued | SyncStatus::Running) {
                        stream.status = SyncStatus::Cancelled;
                    }
                }
                None
            }
        };
        if let Some((status, message)) = outcome
            && let Some(model) = self.connections.change(scene.tenant, connection_id)
        {
            // A paused one stays so until its own events say otherwise.
            if model.row.status != ConnectionStatus::Paused {
                model.row.status = status;
            }
            model.row.message = message;
            model.row.last_synced_at = Some(scene.at);
        }
    }

    pub(super) fn task(&mut self, scene: &Scene<'_>, event: &TaskEvent) {
        if let TaskEvent::TaskQueued {
            action, payload, max_retries, timeout_seconds, run_at, priority, ..
        } = event
        {
            let row = TaskRow {
                id: scene.id,
                action: action.clone(),
                payload: payload.clone(),
                status: TaskStatus::Queued,
                attempt: 0,
                max_retries: *max_retries,
                timeout_seconds: *timeout_seconds,
                priority: *priority,
                run_at: *run_at,
                progress: None,
                cancel_requested: false,
                result: None,
                error: None,
                worker: None,
                created_at: scene.at,
                started_at: None,
                finished_at: None,
            };
            self.tasks.put(scene.tenant, scene.id, scene.order, row);
            return;
        }
        let Some(row) = self.tasks.change(scene.tenant, scene.id) else { return };
        let failure =
            |code: &String, message: &String| Failure { code: code.clone(), message: message.clone() };
        match event {
            TaskEvent::TaskQueued { .. } => {}
            TaskEvent::TaskStarted { attempt, worker, .. } => {
                row.status = TaskStatus::Running;
                row.attempt = *attempt;
                row.worker = Some(worker.clone());
                row.started_at = Some(scene.at);
                row.run_at = None;
                row.progress = None;
            }
            TaskEvent::TaskProgressed { done, total, note } => {
                row.progress = Some(TaskProgress { done: *done, total: *total, note: note.clone() });
            }
            TaskEvent::TaskRetryScheduled { at, code, message, .. } => {
                row.status = TaskStatus::Retrying;
                row.run_at = Some(*at);
                row.error = Some(failure(code, message));
                row.cancel_requested = false;
                row.finished_at = None;
            }
            TaskEvent::TaskSucceeded { result } => {
                row.status = TaskStatus::Succeeded;
                row.result = Some(result.clone());
                row.error = None;
                row.finished_at = Some(scene.at);
            }
            TaskEvent::TaskFailed { code, message } => {
                row.status = TaskStatus::Failed;
                row.error = Some(failure(code, message));
                row.finished_at = Some(scene.at);
            }
            TaskEvent::TaskDied { code, message } => {
                row.status = TaskStatus::Dead;
                row.error = Some(failure(code, message));
                row.finished_at = Some(scene.at);
            }
            TaskEvent::TaskCancelRequested {} => row.cancel_requested = true,
            TaskEvent::TaskCancelled {} => {
                row.status = TaskStatus::Cancelled;
                row.finished_at = Some(scene.at);
            }
        }
    }
}

fn sync_stream(connection_id: Uuid, stream: &str) -> SyncStreamRow {
    SyncStreamRow {
        name: stream.to_owned(),
        feed_id: FeedId::of(ConnectionId(connection_id), stream).0,
        status: SyncStatus::Queued,
        rows_read: 0,
        rows_rejected: 0,
        rows_canonical: 0,
        rows_quarantined: 0,
        batches: 0,
        bytes: 0,
        total_rows: None,
        cursor: None,
        error: None,
        sequences: None,
    }
}

/// The stream's line in the run, made if the run did not name it at its start.
fn stream_row<'a>(row: &'a mut SyncRow, stream: &str) -> &'a mut SyncStreamRow {
    let place = match row.streams.iter().position(|other| other.name == stream) {
        Some(place) => place,
        None => {
            row.streams.push(sync_stream(row.connection_id, stream));
            row.streams.len() - 1
        }
    };
    &mut row.streams[place]
}

fn stream_progress(row: &mut SyncStreamRow, progress: &StreamProgress) {
    row.rows_read = progress.rows_read;
    row.rows_rejected = progress.rows_rejected;
    row.batches = progress.batches;
    row.bytes = progress.bytes;
}
