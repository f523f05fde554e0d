//! What holds for every sequence of commands.

use super::{
    sync::{StreamProgress, Sync, SyncCommand},
    task::{Task, TaskCommand, TaskStatus},
    tests::at,
};
use crate::ids::{ConnectionId, TaskId};
use cqrs_es::{Aggregate, event_sink::EventSink};
use proptest::prelude::*;
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};
use uuid::Uuid;

fn task_command() -> impl Strategy<Value = TaskCommand> {
    prop_oneof![
        (0..3_u32).prop_map(|max_retries| TaskCommand::QueueTask {
            task_id: TaskId(Uuid::from_u128(1)),
            action: "sync".into(),
            payload: serde_json::Value::Null,
            max_retries,
            timeout_seconds: 60,
            run_at: None,
            priority: 0,
        }),
        Just(TaskCommand::StartTask { worker: "w".into() }),
        (0..4_u64).prop_map(|done| TaskCommand::ReportProgress { done, total: None, note: String::new() }),
        Just(TaskCommand::SucceedTask { result: serde_json::Value::Null }),
        (any::<bool>(), 0..1_000_i64).prop_map(|(retryable, now)| TaskCommand::FailTask {
            code: "c".into(),
            message: "m".into(),
            retryable,
            wait_seconds: None,
            now: at(now),
        }),
        Just(TaskCommand::RequestCancel),
        Just(TaskCommand::ConfirmCancel),
        Just(TaskCommand::RetryTask { now: at(0) }),
    ]
}

fn sync_command() -> impl Strategy<Value = SyncCommand> {
    let stream = || prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())];
    let progress =
        || (0..3_u64).prop_map(|rows_read| StreamProgress { rows_read, ..StreamProgress::default() });
    prop_oneof![
        Just(SyncCommand::RequestSync {
            connection_id: ConnectionId(Uuid::nil()),
            task_id: TaskId(Uuid::nil())
        }),
        (0..3_u32)
            .prop_map(|attempt| SyncCommand::StartSync { attempt, streams: vec!["a".into(), "b".into()] }),
        stream().prop_map(|stream| SyncCommand::StartStream { stream }),
        (stream(), progress()).prop_map(|(stream, progress)| SyncCommand::ReportProgress {
            stream,
            progress,
            total_rows: None
        }),
        (stream(), progress())
            .prop_map(|(stream, progress)| SyncCommand::CompleteStream { stream, progress }),
        stream().prop_map(|stream| SyncCommand::FailStream {
            stream,
            code: String::new(),
            message: String::new()
        }),
        Just(SyncCommand::SucceedSync),
        Just(SyncCommand::FailSync { code: String::new(), message: String::new() }),
        Just(SyncCommand::CancelSync),
    ]
}

/// A failed append must not poison a cached aggregate, so commands are handled on a clone.
#[test]
fn handling_on_a_clone_leaves_the_original() {
    let original = Task::default();
    let mut clone = original.clone();
    let sink = EventSink::default();
    let command = TaskCommand::QueueTask {
        task_id: TaskId(Uuid::from_u128(1)),
        action: "sync".into(),
        payload: serde_json::Value::Null,
        max_retries: 0,
        timeout_seconds: 60,
        run_at: None,
        priority: 0,
    };
    let handled = pin!(clone.handle(command, &(), &sink)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(handled, Poll::Ready(Ok(()))));
    assert!(clone.task_id.is_some());
    assert_eq!(original, Task::default());
}

proptest! {
    #[test]
    fn nothing_follows_the_end_of_a_task_but_a_persons_retry(
        commands in prop::collection::vec(task_command(), 0..40)
    ) {
        let mut task = Task::default();
        for command in commands {
            let before = task.clone();
            let is_retry = matches!(command, TaskCommand::RetryTask { .. });
            let events = task.decide(command).unwrap_or_default();
            prop_assert_eq!(&task, &before);
            if before.status.is_final() && !(is_retry && before.status != TaskStatus::Succeeded) {
                prop_assert!(events.is_empty());
            }
            for event in events {
                task.apply(event);
            }
            prop_assert!(task.attempt <= task.max_retries + 1);
            let json = serde_json::to_string(&task).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Task>(&json).unwrap(), &task);
        }
    }

    #[test]
    fn nothing_follows_the_end_of_a_sync(commands in prop::collection::vec(sync_command(), 0..60)) {
        let mut sync = Sync::default();
        for command in commands {
            let events = sync.decide(command).unwrap_or_default();
            prop_assert!(!sync.status.is_final() || events.is_empty());
            for event in events {
                sync.apply(event);
            }
        }
    }
}
