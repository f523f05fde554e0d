//! A rebuild that is under way, and what it may be told: to stand still, to go on, to be given up.

use super::{follower::Order, runner::Generation};
use crate::error::ProjectionError;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The orders to one rebuild. From the moment the new generation takes the live one's place, which
/// stands still meanwhile, it takes no more of them.
pub(crate) struct Rebuild {
    projector: &'static str,
    state: Mutex<State>,
    paused: watch::Sender<bool>,
    aborted: CancellationToken,
}

#[derive(Default)]
struct State {
    /// What is filled, once it was opened.
    next: Option<Arc<Generation>>,
    is_swapping: bool,
}

impl Rebuild {
    pub(crate) fn new(projector: &'static str) -> Self {
        Self {
            projector,
            state: Mutex::default(),
            paused: watch::channel(false).0,
            aborted: CancellationToken::new(),
        }
    }

    pub(crate) fn next(&self) -> Option<Arc<Generation>> {
        self.state.lock().next.clone()
    }

    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Takes what is filled; it stands still if that was ordered before.
    pub(crate) fn begin(&self, next: &Arc<Generation>) -> Result<(), ProjectionError> {
        let mut state = self.state.lock();
        if self.is_paused() {
            next.order_now(Order::Pause)?;
        }
        state.next = Some(Arc::clone(next));
        Ok(())
    }

    /// Lets it stand still, or go on. Said again, it changes nothing.
    pub(crate) fn pause(&self, paused: bool) -> Result<(), ProjectionError> {
        let state = self.state.lock();
        self.still(&state)?;
        if self.is_paused() != paused {
            // Told under the lock: what was said last is what is done.
            if let Some(next) = &state.next {
                next.order_now(if paused { Order::Pause } else { Order::Resume })?;
            }
            self.paused.send_replace(paused);
        }
        Ok(())
    }

    /// Gives it up: what was filled is removed, the live generation stays.
    pub(crate) fn abort(&self) -> Result<(), ProjectionError> {
        let state = self.state.lock();
        self.still(&state)?;
        self.aborted.cancel();
        Ok(())
    }

    fn still(&self, state: &State) -> Result<(), ProjectionError> {
        if state.is_swapping || self.aborted.is_cancelled() {
            return Err(ProjectionError::NotRebuilding { projector: self.projector.to_owned() });
        }
        Ok(())
    }

    /// Asks for the swap. False: it was told to stand still meanwhile, and may have fallen behind when
    /// this answers.
    pub(crate) async fn may_swap(&self) -> Result<bool, ProjectionError> {
        {
            let mut state = self.state.lock();
            if self.aborted.is_cancelled() {
                return Err(self.aborted_error());
            }
            if !self.is_paused() {
                state.is_swapping = true;
                return Ok(true);
            }
        }
        let mut paused = self.paused.subscribe();
        // Its sender is this one's own.
        let _ = paused.wait_for(|paused| !paused).await;
        Ok(false)
    }

    pub(crate) async fn aborted(&self) -> ProjectionError {
        self.aborted.cancelled().await;
        self.aborted_error()
    }

    fn aborted_error(&self) -> ProjectionError {
        ProjectionError::RebuildAborted { projector: self.projector.to_owned() }
    }
}
