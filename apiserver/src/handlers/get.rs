//! GET of one object.

use api::Status;
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};

use super::history;
use crate::call::{Call, store_status};
use crate::output;

/// Answers with the newest state; a `resourceVersion` only says how old the answer may be, and ours is
/// never older.
pub(crate) async fn respond(call: &Call, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    super::list::check_not_in_future(call).await?;
    if call.options.history {
        return history::respond(call).await;
    }
    let entry = match history::asked(call).await? {
        None => call.entry(&call.info.name).await?,
        Some(at) => {
            let entry = call.server.store.get(&call.key(&call.info.name), Some(at)).await;
            entry.map_err(store_status)?.ok_or_else(|| call.not_found(&call.info.name))?
        }
    };
    output::object(call, headers, StatusCode::OK, &entry.bytes)
}
