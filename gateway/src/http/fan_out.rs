//! What is about a projection in all its cells: an order goes to every node that keeps one, and what
//! each of them says of its own is put together.

use super::{
    extract::buffered,
    forward::{Forwarder, nobody},
    problem::ApiError,
    state::App,
};
use autonomos_log::lease::Holder;
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// How long another node may take to say how its cells stand.
const TOLD_IN: Duration = Duration::from_secs(3);
const TOLD_BYTES: usize = 16 << 20;

/// The nodes that keep these cells, each with one of its cells.
fn nodes(
    forwarder: &Forwarder,
    keepers: &BTreeMap<u16, Holder>,
    cells: &[u16],
) -> BTreeMap<String, (u16, Holder)> {
    let mut nodes = BTreeMap::new();
    for cell in cells {
        if let Some(holder) = keepers.get(cell).filter(|holder| holder.owner != forwarder.me()) {
            nodes.entry(holder.owner.clone()).or_insert_with(|| (*cell, holder.clone()));
        }
    }
    nodes
}

/// Gives an order of an operator to all nodes that keep a cell of the projection, this one too if it
/// does. One that was passed on is carried out in the cells kept here alone.
pub(super) async fn order(
    app: &App,
    forwarder: &Forwarder,
    projection: &str,
    request: Request,
    next: Next,
    sent: bool,
) -> Response {
    let elsewhere = app.platform.projections.elsewhere(projection);
    // A name that is none is told to be none here.
    if elsewhere.is_empty() {
        return next.run(request).await;
    }
    let is_here = elsewhere.len() < usize::from(app.platform.log.cells());
    if sent {
        let keepers = match forwarder.keepers(projection).await {
            Ok(keepers) => keepers,
            Err(error) => return error.into_response(),
        };
        // A cell that is this node's and not here yet could not follow.
        let is_coming = elsewhere
            .iter()
            .any(|cell| keepers.get(cell).is_some_and(|holder| holder.owner == forwarder.me()));
        return if is_here && !is_coming {
            next.run(request).await
        } else {
            nobody(projection).into_response()
        };
    }
    let skips = request.uri().path().ends_with("/skip");
    match ordered(app, forwarder, projection, &elsewhere, is_here, request, next).await {
        Ok(answers) => {
            let best = answers.into_iter().max_by_key(|answer| rank(answer, skips));
            best.unwrap_or_else(|| nobody(projection).into_response())
        }
        Err(error) => error.into_response(),
    }
}

async fn ordered(
    app: &App,
    forwarder: &Forwarder,
    projection: &str,
    elsewhere: &[u16],
    is_here: bool,
    request: Request,
    next: Next,
) -> Result<Vec<Response>, ApiError> {
    let keepers = forwarder.keepers(projection).await?;
    // Before anything is done: an order that not all cells could follow is to be given again as a whole.
    let is_kept = |cell: &u16| keepers.get(cell).is_some_and(|holder| holder.owner != forwarder.me());
    if !elsewhere.iter().all(is_kept) {
        return Err(nobody(projection));
    }
    let (parts, body) = request.into_parts();
    let body = buffered(&parts.headers, body, app.config.body_max_bytes).await?;
    let nodes = nodes(forwarder, &keepers, elsewhere);
    let there = join_all(nodes.values().map(|(cell, holder)| {
        let body = body.clone();
        let parts = &parts;
        async move {
            let answer = forwarder.send(projection, *cell, holder, parts, body).await;
            answer.unwrap_or_else(IntoResponse::into_response)
        }
    }));
    let here = async {
        if !is_here {
            return None;
        }
        Some(next.run(Request::from_parts(parts.clone(), Body::from(body.clone()))).await)
    };
    let (mut answers, here) = tokio::join!(there, here);
    answers.extend(here);
    Ok(answers)
}

/// Which of several nodes' answers is the caller's: a failure, for then some cells do not follow; else
/// a success, for who refuses has nothing to do. A tenant that is skipped is one node's alone.
fn rank(answer: &Response, skips: bool) -> u8 {
    let status = answer.status();
    match (status.is_success(), status.is_server_error()) {
        (true, _) if skips => 3,
        (_, true) => 2,
        (true, _) => 1,
        _ => 0,
    }
}

/// What other nodes say of the cells they keep: rows of the same list, by projection and cell.
pub(super) async fn told(
    app: &App,
    forwarder: &Forwarder,
    parts: &Parts,
    keepers: &BTreeMap<String, BTreeMap<u16, Holder>>,
) -> BTreeMap<(String, u16), Value> {
    let mut asked: BTreeMap<String, (&str, u16, Holder)> = BTreeMap::new();
    for (projection, keepers) in keepers {
        let elsewhere = app.platform.projections.elsewhere(projection);
        for (owner, (cell, holder)) in nodes(forwarder, keepers, &elsewhere) {
            asked.entry(owner).or_insert((projection, cell, holder));
        }
    }
    let asking = asked.iter().map(|(owner, (projection, cell, holder))| async move {
        let answer = async {
            let answer = forwarder.send(projection, *cell, holder, parts, Bytes::new()).await.ok()?;
            let body = to_bytes(answer.into_body(), TOLD_BYTES).await.ok()?;
            serde_json::from_slice::<Value>(&body).ok()
        };
        let answer = tokio::time::timeout(TOLD_IN, answer).await.ok().flatten();
        (owner, answer)
    });
    let mut told = BTreeMap::new();
    for (owner, answer) in join_all(asking).await {
        let Some(Value::Array(rows)) = answer.and_then(|mut answer| Some(answer.get_mut("data")?.take()))
        else {
            continue;
        };
        for row in rows {
            let (Some(name), Some(cell)) = (row["name"].as_str(), row["cell"].as_u64()) else { continue };
            let is_its_own = row["node"].as_str() == Some(owner) && row["status"] != "unknown";
            if is_its_own {
                told.insert((name.to_owned(), cell as u16), row);
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::rank;
    use axum::{
        http::StatusCode,
        response::{IntoResponse, Response},
    };

    #[test]
    fn a_failure_of_one_node_is_not_hidden_and_a_refusal_is() {
        let chosen = |skips: bool, codes: &[StatusCode]| {
            let answers = codes.iter().map(|code| code.into_response());
            answers.max_by_key(|answer| rank(answer, skips)).map(|answer: Response| answer.status())
        };
        let (done, busy, gone) =
            (StatusCode::ACCEPTED, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(chosen(false, &[busy, done, busy]), Some(done));
        assert_eq!(chosen(false, &[busy, busy]), Some(busy));
        assert_eq!(chosen(false, &[done, gone, busy]), Some(gone));
        assert_eq!(chosen(true, &[busy, gone, done]), Some(done), "the others do not have the tenant");
        assert_eq!(chosen(true, &[busy, gone]), Some(gone));
    }
}
