//! `autonomos serve`.

use super::output;
use crate::{
    config::Config,
    error::GatewayError,
    http::{router, state::App},
    platform::Platform,
};
use serde_json::json;
use std::{future::Future, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;

pub(super) async fn run(config: Config, json_lines: bool) -> Result<bool, GatewayError> {
    serve(config, move |_, address| async move {
        let url = format!("http://{address}");
        if json_lines {
            output::line(&json!({ "event": "ready", "url": url }));
        } else {
            output::say(&format!("autonomos is ready at {url}"));
        }
        Ok(())
    })
    .await
}

/// Serves until the process is asked to end; `ready` runs beside the server once it answers.
pub(super) async fn serve<R, F>(config: Config, ready: R) -> Result<bool, GatewayError>
where
    R: FnOnce(App, SocketAddr) -> F + Send + 'static,
    F: Future<Output = Result<(), GatewayError>> + Send,
{
    let listen = config.listen;
    // The port is taken first: a second server on the same folder would otherwise open it in vain.
    let listener =
        TcpListener::bind(listen).await.map_err(|source| GatewayError::Listen { address: listen, source })?;
    let address = listener.local_addr().map_err(|source| GatewayError::Listen { address: listen, source })?;
    let platform = Arc::new(Platform::open(&config, &format!("http://{address}")).await?);
    let stopping = CancellationToken::new();
    let app = App::new(Arc::clone(&platform), config, stopping.clone());
    let service = router(app.clone());
    let graceful = stopping.clone();
    let server = tokio::spawn(async move {
        axum::serve(listener, service.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(async move { graceful.cancelled().await })
            .await
    });
    let prepared = tokio::select! {
        prepared = ready(app, address) => prepared,
        () = asked_to_end() => {
            stopping.cancel();
            Ok(())
        }
    };
    if prepared.is_ok() && !stopping.is_cancelled() {
        asked_to_end().await;
    }
    stopping.cancel();
    // Event streams end with the token; what else is under way gets a moment.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(10), server).await;
    platform.shutdown().await;
    prepared.map(|()| true)
}

/// Ctrl-C, or the signal by which a supervisor ends a process.
async fn asked_to_end() {
    let Ok(mut terminate) = tokio::signal::unix::signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
